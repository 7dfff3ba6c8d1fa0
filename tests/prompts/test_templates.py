"""The package's templates give the words they always gave; a folder of the user's is checked file by file at start."""

import json
from pathlib import Path

import pytest

from medeyes_verl.prompts.files import PHRASES, TEXTS
from medeyes_verl.prompts.templates import DEFAULT, PromptError, check_folder, digest, phrases, text
from tests.prompts.texts import NASTY, texts

GOLDEN = Path(__file__).parent / "golden.json"
SYSTEM = "{{ max_gazes }} {{ gaze }} {{ answer }}"


def test_the_package_says_byte_for_byte_what_it_said_before_it_had_templates() -> None:
    """The golden file was written by the release before, whose words stood in Python."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for name, said in texts().items():
        assert said == golden[name], name


def test_a_question_is_never_read_as_a_template() -> None:
    assert any(NASTY in said for said in texts()["locate"])
    assert not any("49" in said for said in texts()["locate"])


def test_the_package_has_every_file_and_every_name() -> None:
    assert {path.name for path in DEFAULT.iterdir()} == {*TEXTS, *PHRASES}
    for file, names in PHRASES.items():
        assert phrases(None, file).keys() == names.keys()
    check_folder(None)
    check_folder(str(DEFAULT))
    assert digest(None) is None


def test_what_a_folder_leaves_out_is_the_packages(tmp_path: Path) -> None:
    (tmp_path / "places.yaml").write_text("middle: centre of {{ image }}")
    folder = str(tmp_path)
    check_folder(folder)
    assert phrases(folder, "places.yaml")["middle"][0].render(image="it") == "centre of it"
    assert phrases(folder, "places.yaml")["left"][0].render(image="it") == "left part of it"
    assert text(folder, "oracle_system.j2").render() == text(None, "oracle_system.j2").render()
    before = digest(folder)
    (tmp_path / "places.yaml").write_text("middle: core of {{ image }}")
    assert digest(folder) != before is not None


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("system_promt.j2", SYSTEM, "system_promt.j2 is no file of a prompt folder; known are"),
        ("system_prompt.j2", SYSTEM + " {{ gazes }}", "system_prompt.j2: unknown placeholder gazes; known are"),
        ("system_prompt.j2", "{{ gaze }} {{ answer }}", r"system_prompt.j2: the placeholder \{\{ max_gazes \}\} is"),
        ("system_prompt.j2", SYSTEM + "{% if %}", "system_prompt.j2, line 1"),
        ("system_prompt.j2", SYSTEM + "{{ views[0].depth }}", "system_prompt.j2: UndefinedError"),
        ("system_prompt.j2", SYSTEM + "{{ frame.__class__.__mro__ }}", "system_prompt.j2: SecurityError"),
        ("system_prompt.j2", SYSTEM + "{% include '/etc/passwd' %}", "system_prompt.j2: TypeError"),
        ("system_prompt.j2", SYSTEM + "{{ 1 / 0 }}", "ZeroDivisionError"),
        ("oracle_system.j2", "{{ question }}", "oracle_system.j2: unknown placeholder question; known are none"),
        ("expert.yaml", "scam: [a]", "expert.yaml: unknown name 'scam'; known are scan"),
        ("expert.yaml", "look: [here]", r"expert.yaml: look: the placeholder \{\{ place \}\} is missing"),
        ("expert.yaml", "scan: ['{{ place }}']", "expert.yaml: scan: unknown placeholder place"),
        ("expert.yaml", "scan: []", "expert.yaml: scan must be a text or a list of texts"),
        ("expert.yaml", "scan: 3", "expert.yaml: scan must be a text"),
        ("expert.yaml", "scan: [a", "expert.yaml: not readable as YAML"),
        ("expert.yaml", "- a", "expert.yaml: a mapping from names to wordings"),
        ("expert.yaml", "scan: !!python/object/apply:os.system [ls]", "expert.yaml: not readable as YAML"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, file: str, content: str, said: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(PromptError, match=said):
        check_folder(str(tmp_path))


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="there is no such folder"):
        check_folder(str(tmp_path / "absent"))
    with pytest.raises(PromptError, match="holds none of"):
        check_folder(str(tmp_path))
    (tmp_path / "expert.yaml").write_bytes("scan: Überblick".encode("latin-1"))
    with pytest.raises(PromptError, match=r"expert\.yaml: not UTF-8"):
        check_folder(str(tmp_path))
