"""Regions read from SLAKE's files, COCO JSON and CSV: found by content, nothing taken that makes no sense."""

from __future__ import annotations

import asyncio
import json
import pickle
import shutil
from pathlib import Path

import pytest
from PIL import Image

from medeyes_verl.data.image_store import ImageStore
from medeyes_verl.expert.oracles.annotations import AnnotationOracle
from medeyes_verl.expert.oracles.slake import is_disease, is_named, read_slake
from medeyes_verl.expert.oracles.user_boxes import read_coco, read_csv
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.sampler import SamplerSettings, sample
from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.gaze.geometry import Box, Size

SIZE = Size(500, 400)


def question(path: Path | str, text: str, answer: str = "Yes", name: str = "q") -> Question:
    return Question(name, text, "open", answer, (), (str(path),), (SIZE,))


def stored(slake: Path, folder: str) -> str:
    """The picture as a prepared row refers to it."""
    return ImageStore(slake / "prepared").add_file(slake / "imgs" / folder / "source.jpg").path


def test_disease_boxes_are_candidates_and_the_asked_organ_is_named(slake: Path) -> None:
    book = read_slake(slake)
    regions = book(question(stored(slake, "xmlab1"), "Is there a nodule in the left lung?"))
    assert [(each.label, each.target, each.named) for each in regions] == [
        ("Left Lung", True, True),
        ("Nodule", True, False),
        ("Nodule", True, False),
        ("Effusion", False, False),
    ]
    assert regions[0].box == Box(260, 50, 460, 350)
    assert regions[3].box == Box(420, 300, 500, 400)


def test_the_answer_may_name_the_target(slake: Path) -> None:
    regions = read_slake(slake)(question(stored(slake, "xmlab1"), "Which disease is shown?", "Effusion"))
    assert [(each.label, each.target) for each in regions] == [
        ("Nodule", False),
        ("Nodule", False),
        ("Effusion", True),
    ]


def test_a_question_about_nothing_drawn_looks_at_everything(slake: Path) -> None:
    book = read_slake(slake)
    path = stored(slake, "xmlab2")
    assert [(each.label, each.box) for each in book(question(path, "Which plane is it?"))] == [
        ("Liver", Box(50, 100, 250, 200))
    ]


def test_what_cannot_be_read_is_named_and_the_rest_taken(slake: Path) -> None:
    book = read_slake(slake)
    reasons = "\n".join(book.rejected)
    assert len(book.rejected) == 5, reasons
    for piece in ("entry 0: box", "entry 1: ", "entry 2: ", "entry 3: ", "mode RGB holds no class numbers"):
        assert piece in reasons
    regions = book(question(stored(slake, "xmlab3"), "Is there a mass?"))
    assert [each.box for each in regions] == [Box(100, 100, 150, 160)]


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "[1, 2"])
def test_a_broken_detection_file_is_named(slake: Path, text: str) -> None:
    (slake / "imgs" / "xmlab1" / "detection.json").write_text(text)
    assert any("xmlab1/detection.json: not readable" in line for line in read_slake(slake).rejected)


def test_a_mask_class_without_a_name_and_a_strange_line_are_named(slake: Path) -> None:
    (slake / "mask.txt").write_text("2:Left Lung\nnonsense\n")
    rejected = "\n".join(read_slake(slake).rejected)
    assert "does not name class 1" in rejected
    assert "'nonsense' is not `number:name`" in rejected


def test_no_slake_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no imgs/\*/source\.jpg"):
        read_slake(tmp_path)


@pytest.mark.parametrize(
    ("label", "text", "named"),
    [
        ("Liver", "Does the picture contain liver?", True),
        ("Liver", "Is the delivery late?", False),
        ("Nodule", "Are there nodules?", True),
        ("Mass", "How many masses?", True),
        ("Left Lung", "Is the lung healthy?", True),
        ("Left Lung", "Is the right lung healthy?", False),
        ("Right Lung", "Is the right lung healthy?", True),
        ("Left Lung", "Is the left lung healthy?", True),
    ],
)
def test_is_named(label: str, text: str, named: bool) -> None:
    assert is_named(label, text) is named


def test_is_disease() -> None:
    assert [is_disease(each) for each in ("Lung Cancer", "Brain Edema", "Lung", "Spinal Cord")] == [
        True,
        True,
        False,
        False,
    ]


def test_slake_gives_valid_varied_reproducible_trajectories(slake: Path) -> None:
    oracle = AnnotationOracle(PixelBounds(), PixelBounds(), pickle.loads(pickle.dumps(read_slake(slake))))
    asked = question(stored(slake, "xmlab1"), "Is there a nodule in the left lung?")

    def draw() -> list[object]:
        made = asyncio.run(sample(asked, oracle, SamplerSettings(), 0, lambda q, a: a == q.ground_truth))
        return list(made.trajectories)

    made = draw()
    assert len(set(made)) == 6
    assert made == draw()
    assert {each.correct for each in made} == {True}  # type: ignore[attr-defined]


def picture(path: Path, size: Size = SIZE, colour: str = "grey") -> Path:
    Image.new("RGB", size, colour).save(path)
    return path


COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 500, "height": 400}, {"id": 2, "file_name": "gone.png"}],
    "categories": [{"id": 7, "name": "mass"}],
    "annotations": [
        {"image_id": 1, "category_id": 7, "bbox": [10, 20, 30, 40], "target": True},
        {"image_id": 1, "category_id": 7, "bbox": [10, 20, -30, 40]},
        {"image_id": 1, "category_id": 7, "bbox": [600, 20, 30, 40]},
        {"image_id": 1, "category_id": 9, "bbox": [10, 20, 30, 40]},
        {"image_id": 2, "category_id": 7, "bbox": [10, 20, 30, 40]},
        {"image_id": 3, "category_id": 7, "bbox": [10, 20, 30, 40]},
        {"image_id": 1, "category_id": 7},
    ],
}


def test_coco(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    (tmp_path / "boxes.json").write_text(json.dumps(COCO))
    book = read_coco(tmp_path / "boxes.json", tmp_path)
    assert [(each.box, each.label, each.target) for each in book(question(path, "?"))] == [
        (Box(10, 20, 40, 60), "mass", True)
    ]
    assert [line.split(" annotation ")[1][0] for line in book.rejected] == ["1", "2", "3", "4", "5", "6"]
    copy = tmp_path / "elsewhere.png"
    shutil.copy(path, copy)
    assert len(book(question(copy, "?"))) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"images": []}', '{"images": 1, "annotations": [], "categories": []}'])
def test_what_is_no_coco_file_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(ValueError, match=r"boxes\.json: not a COCO file"):
        read_coco(tmp_path / "boxes.json", tmp_path)


def test_csv_by_picture_and_by_question(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    (tmp_path / "boxes.csv").write_text(
        "\ufeffimage,expert_id,x1,y1,x2,y2,label,target\n"
        "a.png,,1,2,30,40,mass,true\n"
        "a.png,,30,2,1,40,mass,\n"
        "a.png,,nan,2,30,40,mass,\n"
        "a.png,,x,2,30,40,mass,\n"
        "a.png,,1,2,30,40,mass,perhaps\n"
        "../../secret.png,,1,2,30,40,mass,\n"
        "gone.png,,1,2,30,40,mass,\n"
        ",q7,5,6,70,80,cyst,0\n"
        "a.png,,1,2\n",
        encoding="utf-8",
    )
    book = read_csv(tmp_path / "boxes.csv", tmp_path)
    assert [each.box for each in book(question(path, "?"))] == [Box(1, 2, 30, 40)]
    assert [each.label for each in book(question(path, "?", name="q7"))] == ["cyst"]
    assert [line.split("boxes.csv ")[1].split(":")[0] for line in book.rejected] == [
        f"line {number}" for number in (3, 4, 5, 6, 7, 8, 10)
    ]
    assert "leads out of" in book.rejected[4]


def test_a_csv_without_the_columns_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2\n")
    with pytest.raises(ValueError, match="the header lacks label, y2"):
        read_csv(tmp_path / "boxes.csv", tmp_path)
    (tmp_path / "boxes.csv").write_text("x1,y1,x2,y2,label\n")
    with pytest.raises(ValueError, match="image or expert_id"):
        read_csv(tmp_path / "boxes.csv", tmp_path)


def test_a_question_whose_picture_is_gone_says_so(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    (tmp_path / "boxes.json").write_text(json.dumps(COCO))
    book = read_coco(tmp_path / "boxes.json", tmp_path)
    assert path.exists()
    with pytest.raises(ValueError, match=r"never\.png: the picture cannot be read"):
        book(question(tmp_path / "never.png", "?"))
