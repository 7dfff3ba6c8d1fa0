"""From what a model said to the protocol's answers: boxes placed in the original, confidences, contradictions.

What makes no sense is refused with a reason, and the reasons are counted. Where many boxes lie outside of
their pictures the frame is wrong, and the build stops before it is taught.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medeyes_verl.expert.oracles.protocol import (
    MAX_CANDIDATES,
    Answer,
    Assessment,
    Candidate,
    Located,
    OracleDownError,
)
from medeyes_verl.expert.oracles.reading import (
    BOX_KEYS,
    LABEL_KEYS,
    THOUGHT_KEYS,
    box_in,
    confidence_in,
    text_in,
)
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.geometry import Box, Frame, Size, frame_size, to_original

CONTRADICTION_IOU = 0.9
"""Two boxes of one reply that overlap more are one region said twice."""
FRAME_SAMPLE, FRAME_TOLERANCE = 20, 0.3
"""After so many boxes, more than this share outside of their pictures means the wrong frame."""


class ReplyReader:
    """Reads replies of one model, and keeps an eye on its frame."""

    def __init__(self, name: str, frame: Frame) -> None:
        self._name, self._frame = name, frame
        self._boxes = self._boxes_outside = 0

    def located(self, said: dict[str, Any] | list[Any], question: Question, sizes: Sequence[Size]) -> Located | None:
        listed = said if isinstance(said, list) else said.get("regions", [said] if "bbox_2d" in said else None)
        if not isinstance(listed, list):
            return None
        kept: list[Candidate] = []
        rejected = []
        for fields in listed:
            candidate = self._candidate(fields, question, sizes) if isinstance(fields, dict) else "region malformed"
            if isinstance(candidate, str):
                rejected.append(candidate)
                continue
            twin = next((each for each in kept if _is_twin(each, candidate)), None)
            if twin is not None:
                rejected.append("region said twice")
                kept[kept.index(twin)] = max(twin, candidate, key=lambda each: each.confidence)
            else:
                kept.append(candidate)
        kept.sort(key=lambda each: -each.confidence)
        words = text_in(said, THOUGHT_KEYS) if isinstance(said, dict) else None
        return Located(tuple(kept[:MAX_CANDIDATES]), words, tuple(rejected))

    def _candidate(self, fields: Mapping[str, Any], question: Question, sizes: Sequence[Size]) -> Candidate | str:
        image = fields.get("image", 1)
        if type(image) is not int or not 1 <= image <= len(sizes):
            return "unknown image"
        original = question.image_sizes[image - 1]
        box = self._placed(box_in(fields), sizes[image - 1], original)
        confidence = confidence_in(fields)
        if isinstance(box, str):
            return box
        if isinstance(confidence, str):
            return confidence
        return Candidate(box, confidence, image, text_in(fields, LABEL_KEYS))

    def _placed(self, written: Box | str, shown: Size, original: Size) -> Box | str:
        """A box as written, in pixels of what was shown at the size `shown` and measures `original` in the file."""
        if isinstance(written, str):
            return written
        reach = frame_size(self._frame, shown)
        # A box may overshoot by rounding; one that lies beyond, or inside one pixel, is of another frame.
        slack = 0.02 * max(reach)
        outside = min(written.x1, written.y1) < -slack or written.x2 > reach.width + slack
        outside = outside or written.y2 > reach.height + slack or max(written.x2, written.y2) <= 1.0
        self._boxes += 1
        self._boxes_outside += outside
        if self._boxes >= FRAME_SAMPLE and self._boxes_outside > FRAME_TOLERANCE * self._boxes:
            other = "relative_1000" if self._frame == "absolute" else "absolute"
            raise OracleDownError(
                f"{self._name}: {self._boxes_outside} of {self._boxes} boxes lie outside of their pictures: "
                f"the model does not write in the frame {self._frame}; try {other}"
            )
        if outside:
            return "box outside its picture"
        box = to_original(written, self._frame, shown, original).clipped(original)
        return box if box.width >= 1 and box.height >= 1 else "box outside its picture"

    def assessed(
        self, said: dict[str, Any] | list[Any], candidate: Candidate, gaze: Box, shown: Size
    ) -> Assessment | None:
        fields = said[0] if isinstance(said, list) and said else said
        if not isinstance(fields, dict):
            return None
        rejected = []
        confidence = confidence_in(fields)
        if isinstance(confidence, str):
            # Nothing was learnt: Δc is 0, and the navigator scans again.
            rejected.append(confidence)
            confidence = candidate.confidence
        box = None
        if any(fields.get(key) for key in BOX_KEYS):
            # The crop is the picture here: its size in the file is the gaze's.
            part = self._placed(box_in(fields), shown, Size(round(gaze.width), round(gaze.height)))
            if isinstance(part, str):
                rejected.append(part)
            else:
                box = Box(gaze.x1 + part.x1, gaze.y1 + part.y1, gaze.x1 + part.x2, gaze.y1 + part.y2)
        label = text_in(fields, LABEL_KEYS)
        if label is None and "label" in fields and confidence > 0.5:
            # It sees nothing and is sure: sure that nothing is there, then.
            rejected.append("confident of nothing")
            confidence = 1.0 - confidence
        return Assessment(confidence, label, box, text_in(fields, THOUGHT_KEYS), tuple(rejected))


def answered(said: dict[str, Any] | list[Any]) -> Answer | None:
    fields = said[0] if isinstance(said, list) and said else said
    if not isinstance(fields, dict):
        return None
    answer = fields.get("answer")
    if isinstance(answer, bool):
        answer = "yes" if answer else "no"
    if isinstance(answer, int | float):
        answer = str(answer)
    if not isinstance(answer, str) or not answer.strip():
        return None
    return Answer(answer, text_in(fields, THOUGHT_KEYS))


def _is_twin(one: Candidate, other: Candidate) -> bool:
    return one.image == other.image and one.box.iou(other.box) >= CONTRADICTION_IOU
