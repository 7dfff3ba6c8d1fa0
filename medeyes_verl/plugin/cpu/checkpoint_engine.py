"""Weights from the trainer to rollout engines of its own, without a GPU: what ``separate_async`` needs on a CPU.

veRL's engines for that mode move weights by NCCL, NIXL or RDMA. A CPU run is one machine, so here the trainer writes
them to a file in shared memory, and each engine maps it. Named by a recipe (config/medeyes/cpu_separate_async.yaml)
under ``checkpoint_engine.backend``; veRL imports it as ``custom_backend_module``.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from verl.checkpoint_engine import CheckpointEngine, CheckpointEngineRegistry
from verl.workers.rollout.utils import ensure_async_iterator

FOLDER = Path("/dev/shm")
POLL_SECONDS = 0.05


@CheckpointEngineRegistry.register("medeyes_shared_memory")
class SharedMemoryCheckpointEngine(CheckpointEngine):
    """One file an update; ``bucket_size`` is veRL's and has no meaning here."""

    def __init__(self, bucket_size: int, is_master: bool = False) -> None:
        self.is_master = is_master
        self.file = Path()

    def prepare(self) -> Any:
        """The name of the update's file, from the trainer's first rank; None from everybody else."""
        return str(FOLDER / f"medeyes_weights_{os.getpid()}_{uuid4().hex}") if self.is_master else None

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[Any]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        return {"file": [metadata[0]] * actor_wg_world_size}, {"file": [metadata[0]] * rollout_world_size}

    def init_process_group(self, file: str) -> None:  # veRL passes what build_topology named
        self.file = Path(file)

    def finalize(self) -> None:
        if self.is_master:
            self.file.unlink(missing_ok=True)

    @torch.no_grad()
    async def send_weights(self, weights: Any, global_steps: int | None = None) -> None:
        """Every rank walks the weights, since producing one is collective; the first one writes them."""
        kept: dict[str, torch.Tensor] = {}
        async for name, weight in ensure_async_iterator(weights):
            if self.is_master:
                kept[name] = weight.cpu().clone(memory_format=torch.contiguous_format)
        if self.is_master:
            unfinished = self.file.with_suffix(".part")
            save_file(kept, unfinished)
            unfinished.rename(self.file)

    async def receive_weights(self, global_steps: int | None = None) -> AsyncIterator[tuple[str, torch.Tensor]]:
        """Name and tensor of each weight, once the trainer has written them."""
        while not self.file.exists():
            await asyncio.sleep(POLL_SECONDS)
        with safe_open(self.file, "pt") as written:
            for name in written.keys():  # noqa: SIM118  the file is no mapping
                yield name, written.get_tensor(name)
