"""The policy's past successes, kept in one named Ray actor for all agent-loop workers and the trainer.

The trainer adds after each step, saves with each checkpoint and restores when it resumes; agent loops ask.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
import torch

from medeyes_verl.expert.entry_file import StoreError
from medeyes_verl.expert.replay import ReplayBuffer, ReplaySettings, Success, trajectory_of
from medeyes_verl.expert.trajectory import Trajectory
from medeyes_verl.gaze.trace import EpisodeTrace

ACTOR_NAME = "medeyes_replay"
FILE_NAME = "replay.sqlite"
"""In a checkpoint's folder."""


class _Replay:
    """A ReplayBuffer behind one door."""

    def __init__(self, settings: ReplaySettings) -> None:
        self._buffer = ReplayBuffer(settings)

    def add(self, successes: Sequence[Success]) -> int:
        """Keep what the buffer takes; returns how many trajectories it now holds."""
        for success in successes:
            self._buffer.add(success.trajectory, success.reward, success.step)
        return len(self._buffer)

    def get(self, expert_id: str, n: int) -> list[Trajectory]:
        return self._buffer.get(expert_id, n)

    def save(self, folder: str) -> None:
        self._buffer.save(Path(folder) / FILE_NAME)

    def restore(self, folder: str) -> int:
        """Take up a checkpoint's buffer; one that was saved without a buffer leaves this one empty.

        Raises StoreError where the checkpoint's buffer has a form that is no longer read.
        """
        file = Path(folder) / FILE_NAME
        if (old := file.with_suffix(".arrow")).exists() and not file.exists():
            raise StoreError(
                f"{old}: a replay buffer of Arrow is no longer read; delete it to resume with an empty one"
            )
        if file.exists():
            self._buffer = ReplayBuffer.restore(file, self._buffer.settings)
        return len(self._buffer)


def make_replay(settings: ReplaySettings) -> Any:
    """The run's actor, made by the trainer and ended with it."""
    return ray.remote(num_cpus=0)(_Replay).options(name=ACTOR_NAME).remote(settings)


def find_replay() -> Any:
    """The run's actor, from an agent loop. Raises ValueError where the trainer made none."""
    return ray.get_actor(ACTOR_NAME)


def successes(rows: Any, real: Sequence[bool], expert_B: torch.Tensor, step: int) -> list[Success]:
    """The policy's own right and well-formed episodes among a step's rows, as trajectories.

    A row whose agent loop left no trace is no episode of ours and is passed over.

    Args:
        rows: a TensorDict of extra_fields, extra_info (B) and rm_scores (nested, (B, T)).
        real: per row, whether it is no padding.
        expert_B: True for a row that was itself replayed or an expert's.
    """
    found = []
    facts = zip(list(rows["extra_fields"]), list(rows["extra_info"]), rows["rm_scores"].unbind(), strict=True)
    for (fields, asked, scores), is_real, replayed in zip(facts, real, expert_B.tolist(), strict=True):
        if not is_real or replayed or not asked.get("expert_id") or fields.get("trace") is None:
            continue
        right = (fields.get("reward_extra_info") or {}).get("acc") == 1  # a part of the user's may lie between
        trajectory = trajectory_of(asked["expert_id"], EpisodeTrace.from_dict(fields["trace"]), right)
        if trajectory is not None and right:
            found.append(Success(trajectory, float(scores.sum()), step))
    return found
