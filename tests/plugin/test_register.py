"""Loading the plugin: nothing heavy before it is needed, everything there in whichever order things are imported."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.ray  # each starts a process that imports veRL


def python(code: str, **environment: str) -> str:
    """Run ``code`` in a process of its own, without what a CPU run of this very test process may have set."""
    inherited = {name: value for name, value in os.environ.items() if name != "VERL_ENGINE_DEVICE"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "VERL_PLATFORM": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_importing_verl_loads_nothing_that_this_process_does_not_use() -> None:
    heavy = ("plugin.trainer", "plugin.agent_loop", "plugin.objective", "gaze", "expert", "algorithm")
    code = f"import sys, verl; print([m for m in {heavy!r} if 'medeyes_verl.' + m in sys.modules])"
    assert python(code).splitlines()[-1] == "[]"


def test_an_addition_comes_with_the_module_it_extends() -> None:
    code = "import sys, verl.trainer.ppo.core_algos; print('medeyes_verl.plugin.objective' in sys.modules)"
    assert python(code).splitlines()[-1] == "True"


@pytest.mark.parametrize("first", ["verl", "medeyes_verl.plugin.trainer", "medeyes_verl.plugin.agent_loop"])
def test_everything_is_registered_whatever_is_imported_first(first: str) -> None:
    code = f"import {first}; from medeyes_verl.plugin.inventory import missing; print(missing())"
    assert python(code).splitlines()[-1] == "[]"


def test_the_cpu_is_left_alone_where_nobody_asked_for_it() -> None:
    code = (
        "import os, verl; from verl.plugin.platform import PlatformRegistry;"
        "print('cpu' in PlatformRegistry.registered_names(), 'VERL_ENGINE_DEVICE' in os.environ)"
    )
    assert python(code, VERL_PLATFORM="").splitlines()[-1] == "False False"


def test_the_trainer_refuses_to_start_without_the_whole_plugin() -> None:
    code = """
import verl.trainer.ppo.v1
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY
from medeyes_verl.plugin.inventory import PluginNotLoadedError
from medeyes_verl.plugin.trainer import MedEyesSync
del POLICY_LOSS_REGISTRY["medeyes_dual_stream"]
try:
    MedEyesSync(config=None)
except PluginNotLoadedError as error:
    print(error)
"""
    said = python(code)
    assert "does not know: policy loss medeyes_dual_stream" in said
    assert "medeyes-verl doctor" in said
