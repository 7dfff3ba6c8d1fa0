"""Identifiers that are unique: experts, evaluation and resumption look a question up by its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from medeyes_verl.data.audit import IndexedRow

CLASH = "id of different questions, made distinct by a digest of their content"
REPETITION = "question that occurs again under its id, kept and numbered (--drop-duplicates drops it)"
_DIGITS = 8


def make_ids_distinct(index: Sequence[IndexedRow]) -> dict[str, list[str]]:
    """Change the ids that several written rows share; returns reason -> "old -> new" for each changed row.

    Different questions under one id, also in different splits, each get a digest of their content, so it does not
    matter which comes first. The same question again in one split gets a number. The same question in two splits keeps
    its id: the audit counts it as a leak.
    """
    changed: dict[str, list[str]] = defaultdict(list)
    groups: dict[str, list[IndexedRow]] = defaultdict(list)
    for row in index:
        if not row.dropped:
            groups[row.id].append(row)
    taken = set(groups)
    for name, rows in groups.items():
        if len({row.same for row in rows}) > 1:
            for row in rows:
                row.id = f"{name}-{row.same.hex()[:_DIGITS]}"
                changed[CLASH].append(f"{name} -> {row.id}")
        seen: dict[tuple[str, str], int] = defaultdict(int)
        for row in rows:
            base = row.id
            seen[row.split, base] += 1
            if seen[row.split, base] > 1:
                while (new := f"{base}-{seen[row.split, base]}") in taken:
                    seen[row.split, base] += 1
                row.id = new
                changed[REPETITION].append(f"{name} -> {new}")
    return dict(changed)
