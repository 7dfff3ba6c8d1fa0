"""Recipes and examples compose with stock main_ppo's configuration and pass veRL's own validation."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from medeyes_verl.algorithm.settings import DualStreamSettings
from medeyes_verl.settings.reader import keys_of, read

ROOT = Path(__file__).parents[2]
GIVEN = ["medeyes.data=some/data", "medeyes.model=some/model"]


def composed(*overrides: str) -> DictConfig:
    with initialize_config_module(config_module="verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=list(overrides))


def validated(config: DictConfig) -> DictConfig:
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    validate_config(config, need_reference_policy(config), need_critic(config))
    omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    return config


@pytest.mark.parametrize("recipe", ["cpu_tiny", "gpu_tiny", "qwen2_5_vl_3b", "on_policy_only"])
def test_a_recipe_is_a_valid_run(recipe: str) -> None:
    from medeyes_verl.config.settings import rollout_settings
    from medeyes_verl.plugin.objective import dual_stream_settings
    from medeyes_verl.plugin.reward_manager import reward_settings

    config = validated(composed(f"+medeyes={recipe}", *GIVEN))
    assert config.algorithm.adv_estimator == "medeyes_dual_stream"
    assert rollout_settings(config).n_expert == (0 if recipe == "on_policy_only" else rollout_settings(config).n_expert)
    assert dual_stream_settings(config.algorithm).off_policy_baseline == "stream"
    assert reward_settings(config).accuracy_weight == 0.7


def test_the_recommended_objective_goes_on_top_of_any_recipe() -> None:
    from medeyes_verl.plugin.objective import dual_stream_settings

    config = validated(composed("+medeyes=[cpu_tiny,recommended]", *GIVEN))
    assert dual_stream_settings(config.algorithm) == DualStreamSettings(
        off_policy_baseline="on_policy", off_policy_shaping="log", off_policy_clip=False
    )
    assert config.actor_rollout_ref.actor.policy_loss.loss_mode == "medeyes_dual_stream"
    rate = config.actor_rollout_ref.actor.optim
    assert (rate.lr_scheduler_type, rate.min_lr_ratio) == ("cosine", 0.1)


@pytest.mark.parametrize("recipe", ["demonstrations", "[cpu_tiny,demonstrations]", "[qwen2_5_vl_3b,demonstrations]"])
def test_demonstrations_go_into_a_run_of_ones_own_and_on_top_of_any_recipe(recipe: str) -> None:
    config = composed(f"+medeyes={recipe}", "actor_rollout_ref.model.path=m", "trainer.device=cpu")
    assert config.actor_rollout_ref.rollout.agent.default_agent_loop == "medeyes_demonstrations"
    assert config.reward.reward_manager.name == "naive"
    assert config.data.custom_cls.path is None
    assert set(config.algorithm.medeyes) == set(keys_of(DualStreamSettings)), "all are set without Hydra's +"


def test_lora_goes_with_the_objective() -> None:
    config = validated(composed("+medeyes=[qwen2_5_vl_3b,luffy]", *GIVEN, "actor_rollout_ref.model.lora_rank=16"))
    assert config.actor_rollout_ref.model.lora_rank == 16


def test_luffy_brings_its_scripts_settings() -> None:
    config = validated(composed("+medeyes=[qwen2_5_vl_3b,luffy]", *GIVEN))
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    assert not config.algorithm.norm_adv_by_std_in_grpo
    assert (actor.loss_agg_mode, actor.loss_scale_factor) == ("seq-mean-token-sum-norm", 2048)
    assert (actor.clip_ratio_low, actor.clip_ratio_high, actor.clip_ratio_c) == (1.0, 1e9, 1e9)
    assert (rollout.n, rollout.custom.medeyes.n_expert) == (8, 1)
    assert actor.entropy_coeff == 0.001


@pytest.mark.parametrize(
    "rule", ["medeyes", "recommended", "luffy", "sft", "grpo", "chord_mu", "chord_phi", "hpt", "rl_plus", "prefix"]
)
@pytest.mark.parametrize("recipe", ["cpu_tiny", "qwen2_5_vl_3b"])
def test_a_rule_goes_on_top_of_any_recipe(recipe: str, rule: str) -> None:
    config = validated(composed(f"+medeyes=[{recipe},{rule}]", *GIVEN))
    assert list(config.medeyes.rules) == [rule]


def test_the_papers_recipe_has_the_papers_numbers() -> None:
    config = composed("+medeyes=qwen2_5_vl_3b", "medeyes.data=some/data")
    rollout = config.actor_rollout_ref.rollout
    assert (rollout.n, rollout.custom.medeyes.n_expert) == (14, 6)
    assert rollout.custom.medeyes.episode.max_gazes == 4
    assert config.actor_rollout_ref.actor.optim.lr == 1e-6
    assert (config.trainer.total_training_steps, config.trainer.total_epochs) == (80, 3)
    assert config.actor_rollout_ref.actor.clip_ratio == 0.2
    assert not config.actor_rollout_ref.actor.use_kl_loss


@pytest.mark.ray  # each starts a process that imports veRL; tests/docs composes them in this one
@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.sh")))
def test_an_example_is_a_valid_run(example: str) -> None:
    done = subprocess.run(
        ["bash", str(ROOT / "examples" / example), "--cfg", "job"],
        env={
            **os.environ,
            "DATA": "some/data",
            "NODES": "2",
            "REWARD": "reward.py",
            "TOOLS": "tools.yaml",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    config = OmegaConf.create(done.stdout)
    assert isinstance(config, DictConfig)
    validated(config)
    assert config.algorithm.adv_estimator == "medeyes_dual_stream"


@pytest.mark.parametrize("recipe", ["cpu_tiny", "gpu_tiny", "qwen2_5_vl_3b", "on_policy_only"])
def test_every_key_of_ours_is_declared_so_that_none_needs_a_plus(recipe: str) -> None:
    from medeyes_verl.config.settings import OF_THE_MODEL, SECTIONS

    config = composed(f"+medeyes={recipe}", *GIVEN)
    declared = [
        f"{where}.{key}"
        for where in SECTIONS
        for key in leaves(OmegaConf.to_container(OmegaConf.select(config, where)))
    ]
    wanted = [key for where, schema in SECTIONS.items() for key in keys_of(schema, where) if key not in OF_THE_MODEL]
    assert sorted(declared) == sorted(wanted), "base.yaml and the schema differ"
    assert set(config.medeyes) == {"data", "model", "output", "rules"}


def leaves(node: Any) -> list[str]:
    """All dotted keys of a nested mapping that hold a value."""
    if not isinstance(node, dict) or not node:  # an empty mapping is a value itself: oracle_settings
        return [""]
    return [".".join(part for part in (key, below) if part) for key, each in node.items() for below in leaves(each)]


def test_declared_values_are_the_settings_own_defaults() -> None:
    """What base.yaml says must not drift from what a run without a recipe gets."""
    from medeyes_verl.config.settings import ROLLOUT, SECTIONS

    config = OmegaConf.load(ROOT / "medeyes_verl" / "config" / "medeyes" / "base.yaml")
    for where, schema in SECTIONS.items():
        given = OmegaConf.to_container(OmegaConf.select(config, where))
        if where == ROLLOUT:  # the paper's run has experts; without a recipe there is no store to take them from
            assert (given.pop("n_expert"), given.pop("experts")) == (6, "${medeyes.data}/experts")
        assert read(schema, given, where) == schema()


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["actor_rollout_ref.rollout.custom.medeyes.n_expert=8"], "leave at least one rollout to the policy"),
        (["+actor_rollout_ref.rollout.custom.medeyes.n_experts=2"], "n_experts"),
        (["+actor_rollout_ref.rollout.custom.medeyes.episode.zoom=2"], "zoom"),
        (["actor_rollout_ref.rollout.custom.medeyes.experts=null"], "neither experts names a trajectory store"),
        (["actor_rollout_ref.rollout.custom.medeyes.episode.frame=relative"], "frame"),
    ],
)
def test_a_wrong_setting_is_named(overrides: list[str], complaint: str) -> None:
    from medeyes_verl.config.settings import rollout_settings

    config = composed("+medeyes=cpu_tiny", *GIVEN, *overrides)
    with pytest.raises(ValueError, match=complaint):
        rollout_settings(config)


def test_an_unknown_key_of_the_objective_is_named() -> None:
    from medeyes_verl.plugin.objective import dual_stream_settings

    config: Any = composed("+medeyes=cpu_tiny", *GIVEN, "+algorithm.medeyes.gamma=1")
    with pytest.raises(ValueError, match="gamma"):
        dual_stream_settings(config.algorithm)
