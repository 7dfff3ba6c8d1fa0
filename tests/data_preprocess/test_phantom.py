"""The phantom benchmark: reproducible, truthful, and impossible to answer from the view."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from medeyes_verl.data.phantom import PhantomSettings, QuestionMix, make_phantom, make_phantom_row
from medeyes_verl.data.phantom_images import (
    CLASSES,
    DECOY,
    DIFFICULTIES,
    ORIGINAL_SIDE,
    VIEW_SIDE,
    draw_phantom,
)
from medeyes_verl.data.readers import phantom as command
from medeyes_verl.data.row import LETTERS, read_rows
from medeyes_verl.gaze.crop import PixelBounds, crop_of, open_picture, view_of
from medeyes_verl.gaze.geometry import Box

ALL_TYPES = QuestionMix(0.4, 0.3, 0.3)
VIEW = PixelBounds(VIEW_SIDE**2, VIEW_SIDE**2)


def test_a_row_can_be_made_again_alone_and_in_any_order() -> None:
    settings = PhantomSettings(mix=ALL_TYPES, seed=7)
    forward = [make_phantom(settings, "train", index) for index in range(4)]
    backward = [make_phantom(settings, "train", index) for index in reversed(range(4))][::-1]
    for (phantom, question), (again, question_again) in zip(forward, backward, strict=True):
        assert np.array_equal(phantom.pixels, again.pixels)
        assert phantom.blobs == again.blobs
        assert question == question_again


def test_seed_split_and_index_each_change_the_picture() -> None:
    variants = [(7, "train", 0), (8, "train", 0), (7, "val", 0), (7, "train", 1)]
    pictures = [make_phantom(PhantomSettings(seed=seed), split, index)[0].pixels for seed, split, index in variants]
    for one, other in itertools.combinations(pictures, 2):
        assert not np.array_equal(one, other)


@pytest.mark.parametrize("name", DIFFICULTIES)
def test_the_blobs_are_whole_apart_and_one_is_the_lesion(name: str) -> None:
    for seed in range(20):
        phantom = draw_phantom(DIFFICULTIES[name], np.random.default_rng(seed))
        fewest, most = DIFFICULTIES[name].candidates
        assert fewest <= len(phantom.blobs) <= most
        assert phantom.lesion.label in CLASSES
        assert all(blob.label == DECOY for blob in phantom.blobs[1:])
        for blob in phantom.blobs:
            assert min(blob.bounds) >= 0
            assert max(blob.bounds) <= ORIGINAL_SIDE
        for one, other in itertools.combinations(phantom.blobs, 2):
            assert np.hypot(one.x - other.x, one.y - other.y) > one.radius + other.radius


@pytest.mark.parametrize("name", [name for name, difficulty in DIFFICULTIES.items() if difficulty.graded])
def test_graded_blobs_differ_in_size_and_size_does_not_tell_the_lesion(name: str) -> None:
    graded = DIFFICULTIES[name]
    low, high = graded.radius
    count = graded.candidates[0]
    ranks = []
    for seed in range(300):
        blobs = draw_phantom(graded, np.random.default_rng(seed)).blobs
        parts = [int(count * (blob.radius - low) / (high - low)) for blob in blobs]
        assert sorted(parts) == list(range(count))
        ranks.append(parts[0])
    expected, variance = 300 / count, 300 * (1 / count) * (1 - 1 / count)
    for part in range(count):
        assert abs(ranks.count(part) - expected) < 4 * variance**0.5


def test_every_question_type_is_truthful_and_about_evenly_answered() -> None:
    settings = PhantomSettings(mix=ALL_TYPES, seed=3)
    asked: dict[str, list[str]] = {"open": [], "closed": [], "multiple_choice": []}
    for index in range(150):
        phantom, question = make_phantom(settings, "test", index)
        label = phantom.lesion.label
        asked[question.type].append(question.answer)
        if question.type == "open":
            assert question.answer == label
        elif question.type == "closed":
            assert question.answer == ("yes" if label in question.text else "no")
        else:
            assert question.options[LETTERS.index(question.answer)] == label
            assert sorted(question.options) == sorted(CLASSES)
    assert len(asked["open"]) > len(asked["closed"]) > 25
    assert 0.3 < asked["closed"].count("yes") / len(asked["closed"]) < 0.7
    assert len(set(asked["multiple_choice"])) == len(CLASSES)


def test_a_row_carries_the_true_boxes_and_only_training_rows_an_expert(tmp_path: Path) -> None:
    settings = PhantomSettings(seed=5)
    row = make_phantom_row(settings, "train", 2, tmp_path)
    phantom, _ = make_phantom(settings, "train", 2)
    assert [region.box for region in row.regions] == [Box(*blob.bounds) for blob in phantom.blobs]
    assert [region.target for region in row.regions] == [True, False]
    assert row.expert_id == row.id
    assert make_phantom_row(settings, "val", 2, tmp_path).expert_id is None
    stored = np.asarray(open_picture(row.pictures[0].path))
    assert np.array_equal(stored[..., 0], phantom.pixels)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (lambda: PhantomSettings("trivial"), "trivial.*easy"),
        (lambda: PhantomSettings(seed=-1), "at least 0"),
        (lambda: QuestionMix(0.5, 0.6, 0.0), "add up to 1"),
        (lambda: QuestionMix(1.5, -0.5, 0.0), "at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settings()  # type: ignore[operator]


@pytest.mark.parametrize("name", ["easy", "hard"])
def test_the_class_is_in_the_crop_and_not_in_the_view(name: str) -> None:
    """A ridge classifier on power spectra, which knows where the lesion is, is at chance on views.

    Power spectra do not depend on a texture's phase and are what tells the classes apart. 200 held-out pictures:
    chance is 0.25 with a standard error of 0.03.
    """
    spectra = [_spectra(name, seed) for seed in range(400)]
    labels = np.array([label for label, _, _ in spectra])
    on_view = _held_out_accuracy(np.array([view for _, view, _ in spectra]), labels)
    on_crop = _held_out_accuracy(np.array([crop for _, _, crop in spectra]), labels)
    assert on_view < 0.25 + 3 * 0.03
    assert on_crop > 0.9


def _spectra(name: str, seed: int) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Class number, log power spectrum of the lesion in the view, the same in a crop of the original."""
    phantom = draw_phantom(DIFFICULTIES[name], np.random.default_rng((11, seed)))
    original = Image.fromarray(phantom.pixels)
    lesion = phantom.lesion
    side = 2 * 24
    shown = []
    whole = view_of(original, VIEW)
    shrink = ORIGINAL_SIDE // VIEW_SIDE
    for picture, x, y, half in (
        (whole, lesion.x / shrink, lesion.y / shrink, side // 2 // shrink + 1),
        (crop_of(original, _around(lesion.x, lesion.y), VIEW), 56.0, 56.0, side // 2),
    ):
        grey = np.pad(np.asarray(picture.convert("L"), float), half, mode="reflect")
        row, column = int(y), int(x)
        patch = grey[row : row + 2 * half, column : column + 2 * half]
        window = np.hanning(2 * half)
        power = np.abs(np.fft.rfft2((patch - patch.mean()) * window[:, None] * window)) ** 2
        shown.append(np.log(power + 1e-3).ravel())
    return CLASSES.index(lesion.label), shown[0], shown[1]


def _around(x: float, y: float) -> Box:
    """112 px about a point, moved inside the picture where it would leave it."""
    left, top = (min(max(centre - 56, 0), ORIGINAL_SIDE - 112) for centre in (x, y))
    return Box(left, top, left + 112, top + 112)


def _held_out_accuracy(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    half = len(labels) // 2
    features = (features - features[:half].mean(0)) / features[:half].std(0)
    train, test = features[:half], features[half:]
    wanted = np.eye(len(CLASSES))[labels[:half]] - 1 / len(CLASSES)
    # In the dual form: fewer pictures than frequencies.
    weights = train.T @ np.linalg.solve(train @ train.T + features.shape[1] * np.eye(half), wanted)
    return float(((test @ weights).argmax(1) == labels[half:]).mean())


def test_the_command_writes_reuses_and_remakes(tmp_path: Path) -> None:
    sizes = ["--train", "5", "--val", "2", "--test", "3", "--workers", "1"]

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(command.app, ["--output", str(tmp_path), *sizes, *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    run("--seed", "4")
    rows = {split: list(read_rows(tmp_path / f"{split}.parquet")) for split in ("train", "val", "test")}
    assert {split: len(found) for split, found in rows.items()} == {"train": 5, "val": 2, "test": 3}
    first = rows["train"][0]
    assert first["prompt"] == [{"role": "user", "content": "<image>What is the lesion?"}]
    assert first["reward_model"]["ground_truth"] in CLASSES
    assert all(Path(row["images"][0]).is_file() for found in rows.values() for row in found)

    before = (tmp_path / "train.parquet").stat().st_mtime_ns
    assert "already made" in run("--seed", "4")
    assert (tmp_path / "train.parquet").stat().st_mtime_ns == before
    run("--seed", "9")
    assert next(read_rows(tmp_path / "train.parquet"))["extra_info"]["id"] == "phantom-easy-9-train-0"


def test_the_command_explains_a_bad_mix() -> None:
    with pytest.raises(typer.BadParameter, match=r"0\.6,0\.2,0\.2"):
        command._mix("1;0")
