"""A prompt as veRL's dataset hands it on: messages whose content is text, or parts of text and pictures."""

from collections.abc import Iterable, Mapping
from typing import Any


def pictures_of(messages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The parts that are pictures, in their order; ``image`` is a path, or a picture kept in the table."""
    parts = (part for message in messages if isinstance(message["content"], list) for part in message["content"])
    return [part for part in parts if part["type"] == "image"]
