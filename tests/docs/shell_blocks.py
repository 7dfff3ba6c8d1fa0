"""The shell lines of the documentation, and what each block of them needs.

A block is a fenced ```bash block. The line before its fence says how it is tested, in a comment that no reader sees:

    <!-- run: cpu -->             run line by line, in order, in one clean folder
    <!-- run: trained -->         the same in a folder where a finished run stands at OUT and at quickstart's place
    <!-- run: compose -->         not run: options are parsed, configurations composed and checked
    <!-- run: never: reason -->   not run for the reason given; options are parsed all the same
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS = ("cpu", "trained", "compose", "never")
PROGRAMS = ("medeyes-verl", "python", "python3", "bash", "pip", "vllm", "ray", "git", "apt-get")
_FENCE = re.compile(r"^\s*(```+|~~~+)\s*(.*)$")
_MARK = re.compile(r"^\s*<!-- run: (\w+)(?:: (.+))? -->\s*$")
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of shell lines."""

    page: Path
    line: int
    needs: str
    """One of NEEDS; "" where the page does not say."""
    reason: str
    commands: tuple[str, ...]
    """Continued lines joined, without comments and empty lines."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> tuple[list[Block], list[str]]:
    """The blocks of a page, and a sentence for each place that hides shell lines from this test."""
    blocks, complaints = [], []
    lines = page.read_text(encoding="utf-8").splitlines()
    name = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            if lines[number].startswith("    ") and is_command(lines[number].strip()):
                complaints.append(f"{name}:{number + 1}: write shell lines as a ```bash block with its marking")
            number += 1
            continue
        start, language = number, fence[2].strip()
        body = []
        number += 1
        while number < len(lines) and not lines[number].strip().startswith(fence[1]):
            body.append(lines[number])
            number += 1
        number += 1
        commands = tuple(_commands(body))
        if language != "bash":
            if not language or language in ("sh", "shell", "console", "zsh") or any(map(is_command, commands)):
                complaints.append(
                    f"{name}:{start + 1}: shell lines belong into a ```bash block, all else names a language"
                )
            continue
        mark = _MARK.match(lines[start - 1]) if start else None
        needs, reason = (mark[1], mark[2] or "") if mark else ("", "")
        blocks.append(Block(page, start + 1, needs, reason, commands))
    return blocks, complaints


def spans_of(page: Path) -> list[str]:
    """The inline code of a page, blocks left out."""
    spans, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            spans += [match[1] for match in _SPAN.finditer(line)]
    return spans


def is_command(text: str) -> bool:
    """Whether a line starts one of PROGRAMS, after assignments of its environment."""
    words = text.removeprefix("$ ").split()
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    return len(words) > 1 and words[0].rsplit("/", 1)[-1] in PROGRAMS


def _commands(lines: list[str]) -> list[str]:
    joined = "\n".join(lines).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.strip().startswith("#")]
