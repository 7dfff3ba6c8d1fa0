"""From an oracle to a policy's episode: what an expert did, replayed through the grammar, is what it did."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from PIL import Image

from medeyes_verl.data.row import Region
from medeyes_verl.expert.oracles.annotations import AnnotationOracle
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.sampler import sample, sampler_preset
from medeyes_verl.expert.trajectory import turn_texts
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.gaze.geometry import Box, Size

REGIONS = (
    Region(Box(400, 250, 530, 360), "mass", target=True),
    Region(Box(40, 40, 160, 120), "decoy"),
    Region(Box(700, 20, 830, 180), "decoy"),
)
SIZE = Size(900, 700)


@pytest.mark.parametrize("preset", ["paper", "tiny"])
@pytest.mark.parametrize("frame", ["absolute", "relative_1000"])
@pytest.mark.parametrize("modes", ["grn", "scan_only", "drill_only", "random"])
def test_a_replayed_trajectory_is_well_formed_and_looks_where_the_expert_looked(
    preset: str, frame: str, modes: str
) -> None:
    base = sampler_preset(preset)
    rules = replace(base.episode, frame=frame)  # type: ignore[arg-type]
    settings = replace(base, episode=rules, navigator=replace(base.navigator, modes=modes))  # type: ignore[arg-type]
    question = Question("q", "What is it?", "open", "mass", (), ("/p.png",), (SIZE,), REGIONS)
    oracle = AnnotationOracle(rules.view, rules.crop)
    made = asyncio.run(sample(question, oracle, settings, 0, lambda q, a: a == q.ground_truth))
    assert made.trajectories
    for trajectory in made.trajectories:
        texts = turn_texts(trajectory, rules, [SIZE])
        episode = Episode([Image.new("RGB", SIZE)], rules)
        pictures = [episode.reply(text) for text in texts[:-1]]
        assert all(observation is not None and observation.picture is not None for observation in pictures)
        assert episode.reply(texts[-1]) is None
        trace = episode.trace
        assert trace.well_formed
        assert trace.answer == trajectory.answer
        view = episode.views[0].size
        unit = max(SIZE.width / min(view[0], 1000), SIZE.height / min(view[1], 1000))
        for box, step in zip(trace.boxes, trajectory.steps, strict=True):
            edges = zip(box.as_list(), step.box.as_list(), strict=True)
            assert all(abs(one - other) <= unit for one, other in edges)
