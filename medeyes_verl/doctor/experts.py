"""Findings about stored experts: are they there, and what would they teach under a recipe's own rule?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from medeyes_verl.algorithm.advantage import dual_stream_advantage, silent_group_share
from medeyes_verl.algorithm.settings import OffPolicyBaseline
from medeyes_verl.doctor.check import Faults, Finding
from medeyes_verl.doctor.play import Played, Plays, play_experts
from medeyes_verl.doctor.recipe import ESTIMATOR, Plan
from medeyes_verl.doctor.table import SAMPLE_SEED, Table
from medeyes_verl.expert.store import StoreError, TrajectoryStore
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.reward.compose import RewardSettings

ZERO_ADVANTAGE_LIMIT = 0.5
"""Share of a table's expert groups that may have advantage 0 throughout: above it most experts teach nothing."""
FAULTY_LIMIT = 0.05
"""Share of experts that may end without an answer, carry a fault, or score otherwise than their label says."""
FILLED_LIMIT = 0.5
"""Share of the places for experts that must be filled."""


def stored(table: Table, store: Path) -> Iterator[Finding]:
    """Whether the store knows every expert id of the table."""
    subject = f"{store}: has the experts of {table.path.name}"
    remedy = f"make them: medeyes-verl experts script --data {table.path} --store {store}"
    try:
        known = TrajectoryStore(store)
        absent = Faults("questions")
        for expert_id in sorted(table.expert_ids):
            if expert_id not in known:
                absent.add(expert_id)
    except (StoreError, OSError) as error:
        yield Finding(subject, False, str(error), remedy)
        return
    yield absent.finding(subject, remedy, f"{len(table.expert_ids)} questions")


def taught(table: Table, plan: Plan, tokens: PolicyTokens | None) -> Iterator[Finding]:
    """Play the experts of a table as the recipe would and say what they teach."""
    subject = f"experts of {table.path}"
    rollout = plan.rollout
    if not table.expert_ids and (not table.training_rows or not rollout.n_expert):
        yield Finding(subject, True, "no rows with experts, and none are needed here")
        return
    if not table.expert_ids:
        seen = (
            f"none of {table.training_rows} training rows has an expert_id, and {rollout.n_expert} rollouts a prompt "
        )
        remedy = "prepare the table with --expert-ids and make experts, or use +medeyes=on_policy_only"
        yield Finding(subject, rollout.off_policy_source == "replay", seen + "are to be experts'", remedy)
        return
    if not rollout.n_expert or rollout.off_policy_source == "replay" or rollout.experts is None:
        source = f"n_expert={rollout.n_expert}, off_policy_source={rollout.off_policy_source}"
        yield Finding(subject, True, f"the recipe replays none ({source})")
        return
    (known,) = stored(table, Path(rollout.experts))
    yield known
    try:
        store = TrajectoryStore(rollout.experts)
    except (StoreError, OSError):
        return  # said above
    plays = play_experts(table.experts, store, plan, tokens)
    yield _played(subject, table, plays, tokens is not None, plan)
    if not plays.played:
        return
    if plays.longest_prompt is not None:
        seen = f"at most {plays.longest_prompt} tokens of data.max_prompt_length={plan.max_prompt_length}"
        fits = plays.longest_prompt <= plan.max_prompt_length
        yield Finding(f"{subject}: prompts fit", fits, seen, f"set data.max_prompt_length={plays.longest_prompt}")
    yield _filled(subject, plays, rollout.n_expert)
    yield from _episodes(subject, plays, plan)
    yield _advantages(subject, plays.played, plan)


def _played(subject: str, table: Table, plays: Plays, counted: bool, plan: Plan) -> Finding:
    which = "all" if plays.questions == table.expert_rows else f"a sample with seed {SAMPLE_SEED}"
    budget = (
        f"response of {plan.episode.response_length} tokens counted"
        if counted
        else ("token budget not checked, give --model")
    )
    seen = f"{len(plays.played)} experts of {plays.questions} of {table.expert_rows} questions ({which}); {budget}"
    if plays.wrong_left_out:
        seen += f"; {plays.wrong_left_out} labelled incorrect are left out"
    if plays.unusable:
        (reason, _), *_ = plays.unusable.most_common(1)
        seen += f"; {plays.unusable.total()} cannot be used: {reason}"
    remedy = "check the store: medeyes-verl experts validate STORE; make unusable experts anew"
    if not plays.played and not table.expert_rows:
        remedy = "correct the rows named above"
    return Finding(f"{subject}: played", bool(plays.played) and not plays.unusable, seen, remedy)


def _filled(subject: str, plays: Plays, n_expert: int) -> Finding:
    places = plays.questions * n_expert
    share = len(plays.played) / places
    seen = f"{len(plays.played)} of {places} places for experts ({share:.0%}); the policy takes the others"
    remedy = f"make {n_expert} usable experts a question, or set n_expert to how many there are"
    return Finding(f"{subject}: enough", share >= FILLED_LIMIT, seen, remedy)


def _episodes(subject: str, plays: Plays, plan: Plan) -> Iterator[Finding]:
    played, rules = plays.played, plan.episode.rules
    answered = sum(each.trace.answer is not None for each in played) / len(played)
    ends = ", ".join(f"{name} {count}" for name, count in plays.finishes.most_common())
    yield Finding(
        f"{subject}: end with an answer",
        answered >= 1 - FAULTY_LIMIT,
        f"{answered:.1%} ({ends})",
        f"gaze_limit: make experts of at most {rules.max_gazes} gazes (--max-gazes) or raise episode.max_gazes; "
        "truncated: raise data.max_response_length",
    )
    faulty = sum(bool(each.trace.faults) for each in played) / len(played)
    named = f" ({', '.join(f'{name} {count}' for name, count in plays.faults.most_common())})" if faulty else ""
    yield Finding(
        f"{subject}: without faults",
        faulty <= FAULTY_LIMIT,
        f"{faulty:.1%} have a fault{named}",
        "make experts whose boxes and turns the recipe's episode settings allow (the key sampler.episode"
        " of experts build)",
    )
    correct = sum(each.parts.exact_match for each in played) / len(played)
    label = sum(each.labelled_correct for each in played) / len(played)
    differ = sum(each.labelled_correct != bool(each.parts.exact_match) for each in played) / len(played)
    yield Finding(
        f"{subject}: answers score as labelled",
        differ <= FAULTY_LIMIT,
        f"{correct:.1%} are correct by the reward, {label:.1%} by their label; {differ:.1%} differ",
        "the table's answers changed after the experts were made, or experts end early: make them anew",
    )
    rewards = [each.parts.total for each in played]
    mean = {name: sum(getattr(each.parts, name) for each in played) / len(played) for name in ("r_acc", "r_grammar")}
    diversity = sum(each.parts.r_div for each in played) / len(played)
    yield Finding(
        f"{subject}: reward",
        True,
        f"mean {sum(rewards) / len(rewards):.3f}, from {min(rewards):.3f} to {max(rewards):.3f} "
        f"(r_acc {mean['r_acc']:.3f}, r_grammar {mean['r_grammar']:.3f}, r_div {diversity:.3f})",
    )


def _advantages(subject: str, played: list[Played], plan: Plan) -> Finding:
    baseline = plan.dual_stream.off_policy_baseline
    subject = f"{subject}: zero-advantage groups (off_policy_baseline={baseline})"
    if not plan.estimates_advantages:
        estimator = plan.config.algorithm.adv_estimator
        return Finding(subject, True, f"not known: adv_estimator={estimator} makes the advantages, not {ESTIMATOR}")
    worst = policy_all_wrong(plan.episode.reward)
    share = zero_share(played, plan, baseline, worst)
    groups = len({each.group for each in played})
    if baseline in ("stream", "none"):
        seen = f"{share:.0%} of {groups} groups have advantage 0 throughout"
    else:
        best = zero_share(played, plan, baseline, None)
        seen = (
            f"{share:.0%} of {groups} groups have advantage 0 throughout while every rollout is wrong (reward "
            f"{worst:.2f}), {best:.0%} once every rollout earns as much as the best expert of its question; "
            "a run lies between"
        )
    limit = f"; at most {ZERO_ADVANTAGE_LIMIT:.0%} may"
    return Finding(subject, share <= ZERO_ADVANTAGE_LIMIT, seen + limit, _advantage_remedy(played, plan, worst))


def _advantage_remedy(played: list[Played], plan: Plan, worst: float) -> str:
    if plan.dual_stream.off_policy_baseline != "on_policy" and (
        zero_share(played, plan, "on_policy", worst) <= ZERO_ADVANTAGE_LIMIT
    ):
        return (
            "such experts teach nothing under this rule: add the recipe `recommended`, "
            f"'{plan.name[:-1]},recommended]', which compares experts with the policy's own rollouts; "
            "or make experts whose rewards differ (docs/method.md)"
        )
    return "experts earn no more than rollouts that are all wrong: make experts whose answers are correct"


def policy_all_wrong(settings: RewardSettings) -> float:
    """What a rollout earns that keeps the grammar, looks nowhere and answers incorrectly; 0 of parts of the user's."""
    return settings.grammar_weight


def zero_share(played: list[Played], plan: Plan, baseline: OffPolicyBaseline, rollouts: float | None) -> float:
    """Share of expert groups with advantage 0 throughout, under a rule and an assumption about the policy.

    `rollouts`: the reward of each of the policy's rollouts; None for the reward of its question's best expert. Rules
    that do not look at the policy do not depend on it.
    """
    best: dict[str, float] = {}
    for each in played:
        best[each.group] = max(best.get(each.group, each.parts.total), each.parts.total)
    rewards = [each.parts.total for each in played]
    groups = [each.group for each in played]
    for group, reward in best.items():
        rewards += [reward if rollouts is None else rollouts] * plan.n_policy
        groups += [group] * plan.n_policy
    experts = [True] * len(played) + [False] * (len(groups) - len(played))
    advantages = dual_stream_advantage(
        torch.tensor(rewards, dtype=torch.float64),
        groups,
        experts,
        baseline=baseline,
        normalise_by_std=plan.normalise_by_std,
        least_range=plan.dual_stream.least_reward_range,
    )
    return silent_group_share(advantages, groups, experts)["expert"]
