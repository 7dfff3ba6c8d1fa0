"""Recipes by name, from a run's file, and guessed; and what a user's words are taken for."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from medeyes_verl.data.row import write_rows
from medeyes_verl.evaluation.recipe import Recipe, guess_recipe, read_recipe, recipe_of, validation_tables
from medeyes_verl.evaluation.sources import find_source
from medeyes_verl.expert.sampler import sampler_preset
from medeyes_verl.gaze.tiny_episode import tiny_episode

COMPOSED = """
actor_rollout_ref:
  rollout:
    dtype: float32
    max_model_len: 777
    custom: {medeyes: {turn_tokens: 33, system_prompt: false, episode: {max_gazes: 2, frame: relative_1000}}}
data: {max_response_length: 444, val_files: some/val.parquet, medeyes: {image_root: /pictures}}
reward: {medeyes: {open_metric: token_f1}}
"""


def write_model(folder: Path, **config: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_recipe_by_name_has_the_numbers_of_training() -> None:
    tiny = read_recipe("cpu_tiny")
    assert (tiny.rules.max_gazes, tiny.turn_tokens, tiny.response_length, tiny.system_prompt) == (3, 64, 320, False)
    assert (tiny.serving.dtype, tiny.serving.enforce_eager, tiny.serving.max_model_len) == ("float32", True, 640)
    assert tiny.rules.view.max_pixels == 112 * 112
    paper = read_recipe("qwen2_5_vl_3b")
    assert (paper.rules.max_gazes, paper.turn_tokens, paper.response_length) == (4, 256, 2048)
    assert paper.system_prompt
    assert paper.reward.accuracy_weight == 0.7
    assert paper.serving.kv_cache_memory_bytes is None


def test_a_recipe_from_a_runs_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(COMPOSED)
    recipe = read_recipe(file)
    assert (recipe.turn_tokens, recipe.response_length, recipe.system_prompt) == (33, 444, False)
    assert (recipe.rules.max_gazes, recipe.rules.frame) == (2, "relative_1000")
    assert (recipe.serving.max_model_len, recipe.serving.dtype) == (777, "float32")
    assert recipe.image_root == Path("/pictures")
    assert recipe.reward.open_metric == "token_f1"
    assert validation_tables(file) == [Path("some/val.parquet")]


def test_what_a_recipe_leaves_out_is_as_in_the_plugin() -> None:
    pytest.importorskip("verl")
    from omegaconf import OmegaConf

    from medeyes_verl.config.settings import RolloutSettings

    bare = recipe_of(OmegaConf.create({"actor_rollout_ref": {"rollout": {}}}), "bare")
    for entry in fields(RolloutSettings):
        if entry.name in {each.name for each in fields(Recipe)}:
            assert getattr(bare, entry.name) == entry.default, entry.name


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "not readable"),
        ("[1, 2]", "no composed configuration"),
        ("defaults: [base]\nactor_rollout_ref: {}", "no composed configuration"),
        ("a: {b: 1", "not readable"),
        (COMPOSED.replace("max_gazes", "max_gaze"), "episode.max_gaze=2: there is no such key; did you mean max_gazes"),
        (COMPOSED.replace("token_f1", "f1"), "reward.medeyes.open_metric='f1': use one of exact"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: str | None, complaint: str) -> None:
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=complaint):
        read_recipe(file)


@pytest.mark.parametrize("name", ["nope", "", "../base", "a b", "x=1"])
def test_an_unknown_name_lists_the_known(name: str) -> None:
    with pytest.raises(ValueError, match=r"cpu_tiny, .*gpu_tiny, "):
        read_recipe(name)


def test_a_recipe_is_guessed_from_the_model(tmp_path: Path) -> None:
    tiny = write_model(tmp_path / "tiny", model_type="qwen2_5_vl", text_config={"vocab_size": 460})
    large = write_model(tmp_path / "large", model_type="qwen2_5_vl", vocab_size=151_936)
    other = write_model(tmp_path / "other", model_type="llava")
    assert (guess_recipe(tiny), guess_recipe(large)) == ("cpu_tiny", "qwen2_5_vl_3b")
    with pytest.raises(ValueError, match="--recipe"):
        guess_recipe(other)
    with pytest.raises(ValueError, match=r"no readable config\.json; pass --recipe"):
        guess_recipe(tmp_path)


def test_a_model_folder_needs_only_a_table(tmp_path: Path) -> None:
    model = write_model(tmp_path / "tiny", model_type="qwen2_5_vl", vocab_size=460)
    source = find_source(str(model), None, (Path("t.parquet"),), None, None)
    assert (source.kind, source.name, source.recipe.name) == ("model", str(model), "cpu_tiny")
    assert source.output == Path("outputs/evaluate/tiny")


def test_a_run_needs_nothing(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny_policy", model_type="qwen2_5_vl", vocab_size=460)
    hydra = tmp_path / "logs" / "hydra" / ".hydra"
    hydra.mkdir(parents=True)
    (hydra / "config.yaml").write_text(COMPOSED.replace("some/val.parquet", f"{tmp_path}/data/val.parquet"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "val.parquet").touch()
    source = find_source(str(tmp_path), None, (), None, None)
    assert source.tables == (tmp_path / "data" / "val.parquet",)
    assert (source.output, source.recipe.turn_tokens) == (tmp_path / "evaluation", 33)
    write_rows(tmp_path / "data" / "test.parquet", [])
    assert find_source(str(tmp_path), None, (), None, None).tables == source.tables, "there is nothing to ask in it"
    (tmp_path / "data" / "test.parquet").write_bytes(b"damaged: to be named by who reads it")
    assert find_source(str(tmp_path), None, (), None, None).tables == (tmp_path / "data" / "test.parquet",)


def test_endpoints_and_dumps_are_told_by_their_form(tmp_path: Path) -> None:
    table = (Path("t.parquet"),)
    assert find_source("http://127.0.0.1:1/v1", "cpu_tiny", table, None, None).kind == "endpoint"
    model = write_model(tmp_path / "tiny", model_type="qwen2_5_vl", vocab_size=460)
    assert find_source("http://127.0.0.1:1/v1", None, table, None, str(model)).recipe.name == "cpu_tiny"
    (tmp_path / "120.jsonl").touch()
    dump = find_source(str(tmp_path / "120.jsonl"), "cpu_tiny", table, None, None)
    assert (dump.kind, dump.output) == ("dump", tmp_path / "120")


def test_a_model_of_the_hub_is_found_in_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, as all tests are: what the cache holds is a model, with a recipe by its config.json; nothing else is."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--Qwen--Qwen2.5-VL-3B-Instruct"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    write_model(cached / "snapshots" / ("0" * 40), model_type="qwen2_5_vl", vocab_size=151936)
    table = (Path("t.parquet"),)
    source = find_source("Qwen/Qwen2.5-VL-3B-Instruct", None, table, None, None)
    assert (source.kind, source.name, source.recipe.name) == ("model", "Qwen/Qwen2.5-VL-3B-Instruct", "qwen2_5_vl_3b")
    with pytest.raises(ValueError, match="Qwen/absent: no such folder, and no model of that name"):
        find_source("Qwen/absent", "qwen2_5_vl_3b", table, None, None)


@pytest.mark.parametrize(
    ("named", "recipe", "tables", "complaint"),
    [
        ("http://127.0.0.1:1/v1", None, ("t",), "--recipe"),
        ("http://127.0.0.1:1/v1", "cpu_tiny", (), "--data"),
        ("./nothing/here", "cpu_tiny", ("t",), "no such folder or file"),
        ("org/name", None, ("t",), "no such folder, and no model of that name"),
    ],
)
def test_what_is_missing_is_said(named: str, recipe: str | None, tables: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        find_source(named, recipe, tuple(Path(table) for table in tables), None, None)


@pytest.mark.parametrize("name", ["cpu_tiny", "gpu_tiny"])
def test_the_tiny_episode_is_the_composed_recipes(name: str) -> None:
    """Experts, warm-up and tests read the file; training composes it: both are one value."""
    assert tiny_episode() == read_recipe(name).rules
    assert tiny_episode() == sampler_preset("tiny").episode
