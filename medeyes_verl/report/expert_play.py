"""An expert's stored trajectory as an episode, to stand beside the policy's on the same question."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.expert.trajectory import Trajectory, turn_texts
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.gaze.geometry import Size
from medeyes_verl.gaze.rollout import Budgeted, rollout
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.policies.stored import StoredPolicy, Unbudgeted


def expert_episode(
    policy: LoggedEpisode,
    trajectory: Trajectory,
    originals: Sequence[Image.Image],
    settings: EpisodeSettings,
    budget: Budgeted | None = None,
) -> LoggedEpisode:
    """Run the trajectory on the policy's question, by the policy's settings; `originals` are the question's images.

    `budget` is the conversation of training, which cuts what does not fit; without one the trajectory is shown whole.
    Raises ValueError for a trajectory that looks at an image the question does not have.
    """
    texts = turn_texts(trajectory, settings, [Size(*image.size) for image in originals])
    trace = asyncio.run(rollout(Episode(originals, settings), budget or Unbudgeted(), StoredPolicy(texts)))
    return replace(
        policy,
        sample=0,
        trace=trace,
        scores=replace(policy.scores, acc=float(trajectory.correct)),
        seconds=0.0,
        model=trajectory.source,
        stream="expert",
        error=None,
    )
