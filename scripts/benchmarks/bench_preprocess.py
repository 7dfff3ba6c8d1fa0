"""How fast and how small preprocessing is, against the usual script, on a generated archive of PathVQA's shape.

    python scripts/benchmarks/bench_preprocess.py compare --folder DIR          # 32,632 questions, 4,289 pictures
    python scripts/benchmarks/bench_preprocess.py growth --folder DIR           # 1,000, 10,000 and 100,000 questions

The usual script is `datasets.map` with the picture in the row and `to_parquet`, as veRL's geo3k example does it. Both
read the same snapshot, with as many processes, each in a process of its own whose memory (the proportional set size
of all its processes, sampled) is recorded. Ratios count; figures are of the machine and of what else runs on it.
"""

from __future__ import annotations

import io
import json
import pickle
import resource
import shutil
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

QUESTIONS = 32_632
PICTURES = 4_289
DIFFERENT_PICTURES = 64
"""Drawn in earnest; the others differ from them in bytes after their end, which no decoder reads."""
PICTURE_SIZE = (640, 480)
ROWS_A_FILE = 8_192
ROWS_A_GROUP = 100
ROWS_WEIGHED = 32
SAMPLE_SECONDS = 0.5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()
Folder = Annotated[Path, typer.Option(help="Where to work; a few GB. What is made there is reused.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes for either side.")]


@app.command()
def compare(folder: Folder, questions: int = QUESTIONS, pictures: int = PICTURES, workers: Workers = 2) -> None:
    """Ours against the usual script: time, peak memory, bytes on disk, bytes a row carries."""
    source = make_snapshot(folder, questions, pictures)
    distinct = sum(len(picture) for picture in picture_bytes(pictures))
    ours = measured(folder / "ours", "ours", source, workers)
    usual = measured(folder / "usual", "usual", source, workers)
    for result in (ours, usual):
        result["rows_per_second"] = questions / result["seconds"]
        result["disk_over_distinct"] = disk_bytes(Path(result["output"])) / distinct
        result["row_bytes"] = carried_bytes(Path(result["output"]))
    table = Table(title=f"{questions} questions, {pictures} pictures of {distinct / 1e6:.0f} MB, {workers} processes")
    for name in ("", "ours", "usual", "ratio"):
        table.add_column(name, justify="left" if not name else "right")
    for label, key, digits in (
        ("seconds", "seconds", 1),
        ("processor seconds", "cpu_seconds", 1),
        ("rows a second", "rows_per_second", 0),
        ("peak memory, MB", "peak_mb", 0),
        ("bytes on disk over distinct pictures", "disk_over_distinct", 3),
        ("bytes a row carries to each rollout", "row_bytes", 0),
    ):
        ratio = max(ours[key], usual[key]) / min(ours[key], usual[key])
        table.add_row(label, f"{ours[key]:.{digits}f}", f"{usual[key]:.{digits}f}", f"{ratio:.1f}")
    console.print(table)
    (folder / "compare.json").write_text(json.dumps({"ours": ours, "usual": usual}, indent=2))


@app.command()
def growth(folder: Folder, largest: int = 100_000, workers: Workers = 2) -> None:
    """Ours at 1,000, 10,000, 100,000 … questions, with a picture for every eight of them."""
    table = Table(title=f"growth, {workers} processes")
    for name in ("questions", "seconds", "processor seconds", "rows a second", "peak memory, MB"):
        table.add_column(name, justify="right")
    results = []
    questions = 1_000
    while questions <= largest:
        source = make_snapshot(folder, questions, questions // 8)
        result = measured(folder / "growth", "ours", source, workers)
        results.append({"questions": questions, **result})
        rate = questions / result["seconds"]
        figures = (result["seconds"], result["cpu_seconds"], rate, result["peak_mb"])
        table.add_row(str(questions), *(f"{figure:.0f}" for figure in figures))
        (folder / "growth.json").write_text(json.dumps(results, indent=2))
        questions *= 10
    console.print(table)


@app.command(hidden=True)
def ours(source: Path, output: Path, workers: int) -> None:
    """The preprocessing of this project, as its command runs it."""
    from medeyes_verl.data.prepare import PrepareSettings, prepare
    from medeyes_verl.data.tables import simple_records

    settings = PrepareSettings(output, workers=workers)
    prepare("bench", str(source), lambda: simple_records(source), settings, Console(quiet=True))


@app.command(hidden=True)
def usual(source: Path, output: Path, workers: int) -> None:
    """What is usually done: the picture goes through the row, decoded and encoded, once for each question."""
    import datasets

    datasets.disable_progress_bars()

    def row(example: dict[str, Any], index: int) -> dict[str, Any]:
        return {
            "data_source": "bench",
            "prompt": [{"role": "user", "content": "<image>" + example["question"]}],
            "images": [example["image"]],
            "ability": "vqa",
            "reward_model": {"style": "rule", "ground_truth": example["answer"]},
            "extra_info": {"split": "train", "index": index, "question": example["question"]},
        }

    loaded = datasets.load_dataset(
        "parquet", data_files=str(source / "*.parquet"), split="train", cache_dir=str(output / "cache")
    )
    mapped = loaded.map(row, with_indices=True, num_proc=workers, remove_columns=loaded.column_names)
    mapped.to_parquet(output / "train.parquet")
    shutil.rmtree(output / "cache")


def measured(output: Path, side: str, source: Path, workers: int) -> dict[str, Any]:
    """Runs one side afresh in a process of its own; wall seconds and peak memory of all its processes."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    command = [sys.executable, __file__, side, str(source), str(output), str(workers)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    peak = 0
    with console.status(f"{side}: {source.name}"), subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, tree_memory(process.pid))
            time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"{side} failed with exit code {process.returncode}")
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"output": str(output), "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak / 1e6}


def tree_memory(pid: int) -> int:
    """Bytes of memory of a process and its descendants; what they share counts once."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            try:
                total += process.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue  # it ended while it was looked at
    except psutil.NoSuchProcess:
        pass
    return total


def picture_bytes(count: int) -> list[bytes]:
    """Encoded pictures, all different."""
    encoded = []
    for seed in range(min(count, DIFFERENT_PICTURES)):
        rng = np.random.default_rng(seed)
        coarse = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)).resize(PICTURE_SIZE)
        noise = rng.normal(0, 12, (*PICTURE_SIZE[::-1], 3))
        pixels = np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
        encoded.append(buffer.getvalue())
    return [encoded[number % len(encoded)] + number.to_bytes(4, "big") for number in range(count)]


def make_snapshot(folder: Path, questions: int, pictures: int) -> Path:
    """A snapshot as the hub holds PathVQA: parquet files with the encoded picture in every row."""
    target = folder / f"snapshot-{questions}-{pictures}"
    if (target / "done").exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    images = picture_bytes(pictures)
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("question", pa.string()),
            ("answer", pa.string()),
        ],
        metadata={
            "huggingface": json.dumps(
                {
                    "info": {
                        "features": {
                            "image": {"_type": "Image"},
                            "question": {"dtype": "string", "_type": "Value"},
                            "answer": {"dtype": "string", "_type": "Value"},
                        }
                    }
                }
            )
        },
    )
    numbers = iter(range(questions))
    files = -(-questions // ROWS_A_FILE)
    for file in range(files):
        path = target / f"train-{file:05d}-of-{files:05d}.parquet"
        with pq.ParquetWriter(path, schema) as writer:
            for _ in range(ROWS_A_FILE // ROWS_A_GROUP + 1):
                chunk = list(islice(numbers, ROWS_A_GROUP))
                rows = [
                    {
                        "image": {"bytes": images[number * pictures // questions], "path": f"{number}.jpg"},
                        "question": f"What is shown at place {number}?",
                        "answer": "yes" if number % 2 else "necrosis",
                    }
                    for number in chunk
                ]
                if rows:
                    writer.write_table(pa.Table.from_pylist(rows, schema))
    (target / "done").touch()
    return target


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def carried_bytes(output: Path) -> float:
    """Bytes of one row as veRL's dataset hands it on and the trainer keeps it for each of a prompt's rollouts."""
    from types import SimpleNamespace

    import datasets
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset

    datasets.disable_progress_bars()
    head = output / "head.parquet"
    rows = next(pq.ParquetFile(output / "train.parquet").iter_batches(ROWS_WEIGHED))
    pq.write_table(pa.Table.from_batches([rows]), head)
    config = OmegaConf.create({"filter_overlong_prompts": False, "cache_dir": str(output / "cache")})
    processor = SimpleNamespace(image_processor=SimpleNamespace(patch_size=14))
    dataset = RLHFDataset([str(head)], tokenizer=None, config=config, processor=processor)
    rows_kept = (dataset[number] for number in range(len(dataset)))
    sizes = [len(pickle.dumps({key: row[key] for key in row if key != "dummy_tensor"})) for row in rows_kept]
    head.unlink()
    return sum(sizes) / len(sizes)


if __name__ == "__main__":
    app()
