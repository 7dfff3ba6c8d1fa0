"""What a configuration shows to be wrong is refused before anything starts, with key, value, reason and remedy."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, open_dict

from medeyes_verl.config.settings import ROLLOUT
from medeyes_verl.plugin.machine import machine_problems
from medeyes_verl.plugin.preflight import (
    PreflightCallback,
    PreflightError,
    objective_problems,
    preflight,
    refuse_problems,
)
from medeyes_verl.plugin.problem import Problem

ALONE = [f"{ROLLOUT}.n_expert=0", "actor_rollout_ref.rollout.n=4"]
STOCK_LOOP = "actor_rollout_ref.rollout.agent.default_agent_loop=single_turn_agent"
CUSTOM = "reward.custom_reward_function"
TOOL = f"{Path(__file__).parents[2] / 'examples' / 'tool.py'}:Contrast"
UNWEIGHTED = [f"reward.medeyes.{part}_weight=0" for part in ("accuracy", "grammar", "diversity")]


@pytest.fixture
def given(prepared: Any) -> list[str]:
    return ["+medeyes=cpu_tiny", f"medeyes.data={prepared.data}", f"medeyes.model={prepared.model}"]


@cache
def base(*recipe: str) -> DictConfig:
    with initialize_config_module(config_module="verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=list(recipe))


def composed(overrides: list[str]) -> DictConfig:
    """As Hydra would compose it, but the slow part once."""
    values = [override.removeprefix("+") for override in overrides if not override.startswith("+medeyes=")]
    config = base(*(override for override in overrides if override.startswith("+medeyes="))).copy()
    with open_dict(config):
        config.merge_with_dotlist(values)
    return config


def problems(overrides: list[str]) -> list[Problem]:
    return preflight(composed(overrides))


def test_a_recipe_with_its_data_passes(given: list[str]) -> None:
    assert problems(given) == []
    assert problems([*given, *ALONE]) == []


@pytest.mark.parametrize(
    ("overrides", "key", "reason", "remedy"),
    [
        (["trainer.v1.trainer_mode=sync"], "trainer.v1.trainer_mode", "does not say which rows", "medeyes_sync"),
        (["trainer.v1.trainer_mode=sync", *ALONE], "trainer.v1.trainer_mode", "algorithm.adv_estimator", "grpo"),
        (["trainer.use_v1=false"], "trainer.use_v1", "V1 trainer only", "use_v1=true"),
        (["algorithm.adv_estimator=grpo"], "algorithm.adv_estimator", "together only", "medeyes_dual_stream"),
        (
            ["actor_rollout_ref.actor.policy_loss.loss_mode=vanilla"],
            "actor_rollout_ref.actor.policy_loss.loss_mode",
            "together only",
            "medeyes_dual_stream",
        ),
        (
            ["algorithm.adv_estimator=grpo", "actor_rollout_ref.actor.policy_loss.loss_mode=vanilla"],
            "algorithm.adv_estimator",
            "expert rows",
            "medeyes_dual_stream",
        ),
        (["distillation.enabled=true"], "distillation.enabled", "takes the place", "trainer_mode=sync"),
        (
            [STOCK_LOOP, *UNWEIGHTED, f"{CUSTOM}.path=own.py"],
            f"{ROLLOUT}.n_expert",
            "replays no experts",
            "set it to 0",
        ),
        ([STOCK_LOOP, *ALONE], "reward.reward_manager.name", "leaves none", "name=naive"),
        (UNWEIGHTED, "reward.medeyes", "every reward would be 0", "weight above 0"),
        ([*UNWEIGHTED, f"{CUSTOM}.path=own.py", "reward.medeyes.custom_weight=0"], "reward.medeyes", "be 0", "weight"),
        (
            [f"{ROLLOUT}.episode.tools=[absent.py:Tool]"],
            "episode.tools[0]",
            "there is no file",
            "relative paths start at",
        ),
        (
            [f"{ROLLOUT}.episode.tools=['{TOOL}']", f"{ROLLOUT}.off_policy_source=mixed"],
            f"{ROLLOUT}.off_policy_source",
            "holds gazes alone",
            "off_policy_source=experts",
        ),
        (
            [
                f"{ROLLOUT}.episode.tools=['{TOOL}']",
                "actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt.image=2",
            ],
            "actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt.image",
            "can have 4 images",
            "set it to 4 or more",
        ),
        (
            [f"{ROLLOUT}.episode.prompts=absent_folder"],
            f"{ROLLOUT}.episode.prompts",
            "there is no such folder",
            "docs/extend.md",
        ),
        (
            [f"{ROLLOUT}.live.oracle=absent.py:Oracle"],
            f"{ROLLOUT}.live.oracle",
            "there is no file",
            "relative paths start at",
        ),
        (
            [f"{ROLLOUT}.live.oracle=medeyes_verl.gaze.geometry:Box"],
            f"{ROLLOUT}.live.oracle",
            "settings given are none",
            "give the settings",
        ),
        (
            ["reward.medeyes.parts=[{name: r, path: 'absent.py:part'}]"],
            "reward.medeyes.parts[0].path",
            "there is no file",
            "relative paths start at",
        ),
        (
            ["reward.medeyes.parts=[{name: r, path: 'own.py:compute_score'}]"],
            "reward.medeyes.parts[0].path",
            "not (trace, row)",
            "a function of (trace, row)",
        ),
        (["reward.reward_model.enable=true"], "reward.reward_model.enable", "not called", "custom_reward_function"),
        ([f"{CUSTOM}.path=absent.py"], f"{CUSTOM}.path", "no such file", "Python file"),
        ([f"{CUSTOM}.path=pkg://absent.module"], f"{CUSTOM}.path", "no such file or module", "Python file"),
        ([f"{CUSTOM}.path=own.py", f"{CUSTOM}.name=other"], f"{CUSTOM}.name", "defines no such function", "name one"),
        ([f"{CUSTOM}.path=broken.py"], f"{CUSTOM}.path", "no Python file", "correct"),
        (["custom_reward_function.path=own.py"], "custom_reward_function.path", "ignores it", "reward.custom_reward"),
        (["reward_model.num_workers=2"], "reward_model.num_workers", "ignores it", "reward.num_workers"),
        (["+medeyes.recipe=x"], "medeyes.recipe", "no such key", "data, model, output"),
        ([f"+{ROLLOUT}.n_experts=2"], f"{ROLLOUT}.n_experts", "did you mean n_expert?", "remove"),
        (["+algorithm.medeyes.gamma=2"], "algorithm.medeyes.gamma", "no such key", "remove"),
        (["+reward.medeyes.acc_weight=2"], "reward.medeyes.acc_weight", "no such key", "remove"),
        (["+data.medeyes.root=x"], "data.medeyes.root", "image_root", "remove"),
        ([f"{ROLLOUT}.episode.max_gazes=many"], f"{ROLLOUT}.episode.max_gazes", "from 0 to 100", "correct"),
        ([f"+{ROLLOUT}.episode.view.multiple=14"], f"{ROLLOUT}.episode.view.multiple", "processor decides", "remove"),
        ([f"{ROLLOUT}.n_expert=8"], f"{ROLLOUT}.n_expert", "leave at least one rollout", "correct"),
        ([f"{ROLLOUT}.experts=absent/experts"], f"{ROLLOUT}.experts", "absent/experts", "experts --help"),
        (
            ["algorithm.medeyes.on_policy_loss=gsop"],
            "algorithm.medeyes.on_policy_loss",
            "registered no such loss",
            "cispo, clip_cov",
        ),
        (
            ["algorithm.medeyes.on_policy_loss=bypass_mode"],
            "algorithm.medeyes.on_policy_loss",
            "no such loss",
            "vanilla",
        ),
        (
            ["algorithm.medeyes.on_policy_loss=dro"],
            "actor_rollout_ref.actor.policy_loss.dro_beta",
            "needs its β",
            "positive",
        ),
        (
            ["+medeyes=[cpu_tiny,grpo]", "algorithm.medeyes.on_policy_loss=gspo"],
            "algorithm.medeyes.on_policy_loss",
            "vanilla does not read it",
            "leave it out",
        ),
        (["algorithm.use_kl_in_reward=true"], "algorithm.use_kl_in_reward", "an expert's are 0", "use_kl_loss=true"),
        (["algorithm.filter_groups.enable=true"], "algorithm.filter_groups.enable", "takes the experts'", "false"),
        (
            ["+medeyes=[cpu_tiny,rl_plus]", "algorithm.rollout_correction.bypass_mode=true"],
            "algorithm.medeyes.expert_log_probs",
            "never computed",
            "bypass_mode=false",
        ),
        (
            [
                "algorithm.medeyes.expert_log_probs=stored",
                "actor_rollout_ref.rollout.calculate_log_probs=false",
            ],
            "algorithm.medeyes.expert_log_probs",
            "leaves out the log-prob",
            "calculate_log_probs=true",
        ),
        (
            ["+medeyes=[cpu_tiny,hpt]", "reward.medeyes.accuracy_weight=0.2", "reward.medeyes.grammar_weight=0.7"],
            "algorithm.medeyes.solved_reward",
            "a wrong answer earns up to 0.8",
            "above 0.8",
        ),
        (
            ["+medeyes=[cpu_tiny,prefix]", "algorithm.medeyes.off_policy_baseline=unit"],
            "algorithm.medeyes.off_policy_baseline",
            "the policy ends these rows",
            "pooled",
        ),
        (
            ["+medeyes=[cpu_tiny,prefix]", "algorithm.medeyes.on_policy_loss=gspo"],
            "algorithm.medeyes.on_policy_loss",
            "tokens of both streams",
            "dual_stream",
        ),
        (
            ["+medeyes=[cpu_tiny,prefix]", "algorithm.medeyes.ratio=sequence"],
            "algorithm.medeyes.ratio",
            "no one ratio",
            "expert_turns=null",
        ),
        (
            ["+medeyes=[cpu_tiny,prefix]", "algorithm.medeyes.row_mean=by_stream"],
            "algorithm.medeyes.row_mean",
            "of both streams",
            "expert_turns=null",
        ),
        ([f"{ROLLOUT}.expert_turns=0"], f"{ROLLOUT}.expert_turns", "from 1 upwards", "correct"),
        (["+medeyes=[cpu_tiny,luffy,recommended]"], "medeyes.rules", "each is a whole rule", "name one"),
        (["+medeyes=[luffy,cpu_tiny]"], "medeyes.rules", "nothing of it is in force", "[RECIPE,luffy]"),
        (
            ["algorithm.medeyes.ratio=sequence", "algorithm.medeyes.on_policy_loss=gspo"],
            "algorithm.medeyes.ratio",
            "has a ratio of its own",
            "correct",
        ),
        (["data.train_files=absent.parquet"], "data.train_files", "no such file", "prepare"),
        (["data.val_files=[absent.parquet]"], "data.val_files", "no such file", "prepare"),
    ],
)
def test_what_would_fail_or_be_ignored_is_named(
    overrides: list[str],
    key: str,
    reason: str,
    remedy: str,
    given: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("async def compute_score(**_):\n    return 1.0\n")
    Path("broken.py").write_text("def compute_score(:")
    if any(each.startswith("+medeyes=") for each in overrides):
        given = given[1:]  # the row names recipes of its own
    found = [problem for problem in problems([*given, *overrides]) if problem.key == key]
    assert found, [str(problem) for problem in problems([*given, *overrides])]
    assert reason in found[0].reason
    assert remedy in found[0].remedy


@pytest.mark.parametrize(
    "rule", ["medeyes", "recommended", "luffy", "sft", "grpo", "chord_mu", "chord_phi", "hpt", "rl_plus", "prefix"]
)
def test_a_rule_on_top_of_a_recipe_passes(rule: str, given: list[str]) -> None:
    assert problems([f"+medeyes=[cpu_tiny,{rule}]", *given[1:]]) == []
    assert problems(["+medeyes=[cpu_tiny]", *given[1:], "algorithm.medeyes.on_policy_loss=gspo"]) == []


def test_a_rule_whose_numbers_the_user_changed_is_still_that_rule(given: list[str]) -> None:
    changed = ["algorithm.medeyes.shaping_gamma=0.3", "actor_rollout_ref.actor.entropy_coeff=0"]
    assert problems(["+medeyes=[cpu_tiny,luffy]", *given[1:], *changed]) == []


def test_without_experts_verls_own_filters_are_left_alone(given: list[str]) -> None:
    left = ["algorithm.use_kl_in_reward=true", "algorithm.filter_groups.enable=true"]
    assert problems([*given, *ALONE, *left]) == []


def test_a_stock_loop_with_a_reward_of_its_own_passes(given: list[str], tmp_path: Path) -> None:
    function = tmp_path / "own.py"
    function.write_text("def compute_score(**_):\n    return 1.0\n")
    assert problems([*given, *ALONE, STOCK_LOOP, *UNWEIGHTED, f"{CUSTOM}.path={function}"]) == []
    naive = ["reward.reward_manager.source=register", "reward.reward_manager.name=naive"]
    assert problems([*given, *ALONE, STOCK_LOOP, *naive]) == []


def test_a_stock_run_of_verls_own_is_none_of_our_business(prepared: Any) -> None:
    files = [f"data.{split}_files={prepared.data / f'{split}.parquet'}" for split in ("train", "val")]
    stock = [*files, f"actor_rollout_ref.model.path={prepared.model}"]
    assert problems(stock) == []
    assert objective_problems(composed(stock)) != [], "but expert rows in it are"


def test_missing_values_come_alone(given: list[str]) -> None:
    assert "Missing mandatory value: medeyes.data" in str(problems(["+medeyes=cpu_tiny", "medeyes.model=m"])[0])


def test_rows_that_cannot_be_used_are_named_with_their_file(given: list[str], tmp_path: Path) -> None:
    path = tmp_path / "val.parquet"
    message = [{"role": "user", "content": "<image>Is it?"}]
    row = {"prompt": message, "images": ["a.png"], "reward_model": {"ground_truth": None}, "data_source": "x"}
    pq.write_table(pa.Table.from_pylist([row, {**row, "reward_model": {"ground_truth": "yes"}}]), path)
    [problem] = problems([*given, f"data.val_files={path}"])
    assert f"{path}: reward_model.ground_truth: 1 of 2 rows cannot be used: row 0: there is none" in problem.reason


def test_a_training_table_without_expert_ids_leaves_n_expert_without_effect(given: list[str], prepared: Any) -> None:
    [problem] = problems([*given, f"data.train_files={prepared.data / 'val.parquet'}"])
    assert (problem.key, problem.value) == (f"{ROLLOUT}.n_expert", 2)
    assert "--expert-ids" in problem.remedy


def test_the_callback_ends_the_process_with_all_problems_in_one_message(given: list[str]) -> None:
    config = composed([*given, "distillation.enabled=true", "trainer.use_v1=false"])
    with pytest.raises(SystemExit) as ended:
        PreflightCallback().on_job_start(config)
    said = str(ended.value)
    assert said.startswith("medeyes_verl refuses to start this run (2 problems):\n1. trainer.use_v1=False: ")
    assert "\n2. distillation.enabled=True: " in said
    assert said.count("Remedy: ") == 2
    with pytest.raises(PreflightError, match="2 problems"):
        refuse_problems(preflight(config))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], r"attn_implementation=flash_attention_2: it needs flash-attn.*Remedy: .*\+\+actor.*=sdpa .*padding=false"),
        (["+actor_rollout_ref.model.override_config.attn_implementation=sdpa"], None),
        (["+ray_kwargs.ray_init.address=auto"], None),
    ],
)
def test_a_run_without_flash_attn_is_refused_where_it_trains(overrides: list[str], said: str | None) -> None:
    assert find_spec("flash_attn") is None, "the CPU environment has none"
    found = list(machine_problems(composed(["+medeyes=qwen2_5_vl_3b", *overrides])))
    assert len(found) == (said is not None)
    assert said is None or re.search(said, str(found[0]))
