"""Where the first, second and third gaze of an episode go: on a region, and on one that no gaze before has shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medeyes_verl.ablation.results import SHOWN
from medeyes_verl.data.row import Region
from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.gaze.geometry import Box


@dataclass(frozen=True, slots=True)
class Aim:
    """Of the n-th gaze, over the episodes that have one; all counts."""

    episodes: int
    on_region: int
    """Holding half of some marked region at least, target or not."""
    on_new_region: int
    """Holding one that no gaze before has held."""
    last: int
    """Episodes that end with this gaze,"""
    right: int
    """and those of them that are answered right."""


def aims(episodes: Sequence[LoggedEpisode]) -> list[Aim]:
    """One for each gaze of the longest episode."""
    found = []
    for n in range(max((len(episode.record.boxes) for episode in episodes), default=0)):
        looking = [episode for episode in episodes if len(episode.record.boxes) > n]
        held = [_held(episode, n) for episode in looking]
        before = [set().union(*(_held(episode, i) for i in range(n))) for episode in looking]
        ending = [episode for episode in looking if len(episode.record.boxes) == n + 1]
        found.append(
            Aim(
                episodes=len(looking),
                on_region=sum(map(bool, held)),
                on_new_region=sum(bool(now - then) for now, then in zip(held, before, strict=True)),
                last=len(ending),
                right=sum(episode.scores.acc == 1 for episode in ending),
            )
        )
    return found


def _held(episode: LoggedEpisode, n: int) -> set[int]:
    gaze = episode.record.boxes[n]
    return {place for place, region in enumerate(episode.regions) if _share(region, gaze) >= SHOWN}


def _share(region: Region, gaze: Box) -> float:
    """Of the region, inside the gaze."""
    iou = region.box.iou(gaze)
    return iou / (1 + iou) * (gaze.area + region.box.area) / region.box.area
