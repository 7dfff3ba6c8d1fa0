"""The agent loop on real Ray, TransferQueue and reward workers, with a model that reads from a script."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from medeyes_verl.gaze.grammar import Fault
from medeyes_verl.gaze.trace import EpisodeTrace

GAZE = '<reasoning>scan</reasoning>\n<action>{"name": "Gaze", "coordinate": [%d, %d, %d, %d]}</action>'
ANSWER = "<reasoning>ring seen</reasoning>\n<answer>ring</answer>"
SCRIPTS = {
    0: [GAZE % (28, 28, 56, 56), GAZE % (0, 0, 112, 112), ANSWER],
    1: ["<reasoning>scan</reasoning>\n<action>{oops}</action>", GAZE % (56, 56, 28, 28), ANSWER],
    2: ["scan " * 400],  # never stops: cut by the turn's budget, then by the response's
}
N, N_EXPERT = 5, 2
IMAGE_PAD = "<|image_pad|>"


class ScriptedClient:
    """Answers `generate` from SCRIPTS by the session in the request id, as veRL's LLM client would.

    No dataclass: Hydra, which makes the agent loops, would take one for configuration.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.turns: dict[str, int] = {}

    async def generate(
        self,
        request_id: str,
        *,
        prompt_ids: list[int],
        sampling_params: dict[str, Any],
        image_data: list[Any],
        **_: Any,
    ) -> Any:
        from transformers import AutoTokenizer
        from verl.workers.rollout.replica import TokenOutput

        tokenizer = AutoTokenizer.from_pretrained(self.model)
        assert sampling_params["stop"] == ["</action>", "</answer>"]
        pads = [i for i, t in enumerate(prompt_ids) if t == tokenizer.convert_tokens_to_ids(IMAGE_PAD)]
        runs = sum(i == 0 or pads[i - 1] != pad - 1 for i, pad in enumerate(pads))
        assert runs == len(image_data), "every picture has its tokens, and every token its picture"
        session = int(request_id.rsplit("_", 1)[1])
        turn = self.turns.get(request_id, 0)
        self.turns[request_id] = turn + 1
        script = SCRIPTS[session]
        ids = tokenizer.encode(script[min(turn, len(script) - 1)], add_special_tokens=False)
        ids = ids[: sampling_params["max_tokens"]]
        steps = {"min_global_steps": 6, "max_global_steps": 6}
        return TokenOutput(token_ids=ids, log_probs=[-0.1 * (turn + 1)] * len(ids), extra_fields=steps)


@pytest.fixture(scope="module")
def rows(prepared: Any) -> Any:
    """One training prompt with N sessions and one validation prompt, as the trainer would read them back."""
    ray = pytest.importorskip("ray")
    import numpy as np
    import transfer_queue as tq
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf
    from verl.experimental.reward_loop import RewardLoopManager
    from verl.trainer.ppo.v1 import AgentLoopManagerTQ
    from verl.utils import tensordict_utils as tu
    from verl.utils.dataset.rl_dataset import collate_fn
    from verl.utils.tokenizer import hf_processor, hf_tokenizer

    from medeyes_verl.plugin.dataset import MedEyesDataset

    with initialize_config_module(config_module="verl.trainer.config", version_base=None):
        config = compose(
            "ppo_trainer",
            overrides=[
                "+medeyes=cpu_tiny",
                f"medeyes.data={prepared.data}",
                f"medeyes.model={prepared.model}",
                f"actor_rollout_ref.rollout.n={N}",
                f"actor_rollout_ref.rollout.custom.medeyes.n_expert={N_EXPERT}",
                "data.max_response_length=200",
                "transfer_queue.enable=true",
            ],
        )
    OmegaConf.resolve(config)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test module
    ray.init(num_cpus=8, num_gpus=1, include_dashboard=False, object_store_memory=256 * 2**20, log_to_driver=False)
    try:
        tq.init(config.transfer_queue)
        rewards = RewardLoopManager(config=config, rm_resource_pool=None)
        manager = AgentLoopManagerTQ.create(
            config=config,
            llm_client=ScriptedClient(str(prepared.model)),
            teacher_client=None,
            reward_loop_worker_handles=rewards.reward_loop_worker_handles,
        )
        found = {}
        for split, partition in (("train", "train"), ("val", "val")):
            dataset = MedEyesDataset(
                str(prepared.data / f"{split}.parquet"),
                tokenizer=hf_tokenizer(str(prepared.model)),
                processor=hf_processor(str(prepared.model)),
                config=config.data,
            )
            batch = collate_fn([dataset[0]])
            batch["uid"] = np.array([split], dtype=object)
            batch = tu.get_tensordict(batch)
            tu.assign_non_tensor_data(batch, "global_steps", 7)
            if split == "val":
                tu.assign_non_tensor_data(batch, "validate", True)
            tq.kv_batch_put(
                keys=[split], partition_id=partition, tags=[{"is_prompt": True, "status": "pending", "global_steps": 7}]
            )
            manager.generate_sequences(batch)
            deadline = time.monotonic() + 180
            while (status := tq.kv_list(partition)[partition][split]["status"]) not in ("finished", "failure"):
                assert time.monotonic() < deadline, f"the agent loop did not finish: {status}"
                time.sleep(0.2)
            assert status == "finished"
            keys = [f"{split}_{i}_0" for i in range(N if split == "train" else 1)]
            data = tq.kv_batch_get(keys=keys, partition_id=partition)
            found[split] = [{name: data[name][i] for name in data.keys()} for i in range(len(keys))]  # noqa: SIM118
            for row in found[split]:
                row["extra_fields"] = getattr(row["extra_fields"], "data", row["extra_fields"])
        yield found
        tq.close()
    finally:
        ray.shutdown()


@pytest.fixture(scope="module")
def whole(prepared: Any) -> Any:
    """Tokenises a whole conversation at once: prompt, the turns as written, the observations as given."""
    from transformers import AutoProcessor

    from medeyes_verl.data.row import read_rows
    from medeyes_verl.gaze.crop import open_picture
    from medeyes_verl.gaze.episode import Episode
    from medeyes_verl.tiny.model import TINY_EPISODE

    processor = AutoProcessor.from_pretrained(prepared.model)

    def tokens(split: str, turns: list[str]) -> list[int]:
        row = next(iter(read_rows(prepared.data / f"{split}.parquet")))
        episode = Episode([open_picture(row["images"][0])], TINY_EPISODE)
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": row["extra_info"]["question"]}]}
        ]
        pictures = list(episode.views)
        for i, turn in enumerate(turns):
            observation = episode.reply(turn)
            messages.append({"role": "assistant", "content": turn})
            if i + 1 == len(turns):
                break
            content: list[dict[str, Any]] = [{"type": "text", "text": "<feedback>" + observation.text}]
            if observation.picture is not None:
                content.append({"type": "image"})
                pictures.append(observation.picture)
            messages.append({"role": "user", "content": [*content, {"type": "text", "text": "</feedback>"}]})
        text = processor.apply_chat_template(messages, tokenize=False).removesuffix("<|im_end|>\n")
        ids: list[int] = processor(text=[text], images=pictures)["input_ids"][0]
        return ids

    return tokens


pytestmark = pytest.mark.ray


@pytest.mark.parametrize("session", [0, 1])
def test_tokens_are_those_of_the_whole_conversation_at_once(rows: Any, whole: Any, session: int) -> None:
    assert rows["train"][session]["input_ids"].tolist() == whole("train", SCRIPTS[session])


def test_only_the_models_own_tokens_are_masked_in(rows: Any, prepared: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(prepared.model)
    row = rows["train"][0]
    written = row["responses"][row["response_mask"].bool()]
    assert tokenizer.decode(written) == "".join(SCRIPTS[0])
    assert row["rollout_log_probs"][~row["response_mask"].bool()].eq(0).all()
    per_turn = [len(tokenizer.encode(turn, add_special_tokens=False)) for turn in SCRIPTS[0]]
    expected = [-0.1 * (turn + 1) for turn, length in enumerate(per_turn) for _ in range(length)]
    assert row["rollout_log_probs"][row["response_mask"].bool()].tolist() == pytest.approx(expected)


def test_both_streams_share_a_group(rows: Any) -> None:
    streams = [row["extra_fields"]["stream"] for row in rows["train"]]
    assert streams == ["on_policy"] * (N - N_EXPERT) + ["expert"] * N_EXPERT
    assert [row["extra_fields"]["expert_missing"] for row in rows["train"]] == [False] * N


def test_an_expert_row_is_what_a_policy_that_wrote_it_would_have_produced(rows: Any, whole: Any, prepared: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(prepared.model)
    for row in rows["train"][N - N_EXPERT :]:
        assert row["rollout_log_probs"].eq(0).all()
        written = tokenizer.decode(row["responses"][row["response_mask"].bool()])
        turns = [f"<reasoning>{turn}" for turn in written.split("<reasoning>")[1:]]
        assert row["input_ids"].tolist() == whole("train", turns)
        assert row["extra_fields"]["trace"]["finish"] == "answered"
        assert row["extra_fields"]["reward_extra_info"]["r_acc"] == 1.0


def test_faults_are_recorded_and_the_episode_goes_on(rows: Any) -> None:
    trace = EpisodeTrace.from_dict(rows["train"][1]["extra_fields"]["trace"])
    assert trace.faults == (Fault.malformed_action, Fault.inverted_box)
    assert trace.finish == "answered"
    assert trace.boxes == ()


def test_modes_and_boxes_are_in_the_originals_pixels(rows: Any) -> None:
    trace = EpisodeTrace.from_dict(rows["train"][0]["extra_fields"]["trace"])
    # the view is a quarter of the original
    assert [box.as_list() for box in trace.boxes] == [[112, 112, 224, 224], [0, 0, 448, 448]]
    assert trace.modes == ("drill", "scan")


def test_a_response_never_outgrows_its_length(rows: Any) -> None:
    row = rows["train"][2]
    assert row["extra_fields"]["trace"]["finish"] == "truncated"
    assert len(row["responses"]) <= 200
    assert len(row["responses"]) == len(row["response_mask"]) == len(row["rollout_log_probs"])


def test_validation_rows_are_the_policys_own(rows: Any) -> None:
    assert [row["extra_fields"]["stream"] for row in rows["val"]] == ["on_policy"]


def test_rewards_come_from_the_trace(rows: Any) -> None:
    from medeyes_verl.reward.diversity import r_div

    row = rows["train"][0]
    parts = row["extra_fields"]["reward_extra_info"]
    trace = EpisodeTrace.from_dict(row["extra_fields"]["trace"])
    assert parts["r_div"] == pytest.approx(r_div(trace.boxes))
    assert parts["r_grammar"] == 1.0
    assert rows["train"][1]["extra_fields"]["reward_extra_info"]["r_grammar"] == 0.0
    expected = 0.7 * parts["r_acc"] + 0.2 * parts["r_grammar"] + 0.1 * parts["r_div"]
    assert row["rm_scores"].sum().item() == pytest.approx(expected)
    assert row["rm_scores"].count_nonzero() <= 1


def test_tokens_masks_log_probs_and_rewards_are_those_of_the_golden_run(rows: Any) -> None:
    """golden_agent_loop.json was written by the agent loop of 0.1.0 before the one rollout replaced its own loop."""
    golden = json.loads((Path(__file__).parent / "golden_agent_loop.json").read_text(encoding="utf-8"))
    assert [_as_json(row) for row in (*rows["train"], *rows["val"])] == golden


def _as_json(row: Any) -> dict[str, Any]:
    reward = row["extra_fields"]["reward_extra_info"]
    return {
        "input_ids": row["input_ids"].tolist(),
        "response_mask": row["response_mask"].int().tolist(),
        "log_probs": [round(value, 6) for value in row["rollout_log_probs"].tolist()],
        "reward": round(row["rm_scores"].sum().item(), 6),
        "parts": {name: round(reward[name], 6) for name in ("r_acc", "r_grammar", "r_div", "token_f1", "gazes")},
    }
