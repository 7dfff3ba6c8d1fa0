"""What all tests share."""

import os

import pytest
from hypothesis import settings

from medeyes_verl.cpu_variables import PLATFORM, QUIET
from medeyes_verl.data.row import Region
from medeyes_verl.evaluation.episode_log import LoggedEpisode, Scores
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.grammar import Fault
from medeyes_verl.gaze.trace import EpisodeTrace, TraceTurn

pytest_plugins = ["tests.questions", "tests.runs"]

# scripts/test.sh sets the same; here for who calls pytest alone, and before anything imports veRL
WIDE = {"COLUMNS": "200"}  # of what commands print, so that no path is broken in two
for name, value in (PLATFORM | QUIET | WIDE).items():
    os.environ.setdefault(name, value)

# two busy cores make single examples slow without anything being wrong
settings.register_profile("shared_machine", deadline=None)
settings.load_profile("shared_machine")


@pytest.fixture(scope="session")
def logged_episode() -> LoggedEpisode:
    """A game on a picture of 448 × 448 with one region, seen at a quarter of its size: a fault, a gaze, the answer."""
    return LoggedEpisode(
        id="q1",
        sample=0,
        data_source="phantom",
        split="val",
        question="What is the lesion?",
        question_type="open",
        options=(),
        ground_truth="ring",
        images=("pictures/a.png",),
        organ="lung",
        modality=None,
        location=None,
        regions=(Region(Box(10, 20, 70, 80), "ring", target=True),),
        trace=EpisodeTrace(
            turns=(
                TraceTurn("<reasoning>scan</reasoning>", "scan", "Tiny box.", faults=(Fault.tiny_box,), num_tokens=20),
                TraceTurn("<reasoning>scan</reasoning>", "scan", "", Box(0.5, 0, 112, 112), 1, "drill", num_tokens=20),
                TraceTurn("<reasoning>ring</reasoning>\n<answer>ring</answer>", "ring", None, num_tokens=21),
            ),
            answer="ring",
            finish="answered",
            image_sizes=(Size(448, 448),),
            view_sizes=(Size(112, 112),),
        ),
        scores=Scores(1.0, 1.0, 0.0, 1 / 6, 1.0, 1.0, 1.0),
        seconds=0.25,
        model="tiny",
    )
