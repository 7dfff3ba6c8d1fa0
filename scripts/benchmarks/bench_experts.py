"""How fast experts are made and found: ratios within one run, and how they grow with size.

    python scripts/benchmarks/bench_experts.py sampler     trajectories per second and core, annotation oracle
    python scripts/benchmarks/bench_experts.py endpoint    our client's share of a bare load generator's requests
    python scripts/benchmarks/bench_experts.py store       lookups per second and memory per worker, by size
    python scripts/benchmarks/bench_experts.py formats     SQLite, LMDB, Lance and Arrow files as the store's format

Each prints a line of JSON a measurement.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_args

import httpx
import store_candidates  # beside this file
import typer
from PIL import Image

from medeyes_verl.data.row import Region
from medeyes_verl.expert.build import build
from medeyes_verl.expert.framing import PresetName
from medeyes_verl.expert.oracles.annotations import AnnotationOracle
from medeyes_verl.expert.oracles.client import HttpSettings
from medeyes_verl.expert.oracles.endpoint import EndpointOracle, EndpointSettings
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.sampler import sample, sampler_preset
from medeyes_verl.expert.store import StoreWriter, TrajectoryStore, store_file
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.gaze.geometry import Box, Size

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=__doc__)
PER_QUESTION = 6
SAMPLE = 1_000
WARM_UP_SECONDS = 2.0


@app.command()
def sampler(questions: Annotated[int, typer.Option(help="how many, for each preset")] = 1_000) -> None:
    """GRN, CVS, checks and the store's write: trajectories per second of processor time."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "p.png"
        picture.touch()
        asked = list(_questions(questions, str(picture), Size(448, 448)))
        for name in get_args(PresetName):
            settings = sampler_preset(name)
            oracle = AnnotationOracle(settings.episode.view, settings.episode.crop)
            start = time.process_time()
            with StoreWriter(Path(folder) / name) as writer:
                counts = asyncio.run(
                    build(asked, lambda each: sample(each, oracle, settings, 0, _is_right), writer)  # noqa: B023
                )
            seconds = time.process_time() - start
            _say("sampler", preset=name, trajectories=counts.trajectories, per_second=counts.trajectories / seconds,
                 shortfall=counts.shortfall)  # fmt: skip


@app.command()
def endpoint(
    latency: Annotated[float, typer.Option(help="seconds a request takes the server")] = 0.2,
    slots: Annotated[int, typer.Option(help="requests the server works on at once")] = 16,
    seconds: Annotated[float, typer.Option(help="length of each of the two measurements")] = 8.0,
    side: Annotated[int, typer.Option(help="of the pictures sent, in pixels")] = 336,
    rounds: Annotated[int, typer.Option(help="alternations of the two")] = 3,
) -> None:
    """A server in a process of its own that answers after a fixed time, asked by us and by a bare loop in turn."""
    port = multiprocessing.get_context("spawn").Queue()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(port, latency, slots), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{port.get(timeout=60)}/v1/chat/completions"
        with tempfile.TemporaryDirectory() as folder:
            for number in range(64):
                Image.effect_noise((1024, 1024), 20 + number).save(Path(folder) / f"{number}.png")
            for _ in range(rounds):
                bare, bare_ms = asyncio.run(_bare_load(url, slots, seconds, side))
                ours, ours_ms = asyncio.run(_our_load(url, slots, seconds, side, Path(folder)))
                _say("endpoint", bare_per_second=bare, ours_per_second=ours, share=ours / bare, ceiling=slots / latency,
                     bare_cpu_ms=bare_ms, ours_cpu_ms=ours_ms)  # fmt: skip
    finally:
        server.terminate()
        server.join()


@app.command()
def store(
    sizes: Annotated[list[int] | None, typer.Option("--trajectories", help="may be given again")] = None,
    workers: int = 8,
    seconds: float = 4.0,
) -> None:
    """Random lookups from several processes over stores of growing size."""
    for size in sizes or [10_000, 100_000, 1_000_000]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "store"
            written = _fill(path, size // PER_QUESTION)
            context = multiprocessing.get_context("spawn")
            results = context.Queue()
            readers = [
                context.Process(target=_look_up, args=(path, size // PER_QUESTION, seconds, seed, results))
                for seed in range(workers)
            ]
            for reader in readers:
                reader.start()
            found = [results.get(timeout=300) for _ in readers]
            for reader in readers:
                reader.join()
            _say(
                "store", trajectories=size, megabytes=store_file(path).stat().st_size / 1e6,
                written_per_second=written, workers=workers,
                lookups_per_second=sum(each["lookups"] for each in found) / seconds,
                cpu_ms_a_lookup=1e3 * sum(each["busy"] for each in found) / sum(each["lookups"] for each in found),
                misses_per_second=sum(each["misses"] for each in found) / found[0]["miss_seconds"],
                open_ms=1e3 * max(each["open"] for each in found),
                private_megabytes=max(each["private"] for each in found) / 1e6,
                shared_megabytes=max(each["shared"] for each in found) / 1e6,
            )  # fmt: skip


@app.command()
def formats(
    questions: Annotated[int, typer.Option(help="rows, one a question of six trajectories")] = 20_000,
    names: Annotated[list[str] | None, typer.Option("--format", help="may be given again [default: all]")] = None,
    seconds: Annotated[float, typer.Option(help="of each reading")] = 3.0,
    workers: int = 8,
    damages: Annotated[int, typer.Option(help="stores of 300 rows with one random damage each")] = 500,
) -> None:
    """What the store could be kept in: writes, reads, misses, size, random damage, kill -9 while writing."""
    rng = random.Random(0)
    bodies = [
        zlib.compress(json.dumps([each.as_dict() for each in _trajectories("", rng)]).encode(), 1)
        for _ in range(SAMPLE)
    ]
    rows = [(_id(number), store_candidates.checked(bodies[number % SAMPLE])) for number in range(questions)]
    for figures in store_candidates.report(names or list(store_candidates.CANDIDATES), rows, seconds, workers, damages):
        print(json.dumps({"bench": "formats", "questions": questions, **figures}), flush=True)


def _questions(count: int, picture: str, size: Size) -> Iterator[Question]:
    rng = random.Random(0)
    for number in range(count):
        boxes = []
        for _ in range(2):
            side, x, y = rng.uniform(56, 80), rng.uniform(0, 360), rng.uniform(0, 360)
            boxes.append(Box(x, y, x + side, y + side))
        regions = (Region(boxes[0], "ring", target=True), Region(boxes[1], "decoy"))
        yield Question(f"q{number}", "What is the lesion?", "open", "ring", (), (picture,), (size,), regions)


def _is_right(question: Question, answer: str) -> bool:
    return answer == question.ground_truth


def _serve(port: Any, latency: float, slots: int) -> None:
    """The smallest server that holds a request for `latency` seconds, `slots` of them at a time."""
    located = {
        "thought": "x",
        "regions": [{"image": 1, "bbox_2d": [28, 28, 112, 112], "label": "a", "confidence": 0.5}],
    }
    assessed, answered = {"thought": "x", "label": "a", "confidence": 0.55}, {"thought": "x", "answer": "ring"}

    def body(request: bytes) -> bytes:
        said = located if b'\\"regions\\"' in request else answered if b'\\"answer\\"' in request else assessed
        return json.dumps({"choices": [{"message": {"content": json.dumps(said)}}], "usage": {}}).encode()

    async def main() -> None:
        free = asyncio.Semaphore(slots)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while head := await reader.readuntil(b"\r\n\r\n"):
                    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    request = await reader.readexactly(length)
                    async with free:
                        await asyncio.sleep(latency)
                    reply = body(request)
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(reply) + reply)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 26, backlog=1024)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def _bare_load(url: str, slots: int, seconds: float, side: int) -> tuple[float, float]:
    """A loop that posts one ready-made payload, of the size of ours, as often as it can."""
    payload = json.dumps({"messages": [{"content": "x" * (side * side)}], "regions": "regions"}).encode()
    stopped = False
    posted = 0
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=2 * slots)) as client:

        async def loop() -> None:
            nonlocal posted
            while not stopped:
                posted += 1
                await client.post(url, content=payload)

        loops = asyncio.gather(*(loop() for _ in range(2 * slots)))
        rates = await _steady_rate(lambda: posted, seconds)
        stopped = True
        await loops
    return rates


async def _our_load(url: str, slots: int, seconds: float, side: int, folder: Path) -> tuple[float, float]:
    """A whole build: pictures cut and encoded, replies read, walks made and stored; nothing cached."""
    http = HttpSettings(url, concurrency=2 * slots)
    oracle = EndpointOracle(EndpointSettings(http, "expert", bounds=PixelBounds(max_pixels=side**2)))
    stopped = False
    pictures = sorted(folder.glob("*.png"))

    def until_stopped() -> Iterator[Question]:
        for number in range(1_000_000):
            if stopped:
                return
            picture = str(pictures[number % len(pictures)])
            yield Question(f"q{number}", f"{number}?", "open", "ring", (), (picture,), (Size(1024, 1024),))

    with tempfile.TemporaryDirectory() as store, StoreWriter(Path(store) / "s") as writer:
        one_walk = replace(sampler_preset("paper"), n=1)
        running = asyncio.create_task(
            build(until_stopped(), lambda each: sample(each, oracle, one_walk, 0, _is_right), writer, 4 * slots)
        )
        rates = await _steady_rate(lambda: oracle.client.spent.requests, seconds)
        stopped = True
        await running
    await oracle.close()
    return rates


async def _steady_rate(count: Callable[[], int], seconds: float) -> tuple[float, float]:
    """Requests per second, and milliseconds of processor time a request, after a start that does not count."""
    await asyncio.sleep(WARM_UP_SECONDS)
    first, start, busy = count(), time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    done, busy = count() - first, time.process_time() - busy
    return done / (time.perf_counter() - start), 1e3 * busy / max(1, done)


def _fill(path: Path, questions: int) -> float:
    """A store of `questions` questions, a few of them different; trajectories per second of the writer's way in."""
    rng = random.Random(0)
    start = time.perf_counter()
    with StoreWriter(path) as writer:
        for number in range(SAMPLE):
            writer.add(_id(number), _trajectories(_id(number), rng), {"maker": "grn_cvs", "shortfall": 0})
        writer.commit()
        rate = SAMPLE * PER_QUESTION / (time.perf_counter() - start)
        # not all of them different: making a million trajectories is not what is measured here
        bodies = [[each.trajectories, each.record] for each in TrajectoryStore(path).entries()]
        for number in range(SAMPLE, questions):
            made, record = bodies[number % SAMPLE]
            writer.add(_id(number), [replace(each, expert_id=_id(number)) for each in made], record)
    return rate


def _id(number: int) -> str:
    return f"pmc_vqa-train-{number}"


def _trajectories(expert_id: str, rng: random.Random) -> list[Trajectory]:
    made = []
    for _ in range(PER_QUESTION):
        steps = tuple(
            ExpertStep("I look closer at the upper left of the picture.", Box(x, x, x + 100, x + 120), 1, 0.5)
            for x in (rng.randrange(400) for _ in range(3))
        )
        made.append(Trajectory(expert_id, steps, "That settles it.", "B", True, "grn_cvs"))
    return made


def _look_up(path: Path, questions: int, seconds: float, seed: int, results: Any) -> None:
    rng = random.Random(seed)
    before = _memory()
    start = time.perf_counter()
    reader = TrajectoryStore(path)
    opened = time.perf_counter() - start
    lookups = misses = 0
    end, busy = time.perf_counter() + seconds, time.process_time()
    while time.perf_counter() < end:
        for _ in range(100):
            assert len(reader.get(_id(rng.randrange(questions)))) == PER_QUESTION
        lookups += 100
    busy = time.process_time() - busy
    after = _memory()
    start = time.perf_counter()
    while time.perf_counter() - start < seconds / 4:
        for _ in range(100):
            assert reader.get(f"unknown-{rng.randrange(questions)}") == []
        misses += 100
    results.put(
        {
            "lookups": lookups,
            "busy": busy,
            "misses": misses,
            "miss_seconds": seconds / 4,
            "open": opened,
            "private": after["private"] - before["private"],
            "shared": after["shared"] - before["shared"],
        }
    )


def _memory() -> dict[str, int]:
    """Private (anonymous) and file-backed resident bytes of this process."""
    kilobytes = {"RssAnon": 0, "RssFile": 0}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in kilobytes:
            kilobytes[name] = int(value.split()[0])
    return {"private": kilobytes["RssAnon"] * 1024, "shared": kilobytes["RssFile"] * 1024}


def _say(name: str, **figures: float | str) -> None:
    rounded = {key: value if isinstance(value, str) else round(value, 3) for key, value in figures.items()}
    print(json.dumps({"bench": name, **rounded}), flush=True)


if __name__ == "__main__":
    app()
