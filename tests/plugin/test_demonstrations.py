"""Demonstrations through veRL's own agent loops: the rows that the policy would have made with the same words."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf, open_dict
from transformers import AutoProcessor, AutoTokenizer

from medeyes_verl.plugin.demonstrations import DemonstrationError, DemonstrationLoop, DemonstrationServer
from medeyes_verl.plugin.preflight import preflight

PROMPT = [{"role": "user", "content": "what is the code of the owl?"}]
ROLLOUT = "actor_rollout_ref.rollout"


@pytest.fixture(scope="module")
def base() -> DictConfig:
    with initialize_config_module(config_module="verl.trainer.config", version_base=None):
        return compose(
            "ppo_trainer", overrides=["+medeyes=[cpu_tiny,demonstrations]", "medeyes.data=d", "medeyes.model=m"]
        )


def changed(base: DictConfig, **values: Any) -> DictConfig:
    config = base.copy()
    with open_dict(config):
        for key, value in values.items():
            OmegaConf.update(config, key.replace("__", "."), value)
    return config


class Writer:
    """A model that writes given turns; stands where veRL's server would."""

    def __init__(self, turns: list[list[int]]) -> None:
        self.turns = iter(turns)

    async def generate(self, *_: Any, **__: Any) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        ids = next(self.turns)
        return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids), stop_reason="completed")


@pytest.fixture(scope="module")
def tokenizer(prepared: Any) -> Any:
    return AutoTokenizer.from_pretrained(prepared.model)


@pytest.fixture
def loop(base: DictConfig, prepared: Any, tokenizer: Any) -> Any:
    from verl.experimental.agent_loop.agent_loop import DictConfigWrap, ToolListWrap
    from verl.utils.dataset.rl_dataset import RLHFDataset

    def make(turns: list[list[int]] = [], **values: Any) -> DemonstrationLoop:  # noqa: B006  # read only
        config = changed(base, **values)
        return DemonstrationLoop(
            trainer_config=DictConfigWrap(config=config),
            server_manager=Writer(turns),
            tokenizer=tokenizer,
            processor=AutoProcessor.from_pretrained(prepared.model),
            hf_model_type="qwen2_5_vl",
            dataset_cls=RLHFDataset,
            data_config=DictConfigWrap(config.data),
            tools=ToolListWrap([]),
        )

    return make


def ran(loop: DemonstrationLoop, session: int, cell: Any, step: int = 0) -> Any:
    row = {"raw_prompt": PROMPT, "demonstrations": cell, "session_id": session, "global_steps": step}
    return asyncio.run(loop.run({}, **row, extra_info={"index": 3}))


@pytest.mark.parametrize("name", ["single_turn_agent", "tool_agent"])
def test_an_expert_row_is_what_a_policy_that_wrote_it_would_have_produced(loop: Any, tokenizer: Any, name: str) -> None:
    written = [*tokenizer.encode("the lesion is a ring", add_special_tokens=False), tokenizer.eos_token_id]
    values = {f"{ROLLOUT}.custom.medeyes.demonstrations.loop".replace(".", "__"): name}
    demonstrated = ran(loop(**values), 7, "the lesion is a ring")
    policy = ran(loop([written], **values), 0, "the lesion is a ring")
    assert demonstrated.prompt_ids == policy.prompt_ids
    assert demonstrated.response_ids == policy.response_ids
    assert demonstrated.response_mask == policy.response_mask
    assert demonstrated.response_ids[: len(written)] == written
    assert demonstrated.extra_fields["stream"] == "expert"
    assert demonstrated.extra_fields["turns_unread"] == 0
    assert "stream" not in policy.extra_fields
    assert set(demonstrated.response_logprobs) == {0.0}
    assert -0.5 in policy.response_logprobs


def test_token_ids_and_stored_log_probs_are_taken_as_they_are(loop: Any) -> None:
    output = ran(loop(), 7, {"token_ids": [5, 6, 7], "log_probs": [-1.0, -2.0, -3.0]})
    assert output.response_ids[:3] == [5, 6, 7]
    assert output.response_logprobs[:3] == [-1.0, -2.0, -3.0]


def test_several_demonstrations_have_their_turn_over_sessions_and_steps(loop: Any, tokenizer: Any) -> None:
    own = loop(**{f"{ROLLOUT}.custom.medeyes.n_expert".replace(".", "__"): 2})
    cell = ["scan", "done", "ring"]
    seen = [
        tokenizer.decode(ran(own, session, cell, step).response_ids, skip_special_tokens=True).strip()
        for step in range(3)
        for session in (6, 7)
    ]
    assert seen == ["scan", "done", "ring", "scan", "done", "ring"]


def test_a_row_without_a_demonstration_is_the_policys_and_counted(loop: Any, tokenizer: Any) -> None:
    output = ran(loop([[5, 6, tokenizer.eos_token_id]]), 7, None)
    assert output.extra_fields["stream"] == "on_policy"
    assert output.extra_fields["expert_missing"]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ({"text": "x"}, r"row 3, column demonstrations: unknown key 'text'"),
        ({"messages": [{"role": "assistant", "content": "ring"}], "log_probs": [0.0]}, r"row 3.*store token_ids"),
    ],
)
def test_a_cell_that_cannot_be_used_is_named_with_its_row(loop: Any, cell: Any, said: str) -> None:
    with pytest.raises(DemonstrationError, match=said):
        ran(loop(), 7, cell)


def test_an_unknown_loop_is_named_with_those_there_are(loop: Any) -> None:
    with pytest.raises(ValueError, match=r"loop=mine: no such agent loop.*single_turn_agent"):
        ran(loop(**{f"{ROLLOUT}.custom.medeyes.demonstrations.loop".replace(".", "__"): "mine"}), 7, "ring")


def test_a_server_beyond_its_turns_ends_the_turn() -> None:
    server = DemonstrationServer([([5], [0.0])], end=2)
    outputs = [asyncio.run(server.generate(request_id="r", prompt_ids=[1])) for _ in range(2)]
    assert [output.token_ids for output in outputs] == [[5], [2]]
    assert server.asked == 2


@pytest.mark.parametrize(
    ("column", "values", "key", "said"),
    [
        ("target", {}, "demonstrations.column", "has no such column; it has prompt, target"),
        ("demonstrations", {"custom__medeyes__n_expert": 0}, "n_expert", "no session replays"),
        ("demonstrations", {"agent__default_agent_loop": "tool_agent"}, "column", "tool_agent does not read it"),
        ("demonstrations", {"val_kwargs__n": 8}, "val_kwargs.n", "validation sessions from 7 on"),
        ("demonstrations", {"custom__medeyes__demonstrations__loop": "medeyes_gaze"}, "loop", "is no loop that"),
        ("demonstrations", {"custom__medeyes__demonstrations__column": None}, "n_expert", "set one, or n_expert=0"),
        (
            "demonstrations",
            {"custom__medeyes": {"demonstrations": {"column": None}, "n_expert": 0}},
            "column",
            "reads it",
        ),
    ],
)
def test_what_would_leave_demonstrations_out_is_refused(
    base: DictConfig, prepared: Any, tmp_path: Path, column: str, values: dict[str, Any], key: str, said: str
) -> None:
    table = tmp_path / "train.parquet"
    pq.write_table(pa.table({"prompt": [PROMPT] * 2, column: ["ring", None]}), table)
    config = changed(
        base,
        data__train_files=str(table),
        data__val_files=str(table),
        actor_rollout_ref__model__path=str(prepared.model),
        **{f"actor_rollout_ref__rollout__{name}": value for name, value in values.items()},
    )
    found = [str(problem) for problem in preflight(config) if key in problem.key]
    assert any(said in each for each in found), found


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["ring", json.dumps({})], None),
        ([None, ""], "has no demonstration in any of its 2 rows"),
        ([{"text": "x"}, None], "row 0: unknown key 'text'"),
        ([None, {"token_ids": [5], "log_probs": [-1.0]}], "expert_log_probs=certain: it does not read log_probs"),
    ],
)
def test_the_column_is_read_before_the_run(
    base: DictConfig, prepared: Any, tmp_path: Path, cells: list[Any], said: str | None
) -> None:
    table = tmp_path / "train.parquet"
    pq.write_table(pa.table({"prompt": [PROMPT] * 2, "demonstrations": cells}), table)
    config = changed(
        base,
        data__train_files=str(table),
        data__val_files=str(table),
        actor_rollout_ref__model__path=str(prepared.model),
    )
    found = [str(problem) for problem in preflight(config)]
    assert (found == []) if said is None else any(said in each for each in found), found
