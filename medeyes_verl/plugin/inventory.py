"""What must be registered for a run to be ours, and what is missing.

veRL hides a plugin that fails to load (verl/__init__.py:92 logs at DEBUG). So the trainer asks here before it
starts, and so does ``medeyes-verl doctor``, in the driver and in a Ray worker.
"""

import importlib.metadata

SUPPORTED_VERL = ">=0.9.0,<0.10"
"""The V1 trainer and the plugin group exist from 0.9.0; tests/contract pins what is used of 0.9.1."""


class PluginNotLoadedError(RuntimeError):
    """veRL is running without all of this project's parts."""


def missing() -> list[str]:
    """Names of parts that veRL does not know, in words for a user; empty when all are there."""
    from verl.experimental.agent_loop import agent_loop
    from verl.plugin.platform import PlatformRegistry
    from verl.trainer.ppo import core_algos
    from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY

    from medeyes_verl.plugin.register import runs_on_cpu

    known = {
        "advantage estimator medeyes_dual_stream": "medeyes_dual_stream" in core_algos.ADV_ESTIMATOR_REGISTRY,
        "policy loss medeyes_dual_stream": "medeyes_dual_stream" in core_algos.POLICY_LOSS_REGISTRY,
    }
    for loop in ("medeyes_gaze", "medeyes_demonstrations"):
        known[f"agent loop {loop}"] = loop in agent_loop._agent_loop_registry
    for mode in ("medeyes_sync", "medeyes_colocate_async", "medeyes_separate_async"):
        known[f"trainer mode {mode}"] = mode in TRAINER_REGISTRY
    if runs_on_cpu():
        known["platform cpu"] = "cpu" in PlatformRegistry.registered_names()
    return [name for name, is_known in known.items() if not is_known]


def require_everything() -> None:
    """Raise PluginNotLoadedError, naming what is missing and why it may be, unless all parts are registered."""
    absent = missing()
    if absent:
        raise PluginNotLoadedError(
            f"veRL {importlib.metadata.version('verl')} does not know: {', '.join(absent)}. Run `medeyes-verl doctor`. "
            "Usual causes: the package is not installed in this environment, VERL_USE_EXTERNAL_PLUGINS excludes it, "
            f"or veRL is not {SUPPORTED_VERL}"
        )
