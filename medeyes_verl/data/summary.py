"""What a run did, counted and named: `summary.json` beside the rows, and a table on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medeyes_verl.data.atomic import write_json
from medeyes_verl.data.audit import SPLITS, IndexedRow, Leak
from medeyes_verl.data.near import NearCopy
from medeyes_verl.data.parts import Problem
from medeyes_verl.data.record import Record

SUMMARY_FILE = "summary.json"
_NAMED_ON_THE_TERMINAL = 5


@dataclass(slots=True)
class SplitCount:
    """One split. `rows` were written, of `read` questions; the other counters divide the written rows."""

    read: int = 0
    rows: int = 0
    question_types: dict[str, int] = field(default_factory=dict)
    answer_types: dict[str, int] = field(default_factory=dict)
    images: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> the identifiers of the questions left out for it."""

    def leave_out(self, reason: str, name: str) -> None:
        self.left_out.setdefault(reason, []).append(name)


@dataclass(slots=True)
class Summary:
    """A run in figures.

    Attributes:
        leaks: what splits share in the source.
        leaks_written: what they still share in the files that were written.
        near_copies: pictures of an earlier split that look like one of a later split.
        tidied: how often what was done to the text of questions and answers.
        missing_files: files of the source that are absent, by --allow-missing.
        changed_ids: reason -> "old -> new" for each row whose id another row had.
        notes: what else a reader has to say of its source -> what it concerns.
    """

    data_source: str
    source: str
    splits: dict[str, SplitCount] = field(default_factory=lambda: {split: SplitCount() for split in SPLITS})
    tidied: dict[str, int] = field(default_factory=dict)
    missing_files: list[str] = field(default_factory=list)
    changed_ids: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    leaks: list[Leak] = field(default_factory=list)
    leaks_written: list[Leak] = field(default_factory=list)
    near_copies: list[NearCopy] = field(default_factory=list)
    images: int = 0
    image_bytes: int = 0
    parts: int = 0
    parts_resumed: int = 0
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        return sum(count.rows for count in self.splits.values())

    def count_record(self, record: Record) -> None:
        """Counts a question as read, and as left out where its reader says so."""
        count = self.splits[record.split]
        count.read += 1
        for note in record.notes:
            self.tidied[note] = self.tidied.get(note, 0) + 1
        if record.left_out:
            count.leave_out(record.left_out, record.name)

    def count_problems(self, problems: Iterable[Problem]) -> None:
        """Counts questions whose pictures could not be had."""
        for problem in problems:
            self.splits[problem.split].leave_out("picture missing or unreadable", f"{problem.id} ({problem.reason})")

    def count_dropped(self, index: Sequence[IndexedRow]) -> None:
        """Counts rows dropped as duplicates or leaks."""
        for row in index:
            if row.dropped:
                self.splits[row.split].leave_out(row.dropped, row.id)

    def write(self, folder: Path) -> None:
        plain = asdict(self)
        plain["near_copies"] = [copy._asdict() for copy in self.near_copies]
        write_json(folder / SUMMARY_FILE, plain)

    def show(self, console: Console) -> None:
        console.print(self._table())
        for split, count in self.splits.items():
            for reason, names in count.left_out.items():
                console.print(f"left out of {split}: {len(names)} × {escape(reason)}: {escape(_first(names))}")
        for name in self.missing_files:
            console.print(f"[yellow]missing file[/], allowed by --allow-missing: {escape(name)}")
        for reason, names in (*self.changed_ids.items(), *self.notes.items()):
            console.print(f"{len(names)} × {reason}: {escape(_first(names))}")
        for note, times in self.tidied.items():
            console.print(f"tidied: {times} × {note}")
        for leak in self.leaks:
            console.print(("[yellow]leak[/]: " if leak.shared_pictures else "no leak: ") + leak.sentence())
        if self.leaks_written != self.leaks:
            for leak in self.leaks_written:
                console.print("as written: " + leak.sentence())
        if self.near_copies:
            bits = self.near_copies[0].bits
            console.print(f"near-copies of images across splits: {len(self.near_copies)}, the nearest by {bits} bits")
        if self.splits["train"].rows and not self.splits["val"].rows:
            console.print(
                "[yellow]no val.parquet[/], which the recipes validate on: add --val-fraction 0.05, or give main_ppo "
                "data.val_files=…/test.parquet"
            )
        console.print(
            f"{self.rows} rows, {self.images} images, {self.image_bytes / 1e6:.1f} MB, {self.seconds:.1f} s"
            + (f"; {self.parts_resumed} of {self.parts} parts were there already" if self.parts_resumed else "")
        )

    def _table(self) -> Table:
        counts = {split: count for split, count in self.splits.items() if count.read or count.rows}
        types = sorted({name for count in counts.values() for name in count.question_types})
        table = Table(title=f"{self.data_source} from {escape(self.source)}")
        for name in ("split", "read", "left out", "rows", *types, "images"):
            table.add_column(name, justify="left" if name == "split" else "right")
        for split, count in counts.items():
            out = sum(len(names) for names in count.left_out.values())
            figures = [
                count.read,
                out,
                count.rows,
                *(count.question_types.get(name, 0) for name in types),
                count.images,
            ]
            table.add_row(split, *map(str, figures))
        return table


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED_ON_THE_TERMINAL]) + (", …" if names[_NAMED_ON_THE_TERMINAL:] else "")
