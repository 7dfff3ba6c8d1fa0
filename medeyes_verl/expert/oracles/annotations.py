"""An oracle that knows the boxes: a benchmark's regions, SLAKE's annotations, or a user's own.

It stands in for an expert's eyes, so its confidence is a statement about the eyes: how much of a region the
picture at hand resolves. With s the side of the region (square root of its area) in pixels of the picture
that is looked at, view or crop, enlargement not counting,

    c = s / (s + 7)

7 pixels, half a patch of the vision encoder, are half resolved; a patch of 14 gives 0.67, 40 pixels 0.85.
A scan looks at the view, a drill at the crop, where a region counts as far as the crop covers it. A region
that turns out not to be the question's target (a decoy) is refuted by the closer look: its confidence
becomes 1 − c. The answer is the benchmark's own once a target was resolved (c ≥ 0.8); before that the
oracle says that it does not know, which is labelled wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from medeyes_verl.expert.oracles.protocol import Answer, Assessment, Candidate, Finding, Located
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.crop import PixelBounds, fitted_size
from medeyes_verl.gaze.geometry import Box, Size

HALF_RESOLVED_PIXELS = 7.0
KNOWN_FROM = 0.8
"""Resolution of a target from which the oracle knows the answer: 28 pixels, one merged visual token."""
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Annotated:
    """An annotated region of one of a question's pictures."""

    box: Box
    label: str
    target: bool = False
    """The answer is to be found here."""
    image: int = 1
    named: bool = False
    """Whether a scan already knows what it is (an organ one knows where to look for), or only the closer look tells."""


class AnnotationOracle:
    """Answers from annotated regions: those of the question's row, or those that `regions_of` finds elsewhere."""

    def __init__(
        self,
        view: PixelBounds,
        crop: PixelBounds,
        regions_of: Callable[[Question], Sequence[Annotated]] | None = None,
    ) -> None:
        self.name = "annotations"
        self._view, self._crop = view, crop
        self._regions_of = regions_of or _regions_of_row
        self._last: tuple[Question, Sequence[Annotated]] | None = None

    async def locate(self, question: Question, findings: Sequence[Finding]) -> Located:
        candidates = []
        for region in self._regions(question):
            size = question.image_sizes[region.image - 1]
            label = region.label if region.named else None
            candidates.append(Candidate(region.box, self._seen_in_view(region.box, size), region.image, label))
        return Located(tuple(candidates))

    async def assess(self, question: Question, candidate: Candidate, gaze: Box) -> Assessment:
        regions = self._regions(question)
        region = next((each for each in regions if each.image == candidate.image and each.box == candidate.box), None)
        if region is None:
            raise ValueError(f"question {question.expert_id!r}: the annotations hold no region at {candidate.box}")
        resolved = self._seen_in_crop(region.box, gaze)
        if region.target or not any(each.target for each in regions):
            return Assessment(resolved, region.label)
        return Assessment(1.0 - resolved)

    async def answer(self, question: Question, findings: Sequence[Finding]) -> Answer:
        targets = [region for region in self._regions(question) if region.target]
        for target in targets:
            size = question.image_sizes[target.image - 1]
            gazes = (finding.gaze for finding in findings if finding.candidate.image == target.image)
            resolved = max((self._seen_in_crop(target.box, gaze) for gaze in gazes), default=0.0)
            if max(resolved, self._seen_in_view(target.box, size)) >= KNOWN_FROM:
                return Answer(question.ground_truth)
        return Answer(UNKNOWN if targets else question.ground_truth)

    async def close(self) -> None:
        """Nothing is open."""

    def _regions(self, question: Question) -> Sequence[Annotated]:
        # One question is asked about many times in a row.
        if self._last is None or self._last[0] is not question:
            self._last = question, self._regions_of(question)
        return self._last[1]

    def _seen_in_view(self, box: Box, original: Size) -> float:
        return _resolved(math.sqrt(box.area) * _scale(original, self._view))

    def _seen_in_crop(self, box: Box, gaze: Box) -> float:
        width = min(box.x2, gaze.x2) - max(box.x1, gaze.x1)
        height = min(box.y2, gaze.y2) - max(box.y1, gaze.y1)
        if width <= 0 or height <= 0:
            return 0.0
        cut = Size(max(1, round(gaze.width)), max(1, round(gaze.height)))
        return _resolved(math.sqrt(width * height) * _scale(cut, self._crop))


def _regions_of_row(question: Question) -> Sequence[Annotated]:
    return [Annotated(each.box, each.label, each.target) for each in question.regions]


@lru_cache(maxsize=65_536)
def _scale(size: Size, bounds: PixelBounds) -> float:
    """Pixels of the shown picture for each of `size`; enlargement does not count."""
    shown = fitted_size(size, bounds)
    return min(1.0, math.sqrt(shown.width * shown.height / (size.width * size.height)))


def _resolved(side: float) -> float:
    return side / (side + HALF_RESOLVED_PIXELS)
