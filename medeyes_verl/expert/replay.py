"""The policy's own past successes as an off-policy source, beside or instead of experts.

A bounded buffer of trajectories by question. It is plain and synchronous: who owns it (one named actor)
and when it is filled is the plugin's. Saved as one file of the trajectory store's format, so that it travels with a
checkpoint and can be looked at with the same tools.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from medeyes_verl.data.atomic import atomic_path
from medeyes_verl.expert import entry_file
from medeyes_verl.expert.entry_file import Entry, StoreError, decode, encode
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.gaze.trace import EpisodeTrace
from medeyes_verl.settings.reader import Between, SettingError, check

Order = Literal["recency", "reward"]
OffPolicySource = Literal["experts", "replay", "mixed"]
SOURCE = "replay"


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """How much is kept, and what is taken first."""

    per_question: Annotated[int, Between(1)] = 8
    """Trajectories kept of one question."""
    capacity: Annotated[int, Between(1)] = 100_000
    """Trajectories kept in all; beyond that the question that was not added to for longest goes."""
    order: Order = "recency"
    """What a question keeps and gives first: its newest, or its best rewarded (the newer of equal ones)."""
    min_reward: float = 0.0
    """Only trajectories with more reward than this are taken."""

    def __post_init__(self) -> None:
        check(self)
        if self.per_question > self.capacity:
            raise SettingError("per_question", str(self.per_question), f"use at most capacity={self.capacity}")


@dataclass(frozen=True, slots=True)
class Success:
    """A trajectory that the policy wrote, with what it earned and when."""

    trajectory: Trajectory
    reward: float
    step: int
    """The training step that produced it."""


class ReplayBuffer:
    """A bounded memory of successes; see `ReplaySettings`."""

    def __init__(self, settings: ReplaySettings) -> None:
        self.settings = settings
        self._by_question: OrderedDict[str, list[Success]] = OrderedDict()
        self._count = 0

    def add(self, trajectory: Trajectory, reward: float, step: int) -> bool:
        """Keep a trajectory; False where its reward is too small, it is wrong, or better or newer ones leave no room.

        One that is kept already takes on the new step and reward.
        """
        if not trajectory.correct or reward <= self.settings.min_reward:
            return False
        kept = self._by_question.setdefault(trajectory.expert_id, [])
        self._by_question.move_to_end(trajectory.expert_id)
        before = len(kept)
        new = Success(trajectory, reward, step)
        kept[:] = [each for each in kept if each.trajectory != trajectory] + [new]
        kept.sort(key=self._rank, reverse=True)
        del kept[self.settings.per_question :]
        self._count += len(kept) - before
        while self._count > self.settings.capacity:
            _, oldest = self._by_question.popitem(last=False)
            self._count -= len(oldest)
        return new in kept

    def get(self, expert_id: str, n: int) -> list[Trajectory]:
        """Up to `n` of the question's successes, in the order of the settings."""
        return [each.trajectory for each in self._by_question.get(expert_id, ())[:n]]

    def __len__(self) -> int:
        """The number of trajectories."""
        return self._count

    def save(self, file: Path) -> None:
        """Write the buffer to one file, whole or not at all."""
        rows = [
            encode(
                Entry(
                    expert_id,
                    tuple(each.trajectory for each in kept),
                    # The order of questions is the order in which they go.
                    {"place": place, "rewards": [each.reward for each in kept], "steps": [each.step for each in kept]},
                )
            )
            for place, (expert_id, kept) in enumerate(self._by_question.items())
        ]
        with atomic_path(file) as temporary, entry_file.named(file):
            temporary.unlink(missing_ok=True)
            entry_file.create(temporary)
            with closing(entry_file.connect(temporary)) as db:
                entry_file.insert(db, rows)

    @classmethod
    def restore(cls, file: Path, settings: ReplaySettings) -> ReplayBuffer:
        """The buffer that was saved, cut down to `settings` where they have become smaller.

        Raises StoreError where the file is damaged or no such buffer.
        """
        with entry_file.named(file), closing(entry_file.connect(file)) as db:
            entries = [decode(row, file) for row in entry_file.all_rows(file, db)]
        buffer = cls(settings)
        try:
            for entry in sorted(entries, key=lambda each: each.record["place"]):
                rewards, steps = entry.record["rewards"], entry.record["steps"]
                successes = list(zip(entry.trajectories, rewards, steps, strict=True))
                for trajectory, reward, step in reversed(successes):
                    buffer.add(trajectory, float(reward), int(step))
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{file}: not a saved replay buffer ({error!r})") from error
        return buffer

    def _rank(self, success: Success) -> tuple[float, ...]:
        if self.settings.order == "reward":
            return success.reward, success.step
        return (success.step,)


def trajectory_of(expert_id: str, trace: EpisodeTrace, correct: bool) -> Trajectory | None:
    """What the policy did in one episode, as a trajectory; None unless the grammar held from beginning to end.

    None as well where it called a tool of the user's: a stored trajectory holds gazes alone, and preflight refuses
    `off_policy_source=replay` with tools.
    """
    if not trace.well_formed or trace.answer is None or trace.num_calls:
        return None
    steps = tuple(ExpertStep(turn.reasoning, box, turn.image) for turn in trace.turns if (box := turn.box) is not None)
    return Trajectory(expert_id, steps, trace.turns[-1].reasoning, trace.answer, correct, SOURCE)


def choose_off_policy(
    source: OffPolicySource, experts: Sequence[Trajectory], replayed: Sequence[Trajectory], n: int, step: int
) -> list[Trajectory]:
    """The `n` trajectories of a prompt's off-policy sessions at a training step; fewer where there are fewer.

    Where there are more experts than sessions, later steps go on where earlier ones stopped. "mixed" takes turns,
    an expert first, and lets either stand in for the other.
    """
    turned = [experts[(step * n + place) % len(experts)] for place in range(min(n, len(experts)))] if experts else []
    if source == "experts":
        return turned
    if source == "replay":
        return list(replayed[:n])
    mixed: list[Trajectory] = []
    queues = [list(turned), list(replayed)]
    while len(mixed) < n and any(queues):
        queue = queues[len(mixed) % 2] or queues[1 - len(mixed) % 2]
        mixed.append(queue.pop(0))
    return mixed
