"""An expert's trajectory as one image: where it looked, what it saw there, what it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

from medeyes_verl.expert.question import Question
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.gaze.crop import crop_of, open_picture
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.report.annotated_image import RIGHT, WRONG, Panel, gaze_colour, numbered, sheet
from medeyes_verl.report.episode_image import box_words


def trajectory_image(
    question: Question, trajectory: Trajectory, settings: EpisodeSettings, walk: Mapping[str, Any] | None = None
) -> Image.Image:
    """Draw the first image with the gazes on it and the answer, then a panel a gaze: its turn, and the crop it gives.

    `walk` is the navigator's record of this trajectory, as the store keeps it. Raises ValueError where an image
    cannot be read.
    """
    originals = [open_picture(path) for path in question.image_paths]
    end = [f"“{trajectory.conclusion}”", f"answer: {trajectory.answer}", f"truth: {question.ground_truth}"]
    whole = Panel(
        title=("correct" if trajectory.correct else "incorrect") + f" [{trajectory.source}]",
        above=[],
        picture=image_with_gazes(question, trajectory),
        below=[*end, *([f"stopped: {walk['stop']}"] if walk else [])],
        colour=RIGHT if trajectory.correct else WRONG,
    )
    gazes = [
        Panel(
            title=f"gaze {number}" + (f", image {step.image}" if step.image > 1 else ""),
            above=[f"“{step.reasoning}”"],
            picture=crop_of(originals[step.image - 1], step.box, settings.crop),
            below=[box_words(step.box), *_confidence(number - 1, step, walk)],
            colour=gaze_colour(number),
        )
        for number, step in enumerate(trajectory.steps, 1)
    ]
    return sheet(question.text, [whole, *gazes])


def image_with_gazes(question: Question, trajectory: Trajectory) -> Image.Image:
    """Draw the question's first image with the numbered gazes on it."""
    boxes = [(number, step.box) for number, step in enumerate(trajectory.steps, 1) if step.image == 1]
    return numbered(open_picture(question.image_paths[0]), boxes)


def _confidence(number: int, step: ExpertStep, walk: Mapping[str, Any] | None) -> list[str]:
    """What the navigator decided at the gaze `number`, counted from 0, and on which confidences c."""
    decision = next((each for each in (walk or {}).get("decisions", ()) if each.get("gaze") == number), None)
    if decision is None:
        return [] if step.confidence is None else [f"c = {step.confidence:.2f}"]
    if decision["mode"] == "scan":
        return ["scan: c = " + ", ".join(f"{each:.2f}" for each in decision["candidates"])]
    if "after" in decision:
        return [f"drill: c {decision['before']:.2f} → {decision['after']:.2f}, Δc {decision['gain']:+.2f}"]
    return [f"look: c = {decision['before']:.2f}"]
