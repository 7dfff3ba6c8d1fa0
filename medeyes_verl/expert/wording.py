"""Reasoning text for an expert's turns, made from recorded facts only (the wording: prompts/default/expert.yaml).

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
from medeyes_verl.prompts.templates import Phrases, phrases

Style = Literal["sentences", "terse", "oracle"]
STYLES: tuple[Style, ...] = get_args(Style)
MAX_CHARACTERS = 600
"""An oracle's own words are cut here, at a sentence's end where there is one."""

FILE = "expert.yaml"
_TAG = re.compile(r"<[^<>]*>|[<>]")
SEEN_FROM = 0.5
"""From this confidence on a closer look counts as having shown something."""


def scan_words(
    style: Style, findings: Sequence[Finding], own: str | None, rng: random.Random, prompts: str | None = None
) -> str:
    """Before a gaze at the whole picture."""
    if style == "terse":
        return _terse(findings)
    if style == "oracle" and own:
        return cleaned(own)
    words = phrases(prompts, FILE)
    return _after(findings, rng, words) + rng.choice(words["rescan" if findings else "scan"]).render()


def look_words(
    style: Style,
    findings: Sequence[Finding],
    label: str | None,
    where: str,
    own: str | None,
    rng: random.Random,
    prompts: str | None = None,
) -> str:
    """Before a first gaze at a region, `where` as `place_of` says it; `findings` are those not yet spoken of."""
    if style == "terse":
        return _terse(findings)
    if style == "oracle" and own:
        return cleaned(own)
    words = phrases(prompts, FILE)
    template = rng.choice(words["look_named" if label else "look"])
    return _after(findings, rng, words) + template.render(place=where, label=cleaned(label or ""))


def drill_words(style: Style, own: str | None, rng: random.Random, prompts: str | None = None) -> str:
    """Before a further gaze into the same region."""
    if style == "terse":
        return "look closer"
    return cleaned(own) if style == "oracle" and own else rng.choice(phrases(prompts, FILE)["drill"]).render()


def conclusion_words(
    style: Style,
    findings: Sequence[Finding],
    sizes: Sequence[Size],
    own: str | None,
    rng: random.Random,
    prompts: str | None = None,
) -> str:
    """Beside the answer."""
    shown = [finding for finding in findings if _shows(finding)]
    label = shown[-1].assessment.label if shown and shown[-1].assessment else None
    label = cleaned(label) if label else None
    if style == "terse":
        return f"{label} seen" if label else "done"
    if style == "oracle" and own:
        return cleaned(own)
    words = phrases(prompts, FILE)
    if not shown:
        return rng.choice(words["conclude_nothing"]).render()
    candidate = shown[-1].candidate
    where = place_of(candidate.box, sizes[candidate.image - 1], prompts)
    return rng.choice(words["conclude_seen" if label else "conclude_unnamed"]).render(label=label, place=where)


def place_of(box: Box, size: Size, prompts: str | None = None, image: int | None = None) -> str:
    """Where a box lies, as seen by the viewer (radiological left and right are not the viewer's).

    `image` is the number of the image where there are several.
    """
    x, y = (box.x1 + box.x2) / 2 / size.width, (box.y1 + box.y2) / 2 / size.height
    column = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    row = "upper" if y < 1 / 3 else "lower" if y > 2 / 3 else ""
    name = "_".join(part for part in (row, column) if part) or "middle"
    return phrases(prompts, "places.yaml")[name][0].render(image=image_words(prompts, image))


def image_words(prompts: str | None, image: int | None) -> str:
    """The image, or the one with a number where there are several."""
    words = phrases(prompts, "places.yaml")
    return words["image"][0].render() if image is None else words["image_of_several"][0].render(number=image)


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


def _after(findings: Sequence[Finding], rng: random.Random, words: Phrases) -> str:
    """What the last closer look showed, as the beginning of the next thought."""
    if not findings or findings[-1].assessment is None:
        return ""
    if not _shows(findings[-1]):
        return rng.choice(words["nothing"]).render()
    label = findings[-1].assessment.label
    return rng.choice(words["seen"]).render(label=cleaned(label)) if label else rng.choice(words["unnamed"]).render()
