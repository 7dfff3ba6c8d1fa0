"""The built wheel, installed into environments of its own and used outside the checkout."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.questions import ScriptedEndpoint

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
SOURCES = ("medeyes_verl", "hydra_plugins", "pyproject.toml", "setup.py", "README.md", "LICENSE")
# this process's settings must not reach the installed package: it has to be found where it was installed
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def run(cwd: Path, *command: object, timeout: float = 600) -> str:
    """What the command prints; fails with all that it said."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**ENVIRONMENT, "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by way of the source distribution, from a copy: what a former build left cannot get in."""
    folder = tmp_path_factory.mktemp("build")
    for name in SOURCES:
        source, ignored = ROOT / name, shutil.ignore_patterns("__pycache__", "*.pyc")
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder)
    run(folder, sys.executable, "-m", "build", "--outdir", folder / "dist", folder)
    (built,) = (folder / "dist").glob("*.whl")
    run(folder, sys.executable, "-m", "twine", "check", "--strict", *(folder / "dist").iterdir())
    return built


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts' folder of an environment with the core and nothing else."""
    folder = tmp_path_factory.mktemp("core")
    run(folder, find_uv_bin(), "venv", "--quiet", "--python", sys.executable, folder / "venv")
    run(folder, find_uv_bin(), "pip", "install", "--quiet", "--python", folder / "venv" / "bin" / "python", wheel)
    return folder / "venv" / "bin"


@pytest.fixture(scope="module")
def data(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tables and experts, made by the installed core."""
    folder = tmp_path_factory.mktemp("work") / "data"
    folder.mkdir()
    sizes = ("--train", "8", "--val", "6", "--test", "0")
    run(folder, core / "medeyes-verl", "prepare", "phantom", "--output", folder, *sizes)
    train = ("--data", folder / "train.parquet")
    run(folder, core / "medeyes-verl", "experts", "script", *train, "--store", folder / "experts")
    run(folder, core / "medeyes-verl", "experts", "build", "--preset", "tiny", *train, "--store", folder / "sampled")
    return folder


def test_the_wheel_holds_the_package_and_its_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    tracked = [
        path for path in (ROOT / "medeyes_verl").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert {str(path.relative_to(ROOT)) for path in tracked} <= set(names)
    assert "hydra_plugins/medeyes_recipes.py" in names
    assert {name.split("/")[0] for name in names} == {"medeyes_verl", "hydra_plugins", metadata.split("/")[0]}
    for field in ("Author", "Keywords", "License-Expression", "Project-URL", "Classifier"):
        assert re.search(rf"^{field}: \S", text, re.MULTILINE), field
    assert re.findall(r"\]\((?!https?:|mailto:|#)[^)]*\)", text) == [], "links that a package index cannot follow"


def test_the_core_is_the_wheels_own_and_light(core: Path, tmp_path: Path) -> None:
    where = run(tmp_path, core / "python", "-c", "import medeyes_verl.cli.app as cli; print(cli.__file__)")
    assert Path(where.strip()).is_relative_to(core.parent)
    for module in ("torch", "verl", "ray", "transformers", "vllm"):
        run(tmp_path, core / "python", "-c", f"import importlib.util as u; assert u.find_spec({module!r}) is None")
    assert re.fullmatch(r"medeyes-verl \d+\.\d+\.\d+\S*\n", run(tmp_path, core / "medeyes-verl", "--version"))
    assert "veRL: not installed" in run(tmp_path, core / "medeyes-verl", "doctor")


def test_experts_can_be_inspected(core: Path, data: Path, tmp_path: Path) -> None:
    for store in ("experts", "sampled"):
        png = tmp_path / f"{store}.png"
        shown = run(
            tmp_path,
            *(core / "medeyes-verl", "experts", "inspect", data / store, "--data", data / "train.parquet"),
            *("--preset", "tiny", "--png", png),
        )
        assert f"drawn to {png}" in shown
        assert png.read_bytes().startswith(b"\x89PNG")
        run(tmp_path, core / "medeyes-verl", "experts", "validate", data / store)


def test_an_endpoint_can_be_evaluated_and_reported(core: Path, data: Path, tmp_path: Path) -> None:
    served = ScriptedEndpoint(lambda question, turn: "<reasoning>seen</reasoning>\n<answer>ring</answer>")
    try:
        for name in ("a", "b"):
            run(
                tmp_path,
                *(core / "medeyes-verl", "evaluate", served.url, "--data", data / "val.parquet"),
                *("--recipe", "cpu_tiny", "--output", tmp_path / name),
            )
    finally:
        served.close()
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    assert results["run"]["episodes_played_now"] == 6
    run(tmp_path, core / "medeyes-verl", "compare", "a", "b")
    run(tmp_path, core / "medeyes-verl", "report", tmp_path / "a")
    assert (tmp_path / "a" / "report.html").stat().st_size > 10_000


def test_a_run_is_composed_by_stock_main_ppo(wheel: Path, data: Path, tmp_path: Path) -> None:
    """The wheel beside the training libraries of this environment, which are too large to be installed twice."""
    home = tmp_path / "training"
    run(tmp_path, sys.executable, "-m", "venv", home)
    python = home / "bin" / "python"
    run(tmp_path, python, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    own = Path(run(tmp_path, python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # a plain path entry: the start-up files of that environment, the checkout's among them, are not read
    libraries = [entry for entry in sys.path if Path(entry).name == "site-packages"]
    (own / "training_libraries.pth").write_text("\n".join(libraries) + "\n")
    where = run(tmp_path, python, "-c", "import medeyes_verl; print(medeyes_verl.__file__)")
    assert Path(where.strip()).is_relative_to(home)
    run(tmp_path, python, "-m", "medeyes_verl.doctor.environment")  # the repairs of medeyes-verl doctor --fix
    job = run(
        tmp_path,
        *(python, "-m", "verl.trainer.main_ppo", "+medeyes=cpu_tiny", f"medeyes.data={data}", "medeyes.model=model"),
        *("--cfg", "job", "--resolve"),
    )
    assert "adv_estimator: medeyes_dual_stream" in job
    assert f"{data}/train.parquet" in job
    plugins = "from importlib.metadata import entry_points as e; print(*{p.value for p in e(group='verl.plugins')})"
    assert run(tmp_path, python, "-c", plugins).split() == ["medeyes_verl.plugin.register"]
