"""Findings about the plugin: does veRL know all its parts, here and in a Ray worker, and are recipes found?"""

import importlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec

from medeyes_verl.distribution.ray_cluster import ray_cluster
from medeyes_verl.doctor.check import Finding

SEE_ERROR = "fix the error shown; VERL_USE_EXTERNAL_PLUGINS must not exclude medeyes_verl"


def plugin() -> Iterator[Finding]:
    """Registration in this process and in a Ray worker, and the recipes; nothing where veRL is not installed."""
    if find_spec("verl") is None:
        return
    yield _loads()
    yield _registered_here()
    yield _registered_in_ray_worker()
    yield _recipes()


def _loads() -> Finding:
    """veRL hides why a plugin failed, so its modules are imported here once more, in the open."""
    subject = "the plugin's modules import"
    try:
        from medeyes_verl.plugin.register import additions

        for verl_module, ours in additions():
            importlib.import_module(verl_module)
            importlib.import_module(ours)
    except Exception as error:  # whatever it is, it is the finding
        return Finding(subject, False, f"{type(error).__name__}: {error}", SEE_ERROR)
    return Finding(subject, True, "yes")


def _registered_here() -> Finding:
    return _registration("veRL knows every part, in this process", _missing_parts)


def _registered_in_ray_worker() -> Finding:
    def ask_worker() -> list[str]:
        with ray_cluster(num_cpus=1, logging_level="ERROR") as ray:
            return ray.get(ray.remote(_missing_parts).remote(), timeout=300)

    return _registration("veRL knows every part, in a Ray worker", ask_worker)


def _registration(subject: str, missing: Callable[[], list[str]]) -> Finding:
    try:
        absent = missing()
    except Exception as error:  # a Ray worker's error carries its whole traceback; the last line says what it was
        return Finding(subject, False, f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}", SEE_ERROR)
    return Finding(subject, not absent, "missing: " + ", ".join(absent) if absent else "yes", SEE_ERROR)


def _missing_parts() -> list[str]:
    from medeyes_verl.plugin.inventory import missing

    return missing()


def _recipes() -> Finding:
    """Stock main_ppo finds the recipes through Hydra's plugin mechanism."""
    subject = "main_ppo finds +medeyes=cpu_tiny"
    remedy = "the package hydra_plugins was not installed with this one: install again"
    try:
        from hydra import compose, initialize_config_module

        with initialize_config_module(config_module="verl.trainer.config", version_base=None):
            config = compose("ppo_trainer", overrides=["+medeyes=cpu_tiny"])
        found = config.algorithm.adv_estimator
    except Exception as error:
        return Finding(subject, False, f"{type(error).__name__}: {str(error).splitlines()[0]}", remedy)
    return Finding(subject, found == "medeyes_dual_stream", f"estimator {found}", remedy)
