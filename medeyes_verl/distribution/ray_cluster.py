"""Ray outside veRL: a cluster for the length of a `with` block, and workers that keep what is dear to make."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from medeyes_verl.extras import require

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", covariant=True)


class Worker(Protocol[Item, Result]):
    """What each process keeps: made once there, asked for one item after another."""

    async def __call__(self, item: Item, /) -> Result:
        """The result of one item."""
        ...


@contextmanager
def ray_cluster(**options: Any) -> Iterator[Any]:
    """Yield the module `ray`, connected to the cluster in RAY_ADDRESS or to one started here, and disconnect after.

    Args:
        options: for `ray.init`.

    Raises:
        ModuleNotFoundError: Ray is not installed.
    """
    require("ray")
    import ray

    if "RAY_ADDRESS" not in os.environ:
        options.setdefault("include_dashboard", False)
    ray.init(ignore_reinit_error=True, log_to_driver=False, **options)
    try:
        yield ray
    finally:
        ray.shutdown()


def over_workers(
    make_worker: Callable[[], Worker[Item, Result]], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Yield the result of each item, in the order in which they are done.

    `items` is read only as workers become free. An error in a worker is raised here.

    Args:
        make_worker: called once in each Ray actor; must be picklable.
        items: picklable.
        workers: number of Ray actors, one CPU each.

    Raises:
        ModuleNotFoundError: Ray is not installed.
    """
    with ray_cluster() as ray:
        actor: Any = ray.remote(num_cpus=1)(_Actor)
        idle = [actor.remote(make_worker) for _ in range(workers)]
        busy: dict[Any, Any] = {}
        waiting = iter(items)
        while True:
            while idle:
                try:
                    item = next(waiting)
                except StopIteration:
                    break
                worker = idle.pop()
                busy[worker.run.remote(item)] = worker
            if not busy:
                return
            done = ray.wait(list(busy))[0][0]
            idle.append(busy.pop(done))
            yield ray.get(done)


class _Actor:
    def __init__(self, make_worker: Callable[[], Worker[Any, Any]]) -> None:
        self._worker = make_worker()

    async def run(self, item: Any) -> Any:
        # Asynchronous: Ray then runs everything of an actor in one event loop, which HTTP clients are bound to.
        return await self._worker(item)
