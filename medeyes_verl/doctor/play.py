"""Stored experts played as a recipe's run would play them: its episode, its token budget, its reward."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from medeyes_verl.data.row import prompt_messages
from medeyes_verl.doctor.images import SizeOnlyImage
from medeyes_verl.doctor.recipe import Plan
from medeyes_verl.doctor.table import ExpertRow
from medeyes_verl.evaluation.player import with_system_prompt
from medeyes_verl.evaluation.scoring import reward_facts
from medeyes_verl.expert.replay import choose_off_policy
from medeyes_verl.expert.store import TrajectoryStore
from medeyes_verl.expert.trajectory import Trajectory, turn_texts
from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.rollout import rollout
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.gaze.trace import EpisodeTrace
from medeyes_verl.policies.stored import StoredPolicy, Unbudgeted
from medeyes_verl.reward.compose import RewardParts, reward
from medeyes_verl.reward.parts import score_parts


@dataclass(frozen=True, slots=True)
class Played:
    """One expert of one question."""

    group: str
    trace: EpisodeTrace
    parts: RewardParts
    labelled_correct: bool


@dataclass(slots=True)
class Plays:
    """What playing the experts of some questions gave."""

    questions: int = 0
    played: list[Played] = field(default_factory=list)
    wrong_left_out: int = 0
    """Trajectories whose label is incorrect, which the recipe does not replay."""
    unusable: Counter[str] = field(default_factory=Counter)
    """Trajectories that cannot be written as turns, or that the store cannot give, by reason."""
    longest_prompt: int | None = None
    """Tokens; None where no processor was given."""

    @property
    def finishes(self) -> Counter[str]:
        return Counter(each.trace.finish for each in self.played)

    @property
    def faults(self) -> Counter[str]:
        return Counter(fault.value for each in self.played for fault in each.trace.faults)


def play_experts(rows: Sequence[ExpertRow], store: TrajectoryStore, plan: Plan, tokens: PolicyTokens | None) -> Plays:
    """Play the trajectories that the first step of a run would replay for these rows."""
    return asyncio.run(_play_all(rows, store, plan, tokens))


async def _play_all(
    rows: Sequence[ExpertRow], store: TrajectoryStore, plan: Plan, tokens: PolicyTokens | None
) -> Plays:
    plays = Plays()
    rules = plan.episode.rules if tokens is None else tokens.rules(plan.episode.rules)
    order = plan.rollout.off_policy_source
    for number, row in enumerate(rows):
        plays.questions += 1
        try:
            stored = store.get(row.expert_id)
        except ValueError as error:
            plays.unusable[str(error)] += 1
            continue
        usable = [each for each in stored if each.correct or plan.rollout.keep_wrong_experts]
        plays.wrong_left_out += len(stored) - len(usable)
        for trajectory in choose_off_policy(order, usable, (), plan.rollout.n_expert, 0):
            try:
                # a row that a mixture repeats is a group of its own
                plays.played.append(await _play(f"{number}", row, trajectory, rules, plan, tokens, plays))
            except ValueError as error:
                plays.unusable[str(error)] += 1
    return plays


async def _play(
    group: str,
    row: ExpertRow,
    trajectory: Trajectory,
    rules: EpisodeSettings,
    plan: Plan,
    tokens: PolicyTokens | None,
    plays: Plays,
) -> Played:
    policy = StoredPolicy(turn_texts(trajectory, rules, row.sizes))
    episode = Episode([SizeOnlyImage(size) for size in row.sizes], rules)
    if tokens is None:
        trace = await rollout(episode, Unbudgeted(), policy)
    else:
        messages = with_system_prompt(prompt_messages(row.row), plan.episode, episode)
        conversation = Conversation(tokens, messages, episode.views, plan.episode.response_length)
        plays.longest_prompt = max(plays.longest_prompt or 0, len(conversation.prompt_ids))
        trace = await rollout(episode, conversation, policy)
    facts, settings = reward_facts(row.row), plan.episode.reward
    parts = reward(trace, facts.ground_truth, facts.question_type, facts.options, settings)
    own = await score_parts(settings.parts, trace, facts)
    return Played(group, trace, replace(parts, total=parts.total + own.total), trajectory.correct)
