"""Counted by hand: two episodes over three regions."""

from __future__ import annotations

from dataclasses import replace

from ablations.aim import Aim, aims

from medeyes_verl.data.row import Region
from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.gaze.geometry import Box
from tests.traces import trace_of

LARGE, MIDDLE, SMALL = Box(0, 0, 40, 40), Box(60, 0, 80, 20), Box(0, 60, 10, 70)
NOWHERE = Box(80, 80, 100, 100)


def played(episode: LoggedEpisode, *boxes: Box, right: bool) -> LoggedEpisode:
    regions = tuple(Region(box, "blob", target=box == SMALL) for box in (LARGE, MIDDLE, SMALL))
    return replace(episode, regions=regions, trace=trace_of(*boxes), scores=replace(episode.scores, acc=float(right)))


def test_each_gaze_is_counted_by_itself(logged_episode: LoggedEpisode) -> None:
    half_of_large, a_bit_less = Box(0, 0, 40, 20), Box(0, 0, 40, 19)
    searched = played(logged_episode, half_of_large, LARGE, SMALL, right=True)
    gave_up = played(logged_episode, a_bit_less, NOWHERE, right=False)
    assert aims([searched, gave_up]) == [
        Aim(episodes=2, on_region=1, on_new_region=1, last=0, right=0),
        Aim(episodes=2, on_region=1, on_new_region=0, last=1, right=0),
        Aim(episodes=1, on_region=1, on_new_region=1, last=1, right=1),
    ]


def test_a_gaze_on_another_picture_shows_no_region_of_the_first(logged_episode: LoggedEpisode) -> None:
    elsewhere = played(logged_episode, LARGE, SMALL, right=True)
    elsewhere = replace(elsewhere, trace=trace_of(*elsewhere.trace.boxes, images=(2, 1)))
    assert [(aim.on_region, aim.on_new_region) for aim in aims([elsewhere])] == [(0, 0), (1, 1)]


def test_without_a_gaze_there_is_nothing_to_count(logged_episode: LoggedEpisode) -> None:
    assert aims([played(logged_episode, right=True)]) == []
