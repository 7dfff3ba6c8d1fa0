"""What pyproject.toml cannot say: the package's page has README.md's text with its relative links made absolute."""

import re
from pathlib import Path

from setuptools import setup

PROJECT_URL = "https://github.com/medeyes/medeyes_verl"

LINK = re.compile(r"(!?)\[((?:[^][]|\[[^]]*\])*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")
"""A Markdown link or image whose target is a path in the repository; its text may hold one pair of brackets."""


def absolute(match: "re.Match[str]") -> str:
    """The link to the same file in the repository; an image has to be its raw content."""
    image, text, path = match.groups()
    return f"{image}[{LINK.sub(absolute, text)}]({PROJECT_URL}/{'raw' if image else 'blob'}/main/{path})"


def long_description() -> str:
    readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    return LINK.sub(absolute, readme)


setup(
    long_description=long_description(),
    long_description_content_type="text/markdown",
    url=PROJECT_URL,
    project_urls={
        "Source": PROJECT_URL,
        "Documentation": f"{PROJECT_URL}/tree/main/docs",
        "Changelog": f"{PROJECT_URL}/blob/main/CHANGELOG.md",
        "Issues": f"{PROJECT_URL}/issues",
    },
)
