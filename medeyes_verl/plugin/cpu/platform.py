"""A CPU platform for veRL: ``VERL_PLATFORM=cpu``.

veRL asks its platform for a device, a collective backend, a Ray resource and a way to move weights to the
rollout engine (verl/plugin/platform/platform_base.py). A CPU has one device called ``cpu``, gloo, and
shared memory; Ray's ``GPU`` resource is a declared number (``ray_init.num_gpus``), since veRL schedules
its workers by it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import psutil
import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

from medeyes_verl.cpu_variables import TRAINING

for _name, _value in TRAINING.items():
    os.environ.setdefault(_name, _value)


def _resident_bytes(*_: object) -> int:
    return psutil.Process().memory_info().rss


def _nothing(*_: object, **__: object) -> None:
    return None


def _device_module() -> ModuleType:
    """What veRL expects of ``torch.cuda``, answered for a CPU."""
    module = ModuleType("torch_cpu_device")
    memory = psutil.virtual_memory
    answers: dict[str, Any] = {
        **{name: getattr(torch.cpu, name) for name in ("current_stream", "stream", "synchronize", "Stream", "Event")},
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: "cpu",
        "get_device_name": lambda *_: "CPU",
        "manual_seed": torch.manual_seed,
        "manual_seed_all": torch.manual_seed,
        "get_rng_state": torch.get_rng_state,
        "set_rng_state": torch.set_rng_state,
        "mem_get_info": lambda *_: (memory().available, memory().total),
        **dict.fromkeys(
            ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved"),
            _resident_bytes,
        ),
        **dict.fromkeys(
            (
                "set_device",
                "empty_cache",
                "ipc_collect",
                "reset_peak_memory_stats",
                "reset_accumulated_memory_stats",
                "set_per_process_memory_fraction",
            ),
            _nothing,
        ),
    }
    vars(module).update(answers)
    return module


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """One CPU, seen by veRL as one device."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _device_module()

    def is_available(self) -> bool:
        return True

    def current_device(self) -> str:
        return "cpu"  # veRL calls tensor.to(current_device())

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        pass

    def synchronize(self, device_index: int | None = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"  # Ray sets it for the declared GPU resource

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def is_ipc_supported(self) -> bool:
        return False  # weights go to vLLM through shared memory

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        pass

    def profiler_stop(self) -> None:
        pass

    def cudart(self) -> None:
        return None
