"""Which stream a row belongs to, and how that is told to parts of veRL that only see a prompt id."""

from collections.abc import Iterable

ON_POLICY, EXPERT = "on_policy", "expert"
SEPARATOR = "#"


def labelled(uid: str, stream: str) -> str:
    """The prompt id as an advantage estimator gets it: ``<uid>#<stream>``."""
    return f"{uid}{SEPARATOR}{stream}"


def split_labels(index_B: Iterable[object]) -> tuple[list[str], list[bool]]:
    """Prompt ids and, for each, whether the row is an expert's. An id without a label is on-policy."""
    prompts, experts = [], []
    for label in map(str, index_B):
        uid, separator, stream = label.rpartition(SEPARATOR)
        known = separator and stream in (ON_POLICY, EXPERT)
        prompts.append(uid if known else label)
        experts.append(bool(known) and stream == EXPERT)
    return prompts, experts
