"""Where the work on the pictures is done: in this process, in many on this machine, or on a Ray cluster.

An engine maps a function over items and yields the results as they come, in any order.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, Protocol, TypeVar

from medeyes_verl.extras import require

Item = TypeVar("Item")
Result = TypeVar("Result")
EngineName = Literal["local", "ray"]

_ITEMS_WAITING = 2
"""How many items each worker may have in store: enough never to wait, few enough to keep memory bounded."""


class Engine(Protocol):
    """Maps a function that can be sent to another process over items that can."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]: ...


@contextmanager
def local_engine(workers: int) -> Iterator[Engine]:
    """`workers` processes on this machine, started when they are first needed; 1 means this very process."""
    if workers == 1:
        yield _in_this_process
        return
    # Not forked: a child must not share the file positions of the archives its parent has open.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)

    def run(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        running: set[Future[Result]] = set()
        for item in items:
            running.add(pool.submit(function, item))
            if len(running) >= workers * _ITEMS_WAITING:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)

    try:
        yield run
    finally:
        pool.shutdown(cancel_futures=True)


def _in_this_process(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    return map(function, items)


def _end_with_parent() -> None:
    """A worker leaves interrupts to its parent, and does not outlive one that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # only ever called in a child

    def wait_for_its_end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_its_end, daemon=True).start()


def ray_engine() -> Engine:
    """Ray Data on the cluster this process belongs to, or on one started here.

    Source and output must lie on a file system that every node sees under the same path. Raises ModuleNotFoundError
    where Ray is not installed.
    """
    require("ray")
    # imported here, so that reading and writing rows never needs Ray
    import ray
    import ray.data as ray_data

    def run(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        if not ray.is_initialized():
            ray.init(log_to_driver=False)
        ray_data.DataContext.get_current().enable_progress_bars = False
        waiting = [{"item": item} for item in items]
        if not waiting:
            return
        # One block an item: what is done stays done if the run is killed.
        results = ray_data.from_items(waiting, override_num_blocks=len(waiting)).map(
            lambda row: {"outcome": _attempt(function, row["item"])}
        )
        for row in results.iter_rows():
            result, error = row["outcome"]
            if error is not None:
                raise error
            yield result

    return run


def _attempt(function: Callable[[Item], Result], item: Item) -> tuple[Result | None, Exception | None]:
    """The result, or the error as a value: Ray Data would wrap it so that a full disk could not be told from a bug."""
    try:
        return function(item), None
    except Exception as error:
        return None, error


def make_engine(name: EngineName, workers: int) -> AbstractContextManager[Engine]:
    """The engine of that name for the length of a `with` block."""
    return nullcontext(ray_engine()) if name == "ray" else local_engine(workers)
