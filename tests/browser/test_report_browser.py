"""The report in a real browser: it opens in silence, filters and pages, draws, prints, and runs no foreign word."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from medeyes_verl.data.row import read_rows
from medeyes_verl.evaluation.episode_log import EpisodeLog
from medeyes_verl.evaluation.player import play_texts
from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.report.page import write_report

GAZE = '<reasoning>look</reasoning>\n<action>{"name": "Gaze", "coordinate": [0, 0, 56, 56]}</action>'
RIGHT = "<reasoning>seen</reasoning>\n<answer>{}</answer>"
ANSWERS = {"closed": "yes", "open": "ring", "multiple_choice": "B"}
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
METRICS = (
    '{"step": 1, "data": {"medeyes/on_policy/reward": 0.5}}\n{"step": 2, "data": {"medeyes/on_policy/reward": 1}}\n'
)


@pytest.fixture(scope="module")
def report(table: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ten questions: 0 answered in tags, 1 without a gaze, 2 with a fault, the others right. Its address."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "metrics.jsonl").write_text(METRICS)
    special = {
        0: [GAZE, f"<reasoning>{HOSTILE}</reasoning>\n<answer>{HOSTILE}</answer>"],
        1: ["<reasoning>sure</reasoning>\n<answer>bar</answer>"],
        2: ["<action>{}</action>", RIGHT.format("B")],
    }
    with EpisodeLog(folder / "episodes.jsonl") as log, ThreadPoolExecutor() as thread:
        for number, row in enumerate(list(read_rows(table))[:10]):
            texts = special.get(number, [GAZE, RIGHT.format(ANSWERS[row["extra_info"]["question_type"]])])
            playing = play_texts(row, recipe, texts, "test", "on_policy")
            log.append(thread.submit(asyncio.run, playing).result())  # the browser's loop may run in this one
    write_report([folder], folder / "report.html", recipe.rules)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def shared(report: str, open_page: Any) -> Iterator[Any]:
    """The report opened once, offline, in light colours."""
    with open_page(report, offline=True, color_scheme="light") as page:
        page.wait_for_selector("#chart-0 svg.main-svg")
        yield page


@pytest.fixture
def page(shared: Any) -> Any:
    """The same at the first page of all questions."""
    shared.check("input[name=tag][value='wrong']")
    shared.check("input[name=tag][value='']")
    shared.evaluate("document.activeElement.blur()")
    return shared


def expect_line(page: Any, colour: str) -> None:
    """Wait for the first chart's line to have a colour, by a locator: the page's content policy forbids the strings of
    script that wait_for_function would evaluate."""
    from playwright.sync_api import expect

    expect(page.locator("#chart-0 .js-line").first).to_have_css("stroke", colour)


def _questions(page: Any) -> list[str]:
    return page.evaluate(
        "[...document.querySelectorAll('.card h3')].filter((h) => h.offsetParent).map((h) => h.innerText)"
    )


def test_it_opens_offline_in_silence_and_draws(page: Any) -> None:
    assert page.inner_text("#place") == "1–4 of 10"
    assert page.locator(".card .view").first.bounding_box()["width"] > 100
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


def test_words_with_tags_stay_words(page: Any) -> None:
    assert page.title().endswith("MedEyes report")
    assert HOSTILE in page.locator(".card").first.inner_text()
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("wrong", ["Question 0?", "Question 1?"]),
        ("no-gaze", ["Question 1?", "Question 2?"]),
        ("fault", ["Question 2?"]),
        ("differ", []),
    ],
)
def test_filters(page: Any, tag: str, expected: list[str]) -> None:
    page.check(f"input[value='{tag}']")
    assert _questions(page) == expected
    assert page.is_visible("#nothing") == (not expected)
    page.select_option("select[name=source]", "made_up")
    assert _questions(page) == expected


def test_arrow_keys_turn_pages_and_stop_at_the_ends(page: Any) -> None:
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#place") == "1–4 of 10"
    for place in ("5–8 of 10", "9–10 of 10", "9–10 of 10"):
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#place") == place
    assert _questions(page) == ["Question 8?", "Question 9?"]
    assert page.is_disabled("#next")
    assert page.is_enabled("#previous")
    page.check("input[value='wrong']")
    assert page.inner_text("#place") == "1–2 of 2"


def test_colours_follow_the_readers_scheme(page: Any) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    for scheme, paper, line in (
        ("dark", "rgb(21, 23, 27)", "rgb(127, 179, 245)"),
        ("light", "rgb(255, 255, 255)", "rgb(28, 95, 176)"),
    ):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(background) == paper
        expect_line(page, line)


def test_print_shows_every_card_in_light_colours(page: Any, tmp_path: Path) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    try:
        assert len(_questions(page)) == 10
        assert not page.is_visible("#filters")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        expect_line(page, "rgb(28, 95, 176)")
        page.pdf(path=tmp_path / "report.pdf", format="A4")
        assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    finally:
        page.emulate_media(media="screen", color_scheme="light")


def test_without_scripts_all_cards_are_there(report: str, open_page: Any) -> None:
    with open_page(report, java_script_enabled=False) as page:
        assert page.locator(".card:visible").count() == 10
