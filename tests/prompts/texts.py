"""Every text that the package's templates can give, over many cases: what the golden file holds."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

from medeyes_verl.expert.oracles import prompts as oracle
from medeyes_verl.expert.oracles.protocol import Assessment, Candidate, Finding
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.script_words import Sentences
from medeyes_verl.expert.wording import conclusion_words, drill_words, look_words, place_of, scan_words
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.limits import MESSAGES, GazeLimits, fault_message
from medeyes_verl.gaze.prompt import system_prompt
from medeyes_verl.gaze.settings import EpisodeSettings

VIEWS = ([], [Size(336, 252)], [Size(336, 336), Size(448, 224)], [Size(56, 84)] * 3)
FRAMES = ("absolute", "relative_1000")
BOXES = [Box(x, y, x + 100, y + 100) for x, y in product((0, 400, 800), repeat=2)]
NASTY = "{{ 7 * 7 }} {place} ${label} <b> %s"
"""A question that no template may read as one."""


def question(kind: str = "open", images: int = 1, **facts: Any) -> Question:
    sizes = (Size(900, 900),) * images
    options = ("left", NASTY) if kind == "multiple_choice" else ()
    return Question("q", f"What? {NASTY}", kind, "ring", options, ("/p.png",) * images, sizes, **facts)


def findings() -> list[list[Finding]]:
    box = Box(0, 0, 100, 100)
    seen = Finding(Candidate(box, 0.5), box, Assessment(0.9, "mass"))
    nothing = Finding(Candidate(box, 0.5), box, Assessment(0.123, "cyst"))
    unnamed = Finding(Candidate(box, 0.5), box, Assessment(0.8))
    unasked = Finding(Candidate(box, 0.9, label="node"), box, None)
    return [[], [seen], [nothing], [unnamed], [unasked], [seen, nothing], [nothing, unnamed]]


def texts() -> dict[str, list[str]]:
    """By name: the texts of all cases, in order."""
    found: dict[str, list[str]] = {}
    found["system"] = [
        system_prompt(EpisodeSettings(frame=frame, max_gazes=gazes), views)
        for frame, gazes, views in product(FRAMES, (0, 4), VIEWS)
    ]
    found["feedback"] = [
        fault_message(fault, GazeLimits(frame, Size(112, 112), Size(448, 224), 2, 8, ratio))
        for fault, frame, ratio in product(MESSAGES, FRAMES, (5, 2.5))
    ]
    found["locate"] = [
        oracle.locate_prompt(question(images=len(sizes)), sizes, frame, before)
        for sizes, frame, before in product(VIEWS[1:], FRAMES, findings())
    ]
    found["assess"] = [
        oracle.assess_prompt(question(), label, Size(56, 84), frame)
        for label, frame in product((None, "", NASTY), FRAMES)
    ]
    found["answer"] = [
        oracle.answer_prompt(question(kind), crops)
        for kind, crops in product(("closed", "multiple_choice", "open"), (0, 1, 3))
    ]
    found["places"] = [place_of(box, Size(900, 900)) for box in BOXES]
    rng = random.Random(0)
    sizes = [Size(900, 900)]
    found["expert"] = [
        text
        for before, _ in product(findings(), range(3))
        for text in (
            scan_words("sentences", before, None, rng),
            look_words("sentences", before, "cyst", "left part of the image", None, rng),
            look_words("oracle", before, None, "left part of the image", None, rng),
            drill_words("sentences", None, rng),
            conclusion_words("sentences", before, sizes, None, rng),
        )
    ]
    found["script"] = []
    for images, looks, facts in product((1, 2), range(4), ({}, {"modality": "CT", "organ": "<lung>"})):
        for _ in range(3):
            said = Sentences(question(images=images, **facts), rng)
            found["script"].append(said.whole(images))
            boxes = rng.sample(BOXES, looks)
            found["script"] += [said.look(box, images, missed=place > 0) for place, box in enumerate(boxes)]
            found["script"].append(said.conclude(None))
            if looks:
                found["script"].append(said.conclude("ring"))
    return found
