"""The core imports nothing heavy, and a command whose extra is absent says in one sentence what to install."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from medeyes_verl.cli.app import app
from medeyes_verl.data.phantom import PhantomSettings, make_phantom_row
from medeyes_verl.data.row import write_rows
from medeyes_verl.doctor.environment import CPU_TORCH
from medeyes_verl.extras import EXTRA_OF, advice

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = {
    name: {requirement.name: requirement for requirement in map(Requirement, lines)}
    for name, lines in PYPROJECT["project"]["optional-dependencies"].items()
}
MODULES = PYPROJECT["tool"]["deptry"]["package_module_name_map"]


def test_the_command_line_starts_without_any_extra() -> None:
    code = "import sys, medeyes_verl.cli.app; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not set(EXTRA_OF) & set(done.stdout.split())


@pytest.mark.parametrize(("module", "extra"), EXTRA_OF.items())
def test_the_named_extra_brings_the_module(module: str, extra: str) -> None:
    assert module in {MODULES.get(name, name.replace("-", "_")) for name in EXTRAS[extra]}


@pytest.mark.parametrize("module", ["torch", "transformers.models", "vllm", "starlette.routing"])
def test_the_sentence_names_an_extra_that_exists(module: str) -> None:
    sentence = advice(ModuleNotFoundError(name=module))
    assert sentence is not None
    named = re.findall(r"medeyes-verl\[([\w-]+)\]", sentence)
    assert named
    assert set(named) <= set(EXTRAS)


def test_a_module_of_no_extra_is_a_defect() -> None:
    assert advice(ModuleNotFoundError(name="medeyes_verl.mistyped")) is None
    assert advice(ModuleNotFoundError(name=None)) is None


@pytest.mark.parametrize(
    ("module", "extra", "command"),
    [
        ("torch", "verl", "tiny-policy --data {file} --experts {folder} --output {folder}/tiny"),
        ("vllm", "gpu", "evaluate {folder}/model --recipe cpu_tiny --data {table} --output {folder}/out"),
        ("verl", "verl", "export {folder}/global_step_1/actor {folder}/out"),
        ("starlette", "demo", "demo {folder} --web"),
        ("ray", "verl", "experts build --data {table} --store {folder}/store --engine ray"),
    ],
)
def test_a_command_without_its_extra_says_what_to_install(
    module: str, extra: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = tmp_path / "global_step_1" / "actor"
    actor.mkdir(parents=True)
    (actor / "fsdp_config.json").write_text("{}")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    table = tmp_path / "train.parquet"
    write_rows(table, [make_phantom_row(PhantomSettings(), "train", 0, tmp_path)])
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    result = CliRunner().invoke(app, command.format(folder=tmp_path, table=table, file=table).split())
    assert result.exit_code == 1, result.output
    assert f"this needs {module}, which is not installed: pip install 'medeyes-verl[{extra}]'" in result.output
    assert isinstance(result.exception, SystemExit), "no traceback"


def test_one_pin_is_not_two() -> None:
    """The CPU build and the GPU build of torch are also named where they are installed before the extras are."""
    assert EXTRAS["cpu"]["torch"].specifier == f"=={CPU_TORCH}"
    script = (ROOT / "scripts" / "environment.sh").read_text(encoding="utf-8")
    assert re.findall(r"'torch(==[\d.]+)'", script) == [str(EXTRAS["gpu"]["torch"].specifier)]
