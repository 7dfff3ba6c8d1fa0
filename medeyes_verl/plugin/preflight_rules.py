"""Problems with the rule that mixes the streams: what contradicts it, and what would be ignored beside it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from medeyes_verl.algorithm.settings import OURS, DualStreamSettings
from medeyes_verl.config.settings import ROLLOUT, RolloutSettings, dual_stream_settings, reward_settings
from medeyes_verl.plugin.problem import Problem, value_of

MEDEYES, RULES = "algorithm.medeyes", "medeyes.rules"
LOSS = "actor_rollout_ref.actor.policy_loss.loss_mode"
RECIPES = Path(__file__).parents[1] / "config" / "medeyes"
NOT_FOR_ROWS = ("medeyes_dual_stream", "bypass_mode")
"""Registered policy losses that are no loss of rows: ours itself, and veRL's dispatcher for its own trainer."""


def rule_problems(config: DictConfig, rollout: RolloutSettings) -> Iterator[Problem]:
    """Yield what is wrong with ``algorithm.medeyes``, the rule's recipe, and veRL's settings beside them."""
    settings = dual_stream_settings(config.algorithm)
    yield from _of_recipes(config)
    if value_of(config, LOSS) != "medeyes_dual_stream":
        yield from _never_read(config, settings)
        return
    yield from _of_on_policy_loss(config, settings)
    if rollout.n_expert:
        yield from _of_experts(config, settings, rollout)


def _of_recipes(config: DictConfig) -> Iterator[Problem]:
    named = [str(name) for name, is_on in (value_of(config, RULES) or {}).items() if is_on]
    if len(named) > 1:
        reason = "each is a whole rule; what the later one leaves unsaid would stay the earlier one's"
        yield Problem(RULES, ", ".join(named), reason, "name one of them in +medeyes=[RECIPE,RULE]")
        return
    for name in named:
        file = RECIPES / f"{name}.yaml"
        if not file.exists():
            continue  # a recipe of the user's
        base = dict(_leaves("", _plain(RECIPES / "base.yaml")))
        own = [(key, value) for key, value in _leaves("", _plain(file)) if key.startswith("algorithm.")]
        telling = [(key, value) for key, value in own if key in base and base[key] != value]
        if telling and not any(value_of(config, key) == value for key, value in telling):
            reason = "nothing of it is in force: a recipe that stands after it has set the paper's rule again"
            yield Problem(RULES, name, reason, f"name the rule last: '+medeyes=[RECIPE,{name}]'")


def _plain(file: Path) -> dict[str, Any]:
    content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _leaves(f"{key}.{name}" if key else str(name), below)
    elif not (isinstance(value, str) and "${" in value) and key != "defaults":
        yield key, value


def _never_read(config: DictConfig, settings: DualStreamSettings) -> Iterator[Problem]:
    """Under a stock loss nobody reads the rule, so that one which was chosen must not go unnoticed."""
    default = DualStreamSettings()
    for key in DualStreamSettings.__slots__:
        if getattr(settings, key) != getattr(default, key):
            yield Problem(
                f"{MEDEYES}.{key}",
                getattr(settings, key),
                f"the loss {value_of(config, LOSS)} does not read it",
                f"set {LOSS}=medeyes_dual_stream and algorithm.adv_estimator=medeyes_dual_stream, or leave it out",
            )


def _of_on_policy_loss(config: DictConfig, settings: DualStreamSettings) -> Iterator[Problem]:
    name = settings.on_policy_loss
    if name == OURS:
        return
    from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY  # a second to import, and only a name needs it

    known = sorted(set(POLICY_LOSS_REGISTRY) - set(NOT_FOR_ROWS))
    if name not in known:
        remedy = f"use {OURS} or one of {', '.join(known)}"
        yield Problem(f"{MEDEYES}.on_policy_loss", name, "veRL has registered no such loss of rows", remedy)
    if name == "dro" and not value_of(config, "actor_rollout_ref.actor.policy_loss.dro_beta"):
        key = "actor_rollout_ref.actor.policy_loss.dro_beta"
        yield Problem(key, value_of(config, key), "the loss dro needs its β", "set a positive number")


def _of_experts(config: DictConfig, settings: DualStreamSettings, rollout: RolloutSettings) -> Iterator[Problem]:
    alone = f"or {ROLLOUT}.n_expert=0"
    if value_of(config, "algorithm.use_kl_in_reward"):
        reason = "it compares old log-probabilities with the reference's, and an expert's are 0 (π_expert = 1)"
        remedy = f"set actor_rollout_ref.actor.use_kl_loss=true instead, {alone}"
        yield Problem("algorithm.use_kl_in_reward", True, reason, remedy)
    if value_of(config, "algorithm.filter_groups.enable"):
        reason = "veRL's filter takes the experts' rewards for the policy's, and keeps or drops a prompt by both"
        remedy = f"set it to false; prompts without a signal are counted as medeyes/*/zero_advantage_groups; {alone}"
        yield Problem("algorithm.filter_groups.enable", True, reason, remedy)
    behaviour = settings.expert_log_probs
    if behaviour in ("mixture", "policy") and value_of(config, "algorithm.rollout_correction.bypass_mode"):
        reason = "the policy's log-probabilities of the experts' tokens are then never computed"
        remedy = "set algorithm.rollout_correction.bypass_mode=false"
        yield Problem(f"{MEDEYES}.expert_log_probs", behaviour, reason, remedy)
    if rollout.expert_turns is not None:
        yield from _of_prefixes(settings)
    if settings.expert_log_probs == "stored" and not value_of(config, "actor_rollout_ref.rollout.calculate_log_probs"):
        reason = "veRL then leaves out the log-probabilities that an agent loop returns"
        remedy = "set actor_rollout_ref.rollout.calculate_log_probs=true"
        yield Problem(f"{MEDEYES}.expert_log_probs", "stored", reason, remedy)
    if settings.off_policy_gate == "unsolved":
        yield from _of_solved_reward(config, settings)


def _of_solved_reward(config: DictConfig, settings: DualStreamSettings) -> Iterator[Problem]:
    """With our reward alone it is known what a right and a wrong answer can earn."""
    ours = value_of(config, "reward.reward_manager.name") == "MedEyesRewardManager"
    if not ours or value_of(config, "reward.custom_reward_function.path"):
        return
    reward = reward_settings(config)
    if reward.parts:
        return  # what they may add is not known
    correct, diversity = reward.accuracy_weight, reward.diversity_weight
    wrong = reward.grammar_weight + (diversity if reward.diversity_when == "always" else 0.0)
    most = correct + reward.grammar_weight + diversity
    if not wrong < settings.solved_reward <= most:
        reason = (
            f"a wrong answer earns up to {wrong:g} and a right one {correct:g} to {most:g}, so it does not "
            "tell solved prompts from others"
        )
        remedy = f"set a number above {wrong:g} and at most {correct:g}, such as reward.medeyes.accuracy_weight"
        yield Problem(f"{MEDEYES}.solved_reward", settings.solved_reward, reason, remedy)


def _of_prefixes(settings: DualStreamSettings) -> Iterator[Problem]:
    """A row that an expert begins and the policy ends has tokens of both."""
    whole = f"or {ROLLOUT}.expert_turns=null for whole trajectories"
    if settings.off_policy_baseline == "unit":
        reason = "the policy ends these rows, and what it writes would be taught whatever it earns"
        yield Problem(f"{MEDEYES}.off_policy_baseline", "unit", reason, f"set it to pooled, {whole}")
    if settings.on_policy_loss != OURS:
        reason = (
            "a named loss averages over a row's tokens by itself, and a row with a prefix has tokens of both streams"
        )
        yield Problem(f"{MEDEYES}.on_policy_loss", settings.on_policy_loss, reason, f"set it to {OURS}, {whole}")
    if settings.ratio != "token":
        reason = "a row with a prefix has no one ratio: the expert wrote its beginning, the policy its end"
        yield Problem(f"{MEDEYES}.ratio", settings.ratio, reason, f"set it to token, {whole}")
    if settings.row_mean != "joint":
        reason = "a row with a prefix is of both streams, so neither has rows of its own"
        yield Problem(f"{MEDEYES}.row_mean", settings.row_mean, reason, f"set it to joint, {whole}")
