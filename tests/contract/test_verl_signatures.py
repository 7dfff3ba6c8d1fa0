"""Pins the names, parameters and defaults of everything the plugin overrides, calls or subclasses in veRL.

A failure here means that a newer veRL (or TransferQueue) changed something under us: read its message for the
part that depends on it, mend that part, then the pin. Annotations are left out; what a call does is
pinned in test_verl_behaviour.py, the defects we patch in test_upstream_defects.py.
"""

import dataclasses
import importlib
import importlib.metadata
import inspect

import pytest
from packaging.specifiers import SpecifierSet

TRAINER_STEPS = {
    "__init__": "(self, config)",
    "on_init_end": "(self)",
    "_compute_old_log_prob": "(self, batch, metrics)",
    "_compute_advantage": "(self, batch, metrics)",
    "_update_actor": "(self, batch, metrics)",
    "_compute_metrics": "(self, batch, metrics, timing_raw, global_steps, epoch)",
    "_validate": "(self)",
}
CORE = "verl.trainer.ppo.core_algos"
LOOP = "verl.experimental.agent_loop.agent_loop"
TRAINERS = "verl.trainer.ppo.v1"
TENSORDICT = "verl.utils.tensordict_utils"
REWARD = "verl.experimental.reward_loop.reward_manager.base"
DATASET = "verl.utils.dataset.rl_dataset"
RECEIVER = "verl.workers.rollout.vllm_rollout.bucketed_weight_transfer"
VLLM_WORKER = "verl.workers.rollout.vllm_rollout.utils"

# (module, name in it, parameters, the part of ours that depends on it)
SIGNATURES = [
    (CORE, "register_adv_est", "(name_or_enum)", "plugin.objective: the estimator"),
    (CORE, "register_policy_loss", "(name)", "plugin.objective: the policy loss"),
    (
        CORE,
        "agg_loss",
        "(loss_mat, loss_mask, loss_agg_mode, dp_size=1, batch_num_tokens=None, global_batch_size=None, "
        "loss_scale_factor=None)",
        "plugin.objective: aggregation of the token losses",
    ),
    (
        CORE,
        "compute_policy_loss_vanilla",
        "(old_log_prob, log_prob, advantages, response_mask, loss_agg_mode='token-mean', config=None, "
        "rollout_is_weights=None)",
        "algorithm.policy_loss equals it on on-policy rows",
    ),
    (
        CORE,
        "compute_grpo_outcome_advantage",
        "(token_level_rewards, response_mask, index, epsilon=1e-06, norm_adv_by_std_in_grpo=True, config=None)",
        "algorithm.advantage equals it with one stream",
    ),
    ("verl.workers.utils.losses", "ppo_loss", "(config, model_output, data, dp_group=None)", "plugin.objective"),
    ("verl.workers.engine_workers", "ActorRolloutRefWorker.set_loss_fn", "(self, loss_fn)", "plugin.trainer"),
    (LOOP, "register", "(agent_name)", "plugin.agent_loop"),
    (
        LOOP,
        "AgentLoopBase.__init__",
        "(self, trainer_config, server_manager, tokenizer, processor, dataset_cls, data_config, "
        "hf_model_type=None, **kwargs)",
        "plugin.agent_loop inherits it",
    ),
    (LOOP, "AgentLoopBase.run", "(self, sampling_params, **kwargs)", "plugin.agent_loop overrides it"),
    (
        "verl.workers.rollout.llm_server",
        "LLMServerClient.generate",
        "(self, request_id, *, prompt_ids, sampling_params, image_data=None, video_data=None, audio_data=None, "
        "mm_processor_kwargs=None, **kwargs)",
        "plugin.agent_loop: PolicyWriter",
    ),
    (TRAINERS, "register_trainer", "(name)", "plugin.trainer: the modes"),
    *(
        (TRAINERS, f"{trainer}.{name}", signature, "plugin.trainer: DualStreamMixin overrides it")
        for trainer in ("PPOTrainerSync", "PPOTrainerColocateAsync", "PPOTrainerSeparateAsync")
        for name, signature in TRAINER_STEPS.items()
    ),
    ("transfer_queue", "kv_batch_get", "(keys, partition_id, select_fields=None)", "plugin.trainer: _get"),
    (
        "transfer_queue",
        "kv_batch_put",
        "(keys, partition_id, fields=None, tags=None, data_parser=None)",
        "plugin.trainer: _put",
    ),
    (TENSORDICT, "get_tensordict", "(tensor_dict, non_tensor_dict=None)", "plugin.trainer: _put"),
    (TENSORDICT, "maybe_fix_3d_position_ids", "(data)", "plugin.upstream_position_ids replaces it"),
    (
        TENSORDICT,
        "nested_tensor_from_tensor_list",
        "(tensors, ragged_idx=None)",
        "plugin.upstream_position_ids calls it",
    ),
    (
        "verl.utils.distributed",
        "initialize_global_process_group_ray",
        "(timeout_second=None, backend=None)",
        "plugin.upstream_process_group replaces it",
    ),
    ("verl.utils.config", "omega_conf_to_dataclass", "(config, dataclass_type=None)", "plugin.trainer"),
    ("verl.utils.debug.metrics", "calculate_debug_metrics", "(data)", "plugin.metrics: engine_agreement"),
    (REWARD, "RewardManagerBase.__init__", "(self, config, tokenizer, compute_score)", "plugin.reward_manager"),
    (REWARD, "RewardManagerBase.run_single", "(self, data)", "plugin.reward_manager"),
    (
        DATASET,
        "RLHFDataset.__init__",
        "(self, data_files, tokenizer, config, processor=None, max_samples=-1)",
        "plugin.dataset inherits it",
    ),
    (DATASET, "RLHFDataset._build_messages", "(self, example, key)", "plugin.dataset overrides it"),
    ("verl.plugin.platform", "PlatformRegistry.register", "(platform)", "plugin.cpu.platform"),
    ("verl.plugin.platform", "PlatformRegistry.registered_names", "()", "plugin.inventory"),
]

VLLM_SIGNATURES = [
    (RECEIVER, "BucketedWeightReceiver.__init__", "(self, zmq_handle, device, use_shm=False)"),
    (RECEIVER, "BucketedWeightReceiver.receive_weights", "(self, on_bucket_received)"),
    (
        VLLM_WORKER,
        "vLLMColocateWorkerExtension.update_weights_from_ipc",
        "(self, peft_config=None, base_sync_done=False, use_shm=False)",
    ),
    (VLLM_WORKER, "vLLMColocateWorkerExtension._get_zmq_handle", "(self)"),
]

PATCHED_MODULES = (TENSORDICT, "verl.utils.distributed")
"""Modules in which we replace a function: the published one is looked at."""


def parameters_of(module: object, name: str) -> str:
    """The signature without annotations, as text."""
    target = module
    for part in name.split("."):
        target = getattr(target, part)
    signature = inspect.signature(target)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def test_installed_verl_is_one_we_support():
    from medeyes_verl.plugin.inventory import SUPPORTED_VERL

    assert importlib.metadata.version("verl") in SpecifierSet(SUPPORTED_VERL)


@pytest.mark.parametrize(
    ("module", "name", "expected", "depends"),
    [pytest.param(*row, id=f"{row[0].rpartition('.')[2]}.{row[1]}") for row in SIGNATURES],
)
def test_signature(pristine, module, name, expected, depends):
    loaded = pristine(module) if module in PATCHED_MODULES else importlib.import_module(module)
    assert parameters_of(loaded, name) == expected, f"{module}:{name} changed; depends on it: {depends}"


@pytest.mark.parametrize(("module", "name", "expected"), VLLM_SIGNATURES, ids=lambda value: str(value)[-40:])
def test_vllm_worker_signature(module, name, expected):
    pytest.importorskip("vllm")
    found = parameters_of(importlib.import_module(module), name)
    assert found == expected, f"{module}:{name} changed; depends on it: plugin.cpu.vllm_worker"


def test_trainer_modes_are_verls_three():
    from verl.trainer.ppo.v1 import PPOTrainerColocateAsync, PPOTrainerSeparateAsync, PPOTrainerSync, get_trainer_cls

    ours = {
        "sync": PPOTrainerSync,
        "colocate_async": PPOTrainerColocateAsync,
        "separate_async": PPOTrainerSeparateAsync,
    }
    assert {mode: get_trainer_cls(mode) for mode in ours} == ours, "plugin.trainer: base_mode of the three modes"


def test_agent_loop_output_fields():
    from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput

    assert set(AgentLoopOutput.model_fields) == {
        "prompt_ids", "response_ids", "response_mask", "response_logprobs", "routed_experts", "multi_modal_data",
        "reward_score", "num_turns", "metrics", "extra_fields", "mm_processor_kwargs", "mm_processor_output",
    }, "plugin.agent_loop fills prompt_ids … extra_fields"  # fmt: skip
    assert set(AgentLoopMetrics.model_fields) == {"generate_sequences", "tool_calls", "compute_score", "num_preempted"}
    assert AgentLoopMetrics().generate_sequences == 0.0, "plugin.agent_loop adds to it"


def test_token_output_fields():
    from verl.workers.rollout.replica import TokenOutput

    assert {"token_ids", "log_probs", "extra_fields"} <= set(TokenOutput.model_fields), (
        "plugin.agent_loop: PolicyWriter"
    )


def test_platform_asks_exactly_this_of_a_subclass():
    from verl.plugin.platform import PlatformBase

    assert sorted(PlatformBase.__abstractmethods__) == [
        "communication_backend_name", "cudart", "current_device", "device_count", "device_module", "device_name",
        "empty_cache", "get_device_capability", "is_available", "is_ipc_supported", "manual_seed", "manual_seed_all",
        "nvtx_range", "profiler_start", "profiler_stop", "ray_noset_envvars", "ray_resource_name",
        "set_allocator_settings", "set_device", "synchronize", "vendor_name", "visible_devices_envvar",
    ], "plugin.cpu.platform implements each of them"  # fmt: skip


def test_batch_metadata_fields():
    from transfer_queue import KVBatchMeta

    names = {field.name for field in dataclasses.fields(KVBatchMeta)}
    assert names == {"keys", "tags", "partition_id", "fields", "extra_info"}, "plugin.trainer reads keys and tags"


def test_actor_configuration_fields():
    from verl.workers.config import ActorConfig

    defaults = {field.name: field.default for field in dataclasses.fields(ActorConfig)}
    assert defaults["clip_ratio_c"] == 3.0, "plugin.objective passes the dual clip on"
    assert {"clip_ratio", "clip_ratio_low", "clip_ratio_high", "global_batch_info", "loss_agg_mode"} <= set(defaults)


def test_registries_are_where_the_inventory_looks():
    from verl.experimental.agent_loop import agent_loop
    from verl.trainer.ppo import core_algos
    from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY

    assert "grpo" in core_algos.ADV_ESTIMATOR_REGISTRY
    assert "vanilla" in core_algos.POLICY_LOSS_REGISTRY
    assert "single_turn_agent" in agent_loop._agent_loop_registry
    assert "sync" in TRAINER_REGISTRY
