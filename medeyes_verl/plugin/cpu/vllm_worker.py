"""Weight sync into vLLM on a CPU.

vLLM's CPU backend packs each linear weight into an oneDNN handle and drops ``layer.weight``, so that veRL's
plain second ``model.load_weights`` has nothing to load into. vLLM's own ``reload_weights`` restores the
layers, loads and packs again. Named by a recipe under ``engine_kwargs.vllm.worker_extension_cls``.
"""

from typing import Any

import torch
from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import BucketedWeightReceiver
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension


class CPUReloadExtension(vLLMColocateWorkerExtension):
    """veRL's vLLM worker extension with a weight update that the CPU backend can take."""

    def update_weights_from_ipc(
        self, peft_config: Any = None, base_sync_done: bool = False, use_shm: bool = False
    ) -> None:
        received: list[tuple[str, torch.Tensor]] = []

        def keep(weights: list[tuple[str, torch.Tensor]], is_last: bool) -> None:
            # the bucket's memory is reused for the next one
            received.extend((name, tensor.clone()) for name, tensor in weights)

        BucketedWeightReceiver(self._get_zmq_handle(), self.device, use_shm).receive_weights(keep)
        self.model_runner.reload_weights(weights_iterator=iter(received))
