"""Everything this project adds to veRL, on one screen.

veRL imports this module through the entry-point group ``verl.plugins`` in every process that imports veRL
(verl/__init__.py:85): driver, task runner, agent, reward and FSDP workers. Two facts shape it. A failing
entry point is only logged at DEBUG, and importing all that we extend would cost each process seconds. So
nothing of veRL is imported here: each addition waits for the veRL module that it extends, and an addition
that fails then raises at that import, loudly.

What is found by path and needs no registration: the dataset class (``data.custom_cls``), the reward manager
(``reward.reward_manager``), the vLLM worker of the CPU (``engine_kwargs.vllm.worker_extension_cls``), and
the Hydra recipes (``hydra_plugins/``).
"""

import importlib
import os
from functools import partial
from types import ModuleType

import wrapt

# veRL module that has just been imported, our module that extends it
ADDITIONS = (
    ("verl.trainer.ppo.core_algos", "medeyes_verl.plugin.objective"),  # estimator and loss medeyes_dual_stream
    ("verl.experimental.agent_loop.agent_loop", "medeyes_verl.plugin.agent_loop"),  # loop medeyes_gaze
    ("verl.experimental.agent_loop.agent_loop", "medeyes_verl.plugin.demonstrations"),  # loop medeyes_demonstrations
    ("verl.trainer.ppo.v1", "medeyes_verl.plugin.trainer"),  # modes medeyes_{sync,colocate_async,…}
    ("verl.utils.tensordict_utils", "medeyes_verl.plugin.upstream_position_ids"),
)

# the same, where VERL_PLATFORM=cpu asks for the CPU
CPU_ADDITIONS = (
    ("verl.plugin.platform", "medeyes_verl.plugin.cpu.platform"),  # platform cpu
    ("verl.utils.distributed", "medeyes_verl.plugin.cpu.upstream_process_group"),
)


def runs_on_cpu() -> bool:
    """Whether this process was asked, by VERL_PLATFORM, to train without an accelerator."""
    return os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu"


def additions() -> tuple[tuple[str, str], ...]:
    """What this process adds to veRL."""
    return (*ADDITIONS, *(CPU_ADDITIONS if runs_on_cpu() else ()))


def _extend(verl_module: ModuleType, ours: str) -> None:
    importlib.import_module(ours)


for _theirs, _ours in additions():
    wrapt.when_imported(_theirs)(partial(_extend, ours=_ours))
