"""Reasoning text for an expert's turns, made from recorded facts only.

A template may say where a gaze goes, that the last one showed something or nothing, and by what name the
oracle called it. It never says more: a finding that nobody made must not be taught. Templates come in
several wordings so that a policy does not learn one sentence by heart; `terse` is the vocabulary of the
tiny policy; `oracle` takes the oracle's own words where it gave some.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Literal, get_args

from medeyes_verl.expert.oracles.protocol import Finding
from medeyes_verl.gaze.geometry import Box, Size

Style = Literal["sentences", "terse", "oracle"]
STYLES: tuple[Style, ...] = get_args(Style)
MAX_CHARACTERS = 600
"""An oracle's own words are cut here, at a sentence's end where there is one."""

SCAN = (
    "I begin with the whole image.",
    "First an overview of the whole image.",
    "Let me survey the whole image first.",
)
RESCAN = (
    "Back to the whole image, to look for other regions.",
    "I widen the view again.",
    "Let me return to the overview.",
)
LOOK = (
    "A region in the {place} deserves a closer look.",
    "I look closer at the {place}.",
    "The {place} may hold the answer; I zoom in there.",
)
LOOK_NAMED = (
    "I look closer at the {label} in the {place}.",
    "The {label} in the {place} matters for the question; I zoom in.",
)
DRILL = (
    "It becomes clearer here; I look closer still.",
    "This region looks more relevant from near; I zoom in further.",
)
NOTHING = ("Nothing there. ", "That region shows nothing that helps. ")
SEEN = ("I see {label} there. ", "That region shows {label}. ")
UNNAMED = ("That region matters. ", "That region is relevant. ")
CONCLUDE_SEEN = ("I see {label} in the {place}.", "The {place} shows {label}.")
CONCLUDE_UNNAMED = ("The region in the {place} settles it.", "What the {place} shows settles it.")
CONCLUDE_NOTHING = ("I have looked at the image and can answer.", "That is what I can see; I answer.")

_TAG = re.compile(r"<[^<>]*>|[<>]")
SEEN_FROM = 0.5
"""From this confidence on a closer look counts as having shown something."""


def scan_words(style: Style, findings: Sequence[Finding], own: str | None, rng: random.Random) -> str:
    """Before a gaze at the whole picture."""
    if style == "terse":
        return _terse(findings)
    if style == "oracle" and own:
        return cleaned(own)
    return _after(findings, rng) + rng.choice(RESCAN if findings else SCAN)


def look_words(
    style: Style,
    findings: Sequence[Finding],
    label: str | None,
    where: str,
    own: str | None,
    rng: random.Random,
) -> str:
    """Before a first gaze at a region, `where` as `place_of` says it; `findings` are those not yet spoken of."""
    if style == "terse":
        return _terse(findings)
    if style == "oracle" and own:
        return cleaned(own)
    template = rng.choice(LOOK_NAMED if label else LOOK)
    return _after(findings, rng) + template.format(place=where, label=cleaned(label or ""))


def drill_words(style: Style, own: str | None, rng: random.Random) -> str:
    """Before a further gaze into the same region."""
    if style == "terse":
        return "look closer"
    return cleaned(own) if style == "oracle" and own else rng.choice(DRILL)


def conclusion_words(
    style: Style, findings: Sequence[Finding], sizes: Sequence[Size], own: str | None, rng: random.Random
) -> str:
    """Beside the answer."""
    shown = [finding for finding in findings if _shows(finding)]
    label = shown[-1].assessment.label if shown and shown[-1].assessment else None
    label = cleaned(label) if label else None
    if style == "terse":
        return f"{label} seen" if label else "done"
    if style == "oracle" and own:
        return cleaned(own)
    if not shown:
        return rng.choice(CONCLUDE_NOTHING)
    candidate = shown[-1].candidate
    where = place_of(candidate.box, sizes[candidate.image - 1])
    return rng.choice(CONCLUDE_SEEN if label else CONCLUDE_UNNAMED).format(label=label, place=where)


def place_of(box: Box, size: Size) -> str:
    """Where a box lies, as seen by the viewer (radiological left and right are not the viewer's)."""
    x, y = (box.x1 + box.x2) / 2 / size.width, (box.y1 + box.y2) / 2 / size.height
    column = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    row = "upper" if y < 1 / 3 else "lower" if y > 2 / 3 else ""
    if row and column:
        return f"{row} {column} of the image"
    if row or column:
        return f"{row or column} part of the image"
    return "middle of the image"


def cleaned(words: str) -> str:
    """An oracle's words as they may stand inside a turn: one line, no tags, bounded."""
    line = " ".join(_TAG.sub(" ", words).split())
    if len(line) <= MAX_CHARACTERS:
        return line or "…"
    cut = line[:MAX_CHARACTERS]
    end = cut.rfind(". ")
    return cut[: end + 1] if end > 0 else cut.rstrip()


def _shows(finding: Finding) -> bool:
    return finding.assessment is not None and finding.assessment.confidence >= SEEN_FROM


def _terse(findings: Sequence[Finding]) -> str:
    return "empty" if findings and findings[-1].assessment and not _shows(findings[-1]) else "scan"


def _after(findings: Sequence[Finding], rng: random.Random) -> str:
    """What the last closer look showed, as the beginning of the next thought."""
    if not findings or findings[-1].assessment is None:
        return ""
    if not _shows(findings[-1]):
        return rng.choice(NOTHING)
    label = findings[-1].assessment.label
    return rng.choice(SEEN).format(label=cleaned(label)) if label else rng.choice(UNNAMED)
