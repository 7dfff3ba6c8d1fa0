"""No shell line of the documentation escapes: each block is marked, each command, option and key exists."""

import re
import subprocess
from pathlib import Path

import pytest

from shell_blocks import NEEDS, PAGES, ROOT, Block, blocks_of, is_command, spans_of
from shell_commands import DocsError, check_command, check_run

BLOCKS = [block for page in PAGES for block in blocks_of(page)[0]]
EXAMPLES = sorted((ROOT / "examples").glob("*.sh"))
OVERRIDE = re.compile(r"\+?(medeyes|algorithm|actor_rollout_ref|reward|trainer|data)(\.\w+)+=\S+|'?\+medeyes=\S+")
GIVEN = ["medeyes.data=DATA", "medeyes.model=MODEL"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_needs(page: Path) -> None:
    blocks, complaints = blocks_of(page)
    assert complaints == []
    for block in blocks:
        assert block.needs in NEEDS, f"{block}: put <!-- run: cpu | trained | compose | never: reason --> before it"
        assert (block.needs == "never") == bool(block.reason), f"{block}: a reason belongs to never, and to it alone"
        assert block.commands, f"{block}: an empty block"


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_command_can_be_given(block: Block) -> None:
    for command in block.commands:
        check_command(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_settings_within_sentences_exist(page: Path) -> None:
    for span in spans_of(page):
        if "…" in span or "|" in span:
            continue  # says itself that it is no whole line
        if is_command(span):
            check_command(span.removeprefix("$ "), whole=False)
        elif OVERRIDE.fullmatch(span):
            base = [] if span.lstrip("'").startswith("+medeyes=") else ["+medeyes=qwen2_5_vl_3b"]
            check_run([*base, *GIVEN, span.strip("'")])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_a_valid_run(example: Path, tmp_path: Path) -> None:
    """Bash runs the script itself; in the place of Python stands a program that writes down what it is given."""
    (tmp_path / "python3").write_text('#!/usr/bin/env bash\nprintf "%s\\0" "$@" >"$GIVEN"\n')
    (tmp_path / "python3").chmod(0o755)
    given = tmp_path / "given"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DATA": "DATA", "NODES": "2", "GIVEN": str(given)}
    environment |= {"REWARD": "reward.py", "TOOLS": "tools.yaml"}
    subprocess.run(["bash", str(example)], env=environment, check=True)
    module, *overrides = given.read_text().removesuffix("\0").split("\0")[1:]
    assert module == "verl.trainer.main_ppo"
    assert check_run(overrides).algorithm.adv_estimator == "medeyes_dual_stream"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_commands_in_an_examples_comments_exist(example: Path) -> None:
    for line in example.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if line.startswith("#  ") and is_command(text) and "…" not in text:
            check_command(text)


PAGE = """
Text.

<!-- run: cpu -->
```bash
# a comment
medeyes-verl report OUT \\
    --cards 5   # more
```

{rest}
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.md"


def test_lines_are_joined_and_comments_left_out(page: Path) -> None:
    page.write_text(PAGE.format(rest=""))
    (block,), complaints = blocks_of(page)
    assert (block.needs, len(block.commands), complaints) == ("cpu", 1, [])
    check_command(block.commands[0])


@pytest.mark.parametrize(
    "hidden",
    [
        "```\nmedeyes-verl report OUT\n```",
        "```sh\nls\n```",
        "```text\npython -m verl.trainer.main_ppo\n```",
        "    medeyes-verl report OUT",
        "~~~\nbash scripts/test.sh\n~~~",
    ],
)
def test_a_shell_line_elsewhere_is_found(page: Path, hidden: str) -> None:
    page.write_text(PAGE.format(rest=hidden))
    assert len(blocks_of(page)[1]) == 1


def test_a_block_without_marking_is_found(page: Path) -> None:
    page.write_text(PAGE.format(rest="```bash\nmedeyes-verl report OUT\n```"))
    assert [block.needs for block in blocks_of(page)[0]] == ["cpu", ""]


@pytest.mark.parametrize(
    "wrong",
    [
        "curl http://example.org",
        "medeyes-verl reprt OUT",
        "medeyes-verl report OUT --pages 3",
        "medeyes-verl experts build --data d --store s --oracle nobody",
        "medeyes-verl compare a b c",
        "python data_preprocess/absent.py",
        "python data_preprocess/vqa_rad.py --source A --ouput B",
        "python -m no_such_module",
        "bash scripts/quickstart.sh --stepz 3",
        "pip install -e '.[gpuu]'",
        "python -m verl.trainer.main_ppo +medeyes=qwen2_5_vl_3b medeyes.dato=DATA",
        "python -m verl.trainer.main_ppo +medeyes=qwen2_5_vl_3b +algorithm.medeyes.off_policy_clp=false",
        "python -m verl.trainer.main_ppo +medeyes=qwen2_5_vl_3b actor_rollout_ref.rollout.custom.medeyes.n_expert=99",
    ],
)
def test_a_command_nobody_can_run_is_found(wrong: str) -> None:
    with pytest.raises(DocsError):
        check_command(wrong)
