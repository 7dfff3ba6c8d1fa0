"""Upstream defect: on a CPU veRL builds the process-group backend ``cpu:gloo,cpu:gloo``.

verl/utils/distributed.py:91 joins ``cpu:gloo`` with ``<device>:<backend>``; where the device is itself the
CPU, torch rejects the repeated device. Both initialisers also accept, or can be handed, the plain backend
``cpu:gloo``. tests/contract fails once veRL builds a backend that torch takes.
"""

from importlib.metadata import version
from typing import Any

import verl.utils.distributed as upstream
from packaging.version import Version

if Version("0.9.0") <= Version(version("verl")) < Version("0.10"):
    _original = upstream.initialize_global_process_group_ray

    def _with_plain_backend(timeout_second: int | None = None, backend: str | None = None) -> Any:
        return _original(timeout_second=timeout_second, backend=backend or "cpu:gloo")

    upstream.initialize_global_process_group_ray = _with_plain_backend
