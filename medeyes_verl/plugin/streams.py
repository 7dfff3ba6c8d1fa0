"""Which stream a row belongs to, and how that is told to parts of veRL that only see a prompt id."""

from collections.abc import Iterable, Mapping
from typing import Any

ON_POLICY, EXPERT = "on_policy", "expert"
SEPARATOR = "#"
TRAINER_MODES = ("medeyes_sync", "medeyes_colocate_async", "medeyes_separate_async")
OUR_MODES = f"trainer.v1.trainer_mode to {TRAINER_MODES[0]} (or {', '.join(TRAINER_MODES[1:])})"
MODE_MARK = "medeyes_mode"
"""Below ``trainer.v1``: which of our modes runs, for processes that get the configuration after our trainer has put
veRL's own mode name back."""


class StreamsUnknownError(ValueError):
    """A part that needs the stream of each row is used under a trainer that knows no streams."""


def labelled(uid: str, stream: str) -> str:
    """The prompt id as an advantage estimator gets it: ``<uid>#<stream>``."""
    return f"{uid}{SEPARATOR}{stream}"


def split_labels(index_B: Iterable[object]) -> tuple[list[str], list[bool]]:
    """Return the prompt ids and, for each, whether the row is an expert's. Raises StreamsUnknownError."""
    prompts, experts = [], []
    for label in map(str, index_B):
        uid, separator, stream = label.rpartition(SEPARATOR)
        if not separator or stream not in (ON_POLICY, EXPERT):
            raise StreamsUnknownError(
                f"the advantage estimator medeyes_dual_stream got the prompt id {label!r} without a stream: the "
                f"trainer in use does not say which rows are experts'. Set {OUR_MODES}; "
                "or algorithm.adv_estimator=grpo, which is what this run would have computed. A trainer of your own "
                "labels its ids with medeyes_verl.plugin.streams.labelled"
            )
        prompts.append(uid)
        experts.append(stream == EXPERT)
    return prompts, experts


def stream_of(extra_fields: Mapping[str, object]) -> str:
    """Return the stream a row's agent loop named; a loop that names none is the policy's own. Raises ValueError."""
    stream = extra_fields.get("stream") or ON_POLICY
    if stream not in (ON_POLICY, EXPERT):
        raise ValueError(
            f"the agent loop set extra_fields['stream'] to {stream!r}; use {ON_POLICY!r}, {EXPERT!r} or no such key"
        )
    return str(stream)


def knows_streams(config: Any) -> bool:
    """Whether the run's trainer is one of ours; told by its mode, or by the mark it leaves."""
    v1 = config.trainer.get("v1") or {}
    return v1.get("trainer_mode") in TRAINER_MODES or v1.get(MODE_MARK) is not None
