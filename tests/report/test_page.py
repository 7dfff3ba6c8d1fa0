"""The page: self-contained, inert words, and the command that writes it."""

import base64
import hashlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from medeyes_verl.cli.report import add_commands
from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.report.page import write_report

HOSTILE = "</pre></script><script>document.title='owned'</script><img src=x onerror=alert(1)>\u2028{{ 7 * 7 }}"


@pytest.fixture
def command() -> Any:
    app = typer.Typer()
    add_commands(app)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "300"})


class Tags(HTMLParser):
    """What a browser would make of a page: its tags with their attributes, its scripts, its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.tags[-1][0] == "script" and data.strip():
            self.scripts.append(data)
        else:
            self.text += data


def test_words_of_a_model_stay_words(make_run: Any, episodes: Any, recipe: Recipe, tmp_path: Path) -> None:
    played = episodes(1, {0: [f"<reasoning>{HOSTILE}</reasoning>\n<answer>{HOSTILE}</answer>"]})
    write_report([make_run(played=played)], tmp_path / "r.html", recipe.rules)
    page = Tags(tmp_path / "r.html")
    assert page.text.count(HOSTILE) == 4  # the thought, the turn as written (twice), the answer
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert all(attributes["src"].startswith("data:") for tag, attributes in page.tags if tag == "img")
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_nothing_is_loaded_from_anywhere_and_only_hashed_scripts_may_run(
    make_run: Any, recipe: Recipe, tmp_path: Path
) -> None:
    write_report([make_run()], tmp_path / "r.html", recipe.rules)
    page = Tags(tmp_path / "r.html")
    [policy] = [attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; ")
    runnable = page.scripts[1:]  # the first is data
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in runnable]
    assert policy.endswith("script-src " + " ".join(f"'sha256-{digest}'" for digest in hashes))
    links = [attributes.get("src") or attributes.get("href") for _, attributes in page.tags]
    assert all(link.startswith(("data:", "#")) for link in links if link)


def test_every_picture_and_chart_has_words(make_run: Any, recipe: Recipe, tmp_path: Path) -> None:
    write_report([make_run()], tmp_path / "r.html", recipe.rules)
    tags = Tags(tmp_path / "r.html").tags
    assert all(attributes["alt"] for tag, attributes in tags if tag == "img")
    pictured = [attributes["aria-label"] for _, attributes in tags if attributes.get("role") == "img"]
    assert any("gaze 1 at 0, 0, 112, 112" in words for words in pictured)
    assert any(words.startswith("Training reward. policy: 0.5") for words in pictured)


def test_the_command_writes_into_the_run_and_says_what_it_holds(make_run: Any, command: Any) -> None:
    folder = make_run()
    result = command("report", folder)
    assert result.exit_code == 0, result.output
    assert "report.html: 4 curves, 6 of 6 questions" in result.output
    assert (folder / "report.html").stat().st_size < 8_000_000


def test_several_runs_are_compared_in_one_page(make_run: Any, command: Any, tmp_path: Path) -> None:
    result = command("report", make_run("a"), make_run("b"), "--output", tmp_path / "both.html")
    assert result.exit_code == 0, result.output
    html = (tmp_path / "both.html").read_text(encoding="utf-8")
    assert "a: validation-2" in html
    assert "b: validation-2" in html
    assert "a · policy" in html


def test_no_gallery_when_none_is_wanted(make_run: Any, command: Any) -> None:
    folder = make_run()
    assert command("report", folder, "--cards", 0).exit_code == 0
    assert 'class="card"' not in (folder / "report.html").read_text(encoding="utf-8")


def test_an_empty_folder_is_one_clear_line(command: Any, tmp_path: Path) -> None:
    result = command("report", tmp_path)
    assert result.exit_code == 1
    assert "nothing to report" in result.output
    assert "Traceback" not in result.output
