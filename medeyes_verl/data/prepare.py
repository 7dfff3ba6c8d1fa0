"""The spine of every benchmark: from what a reader yields to parquet files, pictures and a summary.

Four steps, each with progress: walk through the questions (what is there, what is missing); store pictures
and make rows, in parallel, in parts that survive a kill; audit what splits share; write the files. Run
again after an interruption, it goes on where it was.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from medeyes_verl.data import audit
from medeyes_verl.data.atomic import sweep_temporaries
from medeyes_verl.data.identity import make_ids_distinct
from medeyes_verl.data.image_source import PictureSource, SourceError
from medeyes_verl.data.image_store import picture_path
from medeyes_verl.data.near import find_near_copies
from medeyes_verl.data.output import ImageForm, write_splits
from medeyes_verl.data.parts import PartWork, is_done, part_problems, plan_parts, write_part
from medeyes_verl.data.record import Record
from medeyes_verl.data.summary import Summary
from medeyes_verl.distribution.engine import Engine, EngineName, make_engine

WORK_FOLDER = ".work"
_NAMED = 5


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """How a benchmark is prepared.

    Attributes:
        output: the folder for train.parquet, val.parquet, test.parquet, images/ and summary.json.
        images: how rows refer to their pictures.
        allow_missing: leave out, and count, questions whose pictures are missing or damaged, instead of stopping.
        drop_duplicates: keep one of several equal questions, and none in train that a later split asks.
        drop_leaks: drop rows of an earlier split whose picture is in a later one.
        strict: stop before writing when splits share pictures or questions.
        val_fraction: share of the training pictures, with all their questions, that becomes val.parquet.
        seed: decides which.
        expert_ids: give training rows the key of their expert trajectories, "<benchmark>/<id of the question>".
        near_copies: also look for near-copies of pictures across splits.
        engine, workers: where the work on pictures is done.
    """

    output: Path
    images: ImageForm = "absolute"
    allow_missing: bool = False
    drop_duplicates: bool = False
    drop_leaks: bool = False
    strict: bool = False
    val_fraction: float = 0.0
    seed: int = 0
    expert_ids: bool = False
    near_copies: bool = True
    engine: EngineName = "local"
    workers: int = 1


def prepare(
    data_source: str,
    source: str,
    records: Callable[[], Iterable[Record]],
    settings: PrepareSettings,
    console: Console,
    *,
    missing_files: Sequence[str] = (),
    notes: dict[str, list[str]] | None = None,
) -> Summary:
    """Writes a benchmark's files; `records` opens its source anew each time it is called.

    `missing_files` are known to be absent and allowed to be; the summary names them, and `notes` (what -> names).

    Raises SourceError when the source cannot be used, when pictures are missing or damaged (unless that is allowed),
    or, with `strict`, when splits leak.
    """
    started = time.monotonic()
    output = settings.output.resolve()
    work = output / WORK_FOLDER
    root = work if settings.images == "embedded" else output
    summary = Summary(data_source, source, missing_files=list(missing_files), notes=notes or {})
    with (
        _sole_writer(work),
        make_engine(settings.engine, settings.workers) as engine,
        _progress(console) as progress,
    ):
        sweep_temporaries(root)
        _survey(records, settings, summary, progress)
        parts = _make_parts(plan_parts(data_source, records(), work, root), engine, summary, progress)
        _check_problems(parts, settings, summary)
        index = audit.index_rows(parts)
        _audit(index, settings, summary, engine, root, progress)
        if settings.strict:
            _refuse_leaks(summary)
        task = progress.add_task("writing", total=len(index))
        write_splits(parts, index, output, root=root, images=settings.images, expert_ids=settings.expert_ids)
        progress.update(task, completed=len(index))
    _count(index, root, summary)
    summary.seconds = time.monotonic() - started
    summary.write(output)
    shutil.rmtree(work)
    return summary


def _survey(
    records: Callable[[], Iterable[Record]], settings: PrepareSettings, summary: Summary, progress: Progress
) -> None:
    """Counts the questions and finds the pictures that are not there before any work is done."""
    task = progress.add_task("questions", total=None)
    seen: dict[PictureSource, bool] = {}
    unusable = 0
    for record in progress.track(records(), task_id=task):
        summary.count_record(record)
        if not record.left_out:
            for picture in record.pictures:
                if picture not in seen:
                    seen[picture] = picture.present()
            unusable += not all(seen[picture] for picture in record.pictures)
    total = sum(count.read for count in summary.splits.values())
    progress.update(task, total=total)
    if not total:
        raise SourceError(
            f"{summary.source} holds no questions of {summary.data_source}; see --help for the layouts it knows. "
            "Arrow files of save_to_disk are not among them: write them anew with to_parquet"
        )
    missing = [str(picture) for picture, present in seen.items() if not present]
    if missing and not settings.allow_missing:
        raise SourceError(
            f"{len(missing)} of {len(seen)} pictures of {unusable} questions are missing, first "
            f"{', '.join(missing[:_NAMED])}. Put them there, or leave these questions out with --allow-missing"
        )


def _make_parts(works: Iterable[PartWork], engine: Engine, summary: Summary, progress: Progress) -> list[str]:
    """Makes the parts that are not there yet; returns all of them in the order of the records."""
    rows = sum(count.read - sum(map(len, count.left_out.values())) for count in summary.splits.values())
    task = progress.add_task("pictures and rows", total=rows)
    order: list[str] = []
    sizes: dict[str, int] = {}

    def missing() -> Iterator[PartWork]:
        for work in works:
            order.append(work.target)
            if is_done(work):
                summary.parts_resumed += 1
                progress.advance(task, len(work.records))
            else:
                sizes[work.target] = len(work.records)
                yield work

    for target in engine(write_part, missing()):
        progress.advance(task, sizes[target])
    summary.parts = len(order)
    return order


def _check_problems(parts: Iterable[str], settings: PrepareSettings, summary: Summary) -> None:
    problems = [problem for part in parts for problem in part_problems(part)]
    if problems and not settings.allow_missing:
        first = "; ".join(problem.reason for problem in problems[:_NAMED])
        raise SourceError(
            f"the pictures of {len(problems)} questions cannot be used, first {first}. What was done is kept: mend "
            "them and run again, or leave these questions out with --allow-missing"
        )
    summary.count_problems(problems)


def _audit(
    index: Sequence[audit.IndexedRow],
    settings: PrepareSettings,
    summary: Summary,
    engine: Engine,
    root: Path,
    progress: Progress,
) -> None:
    """Finds what splits share, and marks what is dropped or moved."""
    summary.leaks = audit.find_leaks(index)
    if settings.near_copies:
        task = progress.add_task("near-copies", total=len({name for row in index for name in row.pictures}))
        summary.near_copies = find_near_copies(index, root, engine, lambda done: progress.advance(task, done))
    if settings.drop_duplicates:
        audit.drop_duplicates(index)
    if settings.drop_leaks:
        audit.drop_leaks(index)
    summary.count_dropped(index)
    if settings.val_fraction:
        audit.carve_validation(index, settings.val_fraction, settings.seed)
    summary.changed_ids = make_ids_distinct(index)
    summary.leaks_written = audit.find_leaks(index)
    if not any(not row.dropped for row in index):
        summary.write(settings.output)
        raise SourceError(f"no question is left to write; {settings.output / 'summary.json'} says why for each")


def _refuse_leaks(summary: Summary) -> None:
    leaks = [leak for leak in summary.leaks_written if leak.shared_pictures or leak.shared_questions]
    if leaks:
        raise SourceError(
            "; ".join(leak.sentence() for leak in leaks) + ". Nothing was written because of --strict; "
            "--drop-leaks drops the rows of the earlier split, --drop-duplicates equal questions"
        )


def _count(index: Sequence[audit.IndexedRow], root: Path, summary: Summary) -> None:
    """Counts what was written."""
    names: set[str] = set()
    for split in audit.SPLITS:
        count = summary.splits[split]
        rows = audit.kept(index, split)
        pictures = audit.pictures_of(index, split)
        names |= pictures
        count.rows, count.images = len(rows), len(pictures)
        count.question_types = dict(Counter(row.question_type for row in rows))
        count.answer_types = dict(Counter(row.answer_type for row in rows if row.answer_type))
    summary.images = len(names)
    summary.image_bytes = sum(picture_path(root, name).stat().st_size for name in names)


@contextmanager
def _sole_writer(work: Path) -> Iterator[None]:
    """Holds the output folder against a second run; the lock goes with the process, however it ends."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SourceError(
                f"another run is writing to {work.parent}; wait for it or give another --output"
            ) from error
        yield


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
