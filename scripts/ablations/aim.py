"""Where the first, second and third gaze of an episode go: on a region, and on one that no gaze before has shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablations.results import SHOWN
from medeyes_verl.evaluation.episode_log import LoggedEpisode


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
    played = [(episode, _held(episode)) for episode in episodes]
    for n in range(max((len(held) for _, held in played), default=0)):
        looking = [(episode, held) for episode, held in played if len(held) > n]
        ending = [episode for episode, held in looking if len(held) == n + 1]
        found.append(
            Aim(
                episodes=len(looking),
                on_region=sum(bool(held[n]) for _, held in looking),
                on_new_region=sum(bool(held[n] - set().union(*held[:n])) for _, held in looking),
                last=len(ending),
                right=sum(episode.scores.acc == 1 for episode in ending),
            )
        )
    return found


def _held(episode: LoggedEpisode) -> list[set[int]]:
    """The regions that each gaze shows. They are marked on the first picture: gazes on others show none."""
    return [
        {
            place
            for place, region in enumerate(episode.regions)
            if image == 1 and 0 < SHOWN * region.box.area <= region.box.intersection(gaze).area
        }
        for gaze, image in zip(episode.trace.boxes, episode.trace.images, strict=True)
    ]
