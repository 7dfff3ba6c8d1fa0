"""What a run leaves in its folder, so that watch, report and evaluate need no more than that folder."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from medeyes_verl.evaluation.run_folder import recipe_file, run_rules
from medeyes_verl.evaluation.run_logs import read_runs
from medeyes_verl.plugin.run_files import LOG_VARIABLES, keep_run_files


@pytest.fixture(autouse=True)
def _no_logger_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in LOG_VARIABLES:
        monkeypatch.setenv(variable, "")  # so that what is set here is undone
        monkeypatch.delenv(variable)


def configuration(output: Path | None) -> object:
    episode = {"max_gazes": 3}
    config = {"actor_rollout_ref": {"rollout": {"custom": {"medeyes": {"episode": episode}}}}}
    return OmegaConf.create(config if output is None else {**config, "medeyes": {"output": str(output)}})


def test_the_commands_find_configuration_and_metrics(tmp_path: Path) -> None:
    import os

    folder = keep_run_files(configuration(tmp_path))  # type: ignore[arg-type]
    assert folder is not None
    log = Path(os.environ["VERL_FILE_LOGGER_PATH"])
    log.write_text(json.dumps({"step": 1, "data": {"medeyes/on_policy/r_acc": 0.5}}) + "\n")
    (run,) = read_runs([tmp_path])
    assert run.steps == {1: {"medeyes/on_policy/r_acc": 0.5}}
    assert recipe_file(tmp_path) == folder / ".hydra" / "config.yaml"
    rules = run_rules(tmp_path)
    assert rules is not None
    assert rules.max_gazes == 3


@pytest.mark.parametrize("variable", LOG_VARIABLES)
def test_a_users_own_place_for_the_log_is_kept(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv(variable, "mine")
    keep_run_files(configuration(tmp_path))  # type: ignore[arg-type]
    assert {name: os.environ.get(name) for name in LOG_VARIABLES if name in os.environ} == {variable: "mine"}


def test_a_run_without_our_recipe_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert keep_run_files(configuration(None)) is None  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
