"""Pins what veRL does around the plugin: what it hands to our functions and when it calls our overrides.

Each test says which part of ours stands on the behaviour. Where the order or the text of veRL's own code is
what counts, the syntax tree is read.
"""

import ast
import inspect
import sys
import textwrap
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import verl
from omegaconf import OmegaConf
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.experimental.agent_loop import agent_loop
from verl.trainer.ppo import core_algos
from verl.utils import tensordict_utils as tu
from verl.workers.config import ActorConfig, PolicyLossConfig
from verl.workers.utils.losses import ppo_loss


def nested(*rows):
    return torch.nested.as_nested_tensor([torch.tensor(row) for row in rows], layout=torch.jagged)


@pytest.fixture
def registry(monkeypatch):
    """Lets a test register an estimator or a policy loss that is gone afterwards."""
    monkeypatch.setattr(core_algos, "ADV_ESTIMATOR_REGISTRY", dict(core_algos.ADV_ESTIMATOR_REGISTRY))
    monkeypatch.setattr(core_algos, "POLICY_LOSS_REGISTRY", dict(core_algos.POLICY_LOSS_REGISTRY))


def calls_on_self(method):
    """Names of the methods that a method calls on self, in the order in which they are written."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    own = [call for call in calls if isinstance(call.func.value, ast.Name) and call.func.value.id == "self"]
    return [call.func.attr for call in sorted(own, key=lambda call: (call.lineno, call.col_offset))]


# --- policy loss -----------------------------------------------------------------------------------------------


def test_ppo_loss_hands_a_policy_loss_padded_tensors_and_leaves_other_fields_alone(registry):
    """plugin.objective wraps ppo_loss, reads data["expert"] itself, and relies on the rows keeping their order."""
    seen = {}

    @core_algos.register_policy_loss("probe")
    def probe(**arguments):
        seen.update(arguments)
        return arguments["log_prob"].sum(), {"medeyes/probe:numerator": 3.0}

    data = tu.get_tensordict(
        {
            "prompts": nested([1, 1], [1]),
            "responses": nested([2, 2, 2], [2, 2]),
            "response_mask": nested([1, 0, 1], [1, 1]),
            "old_log_probs": nested([-0.1, -0.2, -0.3], [-0.4, -0.5]),
            "advantages": nested([1.0, 1.0, 1.0], [2.0, 2.0]),
            "expert": torch.tensor([0, 1]),
        },
        non_tensor_dict={"dp_size": 1, "batch_num_tokens": 5, "global_batch_size": 2},
    )
    log_probs = nested([0.0, -1.0, -2.0, -3.0, 0.0], [-4.0, -5.0, 0.0])
    config = ActorConfig(
        strategy="fsdp2", rollout_n=1, use_dynamic_bsz=True, policy_loss=PolicyLossConfig(loss_mode="probe")
    )
    loss, metrics = ppo_loss(config, {"log_probs": log_probs}, data)

    assert set(seen) == {
        "old_log_prob", "log_prob", "advantages", "response_mask", "loss_agg_mode", "config", "rollout_is_weights",
    }  # fmt: skip
    assert seen["log_prob"].tolist() == [[-1.0, -2.0, -3.0], [-4.0, -5.0, 0.0]]
    assert seen["advantages"].tolist() == [[1.0, 1.0, 1.0], [2.0, 2.0, 0.0]]
    assert seen["response_mask"].dtype == torch.bool
    assert seen["response_mask"].tolist() == [[True, False, True], [True, True, False]]
    assert seen["rollout_is_weights"] is None
    assert config.global_batch_info["global_batch_size"] == 2
    assert data["expert"].tolist() == [0, 1]
    assert loss.item() == -15.0
    assert metrics["medeyes/probe:numerator"].aggregate() == 3.0


def test_loss_metrics_are_averaged_under_our_names():
    """plugin.metrics.divided divides averages; the name must not hold max or min."""
    from verl.utils.metric import AggregationType, Metric, reduce_metrics

    names = ["clip_fraction", "dual_clip_fraction", "approx_kl", "gradient_weight", "mean_probability"]
    keys = [f"actor/medeyes/{stream}/{name}:numerator" for stream in ("on_policy", "expert") for name in names]
    assert reduce_metrics({key: [1.0, 3.0] for key in keys}) == dict.fromkeys(keys, 2.0)
    per_rank = [Metric(AggregationType.MEAN), Metric(AggregationType.MEAN)]
    per_rank[0].extend([1.0, 2.0])
    per_rank[1].extend([6.0, 7.0])
    assert Metric.aggregate_dp(per_rank) == 4.0


def test_engine_calls_the_loss_with_the_micro_batch():
    """plugin.trainer sends partial(dual_stream_ppo_loss, config=…, settings=…): the rest comes by keyword."""
    from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

    tree = ast.parse(textwrap.dedent(inspect.getsource(FSDPEngineWithLMHead.forward_step)))
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "loss_function"
    ]
    assert [[keyword.arg for keyword in call.keywords] for call in calls] == [["model_output", "data", "dp_group"]]
    assert ast.unparse(calls[0].keywords[1].value) == "micro_batch"


# --- advantage -------------------------------------------------------------------------------------------------


def in_memory_queue(fields):
    """TransferQueue's two calls that the trainer makes, on a dictionary."""

    def get(keys, partition_id, select_fields):
        return TensorDict({name: fields[name] for name in select_fields if name in fields}, batch_size=[len(keys)])

    def put(keys, partition_id, fields: TensorDict):
        stored.update(fields)

    stored = fields
    return SimpleNamespace(kv_batch_get=get, kv_batch_put=put)


def test_advantage_groups_by_the_uid_field_and_not_by_the_key(registry, monkeypatch):
    """DualStreamMixin labels that field with the stream; keys, and so replay and balancing, never change."""
    from verl.trainer.ppo.v1 import trainer_base

    seen = {}

    @core_algos.register_adv_est("probe")
    def probe(**arguments):
        seen.update(arguments)
        return arguments["token_level_rewards"] * 10, arguments["token_level_rewards"]

    fields = {
        "uid": tu.get_tensordict({"uid": ["q#on_policy", "q#on_policy", "q#expert"]})["uid"],
        "response_mask": nested([1, 0, 1], [1, 1], [1, 1]),
        "rm_scores": nested([0.0, 0.0, 0.5], [0.0, 1.0], [0.0, 0.7]),
        "rollout_log_probs": nested([-1.0, -1.0, -1.0], [-1.0, -1.0], [0.0, 0.0]),
        "old_log_probs": nested([-1.0, -1.0, -1.0], [-1.0, -1.0], [0.0, 0.0]),
    }
    monkeypatch.setattr(trainer_base, "tq", in_memory_queue(fields))
    batch = KVBatchMeta(keys=["q_0_0", "q_1_0", "q_2_0"], tags=[{}, {}, {}], partition_id="train")
    algorithm = OmegaConf.create(
        {"adv_estimator": "probe", "gamma": 1.0, "lam": 1.0, "use_kl_in_reward": False, "medeyes": {"a": 1}}
    )
    config = OmegaConf.create({"algorithm": algorithm, "actor_rollout_ref": {"rollout": {"n": 3}}})
    trainer_base.PPOTrainer._compute_advantage(SimpleNamespace(config=config), batch, {})

    assert set(seen) == {"token_level_rewards", "response_mask", "config", "index"}
    assert isinstance(seen["index"], np.ndarray)
    assert seen["index"].tolist() == ["q#on_policy", "q#on_policy", "q#expert"]
    assert seen["token_level_rewards"].tolist() == pytest.approx(np.array([[0, 0, 0.5], [0, 1, 0], [0, 0.7, 0]]))
    assert seen["config"].medeyes.a == 1
    assert [row.tolist() for row in fields["advantages"].unbind()] == [[0, 0, 5], [0, 10], [0, pytest.approx(7)]]


# --- trainer ---------------------------------------------------------------------------------------------------


def test_trainer_mode_is_compared_by_name():
    """DualStreamMixin.__init__ puts the mode's own name back because of these; without them it need not."""
    compared = {}
    for path in sorted(Path(verl.__file__).parent.rglob("*.py")):
        if "trainer_mode" not in (text := path.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Compare) and ast.unparse(node.left).endswith("trainer_mode"):
                compared.setdefault(path.name, []).append(ast.literal_eval(node.comparators[0]))
    assert compared == {"trainer_base.py": ["sync"] * 6}


def test_order_of_the_steps_we_override():
    """Experts are marked after the old log-probabilities and before the advantages, and the actor comes last."""
    from verl.trainer.ppo.v1 import PPOTrainerSync

    ours = ("_compute_old_log_prob", "_compute_advantage", "_update_actor")
    assert tuple(name for name in calls_on_self(PPOTrainerSync._step_once) if name in ours) == ours
    assert calls_on_self(PPOTrainerSync.init) == ["_setup", "on_init_end"]
    sets_actor = "self.actor_rollout_wg = " in inspect.getsource(PPOTrainerSync._setup)
    assert sets_actor, "DualStreamMixin.on_init_end calls actor_rollout_wg.set_loss_fn"


def test_debug_metrics_need_these_fields():
    """plugin.metrics.engine_agreement recomputes them over the policy's own rows."""
    from verl import DataProto
    from verl.utils.debug.metrics import calculate_debug_metrics

    ones = torch.ones(2, 3)
    batch = TensorDict(
        {"rollout_log_probs": -ones, "old_log_probs": -ones, "response_mask": ones, "responses": ones}, batch_size=[2]
    )
    metrics = calculate_debug_metrics(DataProto(batch=batch))
    assert metrics["training/rollout_probs_diff_max"] == 0
    assert metrics["training/rollout_probs_diff_valid"] == 1


# --- agent loop, reward, data ----------------------------------------------------------------------------------


def test_agent_loop_output_omits_what_was_not_set():
    """plugin.agent_loop sets log-probabilities on expert rows too, or the whole batch would lose the field."""
    output = agent_loop.AgentLoopOutput(
        prompt_ids=[1], response_ids=[2, 3], response_mask=[1, 0], metrics=agent_loop.AgentLoopMetrics(),
        extra_fields={"stream": "expert"}, reward_score=0.5,
    )  # fmt: skip
    assert "rollout_log_probs" not in output.as_dict()
    assert output.as_dict()["extra_fields"] == {"stream": "expert"}
    assert output.as_dict()["rm_scores"].tolist() == [0.0, 0.5]
    output.response_logprobs = [-0.5, 0.0]
    assert output.as_dict()["rollout_log_probs"].tolist() == [-0.5, 0.0]


def test_agent_loop_is_registered_by_its_import_path():
    """A worker makes it with hydra from that path: plugin.agent_loop must be importable there."""
    entry = agent_loop._agent_loop_registry["single_turn_agent"]
    assert entry == {"_target_": "verl.experimental.agent_loop.single_turn_agent_loop.SingleTurnAgentLoop"}


def test_reward_manager_is_made_with_these_arguments(monkeypatch):
    """plugin.reward_manager is found by path; its constructor takes what veRL passes."""
    from verl.trainer.ppo.reward import load_reward_manager

    module = ModuleType("probe_rewards")
    module.Probe = lambda **arguments: arguments
    monkeypatch.setitem(sys.modules, module.__name__, module)
    place = {"source": "importlib", "name": "Probe", "module": {"path": "pkg://probe_rewards"}}
    config = OmegaConf.create({"reward": {"reward_manager": place}})
    arguments = load_reward_manager(config, "tokenizer", reward_router_address=None, reward_model_tokenizer=None)
    assert set(arguments) == {
        "config", "tokenizer", "compute_score", "reward_router_address", "reward_model_tokenizer",
    }  # fmt: skip


def test_rewards_see_the_loops_extra_fields():
    """plugin.reward_manager reads tool_extra_fields["record"] and the row's own columns."""
    source = inspect.getsource(agent_loop.AgentLoopWorker._compute_score)
    assert '"tool_extra_fields": np.array([o.extra_fields for o in outputs], dtype=object)' in source
    assert 'extra_fields["reward_extra_info"] = result["reward_extra_info"]' in source


def test_dataset_turns_placeholders_into_picture_parts():
    """plugin.dataset rewrites the paths first; plugin.agent_loop opens part["image"]."""
    from verl.utils.dataset.rl_dataset import RLHFDataset

    dataset = object.__new__(RLHFDataset)
    dataset.image_key, dataset.video_key, dataset.audio_key = "images", "videos", "audios"
    dataset.processor = "any"
    row = {"prompt": [{"role": "user", "content": "<image>Where?"}], "images": ["a.png"]}
    content = dataset._build_messages(row, "prompt")[0]["content"]
    assert content == [{"type": "image", "image": "a.png"}, {"type": "text", "text": "Where?"}]


def test_plugins_are_found_by_entry_point_and_fail_in_silence():
    """plugin.inventory exists because of the second half."""
    source = Path(verl.__file__).read_text()
    assert '_entry_points(group="verl.plugins")' in source
    assert "debug(\"Failed to load plugin '%s': %s\"" in source


def test_replay_buffer_waits_as_long_as_its_attribute_says(monkeypatch):
    """The trainer shortens it, since no setting does."""
    from verl.trainer.ppo.v1 import replay_buffer

    waited = []
    monkeypatch.setattr(replay_buffer.time, "sleep", waited.append)
    buffer = replay_buffer.ReplayBuffer.__new__(replay_buffer.ReplayBuffer)
    buffer.poll_interval = 0.25
    buffer._wait_for_next_poll("train", last_debug_time=replay_buffer.time.time())
    assert waited == [0.25]
