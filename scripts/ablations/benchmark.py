"""The controlled benchmark: questions where nothing but looking at one place after the other tells the answer, a
policy that could but does not, and experts that show it.

Three blobs a picture, a large, a middling and a small one; one is the lesion, and what it is can be seen only in a
close crop. The policy is warmed up on one-look trajectories, wrong ones included: it can aim, it can read a crop, and
after an empty crop it says `unknown`. From whole searches it learns where one looks next, but hardly that one does. So
the skill is there, as a model's often is that has seldom been asked to use it, and the habit is not.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from ablations.rows import STORES
from medeyes_verl.expert.store import FILE

PRIMER, SEARCH, WHOLE = "primer", "search", "whole"
SEED = 11


@dataclass(frozen=True, slots=True)
class BenchmarkSize:
    """How much of everything; the default is what docs/results.md reports."""

    train: int = 1000
    val: int = 200
    """All are asked at every validation."""
    primer: int = 1000
    """Questions with one blob, for the warm-up only: there the picture alone says where to look."""
    whole: int = 5000
    """Questions for the warm-up only, with whole searches: where to look next takes many to learn."""
    going_on: float = 0.0003
    """Weight in the loss of the words with which one looks again: without any, they are unlearnt with all others that
    never come, and 20 steps with experts did not bring them back."""
    warmup_steps: int = 4000
    """A step is 16 trajectories; minutes on two cores."""


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and the file or folder that is there once it is done."""

    name: str
    leaves: Path
    command: tuple[str, ...]


def steps(folder: Path, root: Path, size: BenchmarkSize, stores: set[str]) -> list[Step]:
    """Everything the runs need in `folder`, in order; `root` is the project's own folder, `stores` keys of STORES."""
    python, preprocess = sys.executable, root / "data_preprocess"
    experts = (python, "-m", "medeyes_verl.cli", "experts")
    build = (*experts, "build", "--preset", "tiny")

    def phantom(name: str, difficulty: str, train: int, val: int, seed: int) -> Step:
        sizes = {"--train": train, "--val": val, "--test": 0}
        words = [str(word) for pair in {"--difficulty": difficulty, **sizes, "--seed": seed}.items() for word in pair]
        command = (python, str(preprocess / "phantom.py"), "--output", str(folder / name), *words)
        return Step(f"questions: {name}", folder / name / "phantom.json", command)

    def trajectories(name: str, store: str, *overrides: str) -> Step:
        table, target = folder / name / "train.parquet", folder / name / store
        command = (*build, "--data", str(table), "--store", str(target), *overrides)
        return Step(f"experts: {name}, {store}", target / FILE, command)

    tables = [folder / name / "train.parquet" for name in (PRIMER, SEARCH, WHOLE)]
    stores_of_warmup = (f"{PRIMER}/one_look", f"{SEARCH}/one_look", f"{WHOLE}/experts")
    mixed, joined = folder / "warmup.parquet", folder / "warmup_experts"
    one_look = ("sampler.navigator.max_gazes=1", "sampler.episode.max_gazes=1", "sampler.greedy=true")
    return [
        phantom(PRIMER, "primer", size.primer, 0, SEED),
        phantom(SEARCH, "search", size.train, size.val, SEED),
        phantom(WHOLE, "search", size.whole, 0, SEED + 1),
        trajectories(PRIMER, "one_look", *one_look),
        trajectories(SEARCH, "one_look", *one_look),
        trajectories(WHOLE, "experts", "sampler.greedy=true"),
        Step(
            "warm-up: questions",
            mixed,
            (python, str(preprocess / "mix.py"), "--output", str(mixed), *_each("--input", tables)),
        ),
        Step(
            "warm-up: experts",
            joined / FILE,
            (*experts, "merge", str(joined), *(str(folder / name) for name in stores_of_warmup)),
        ),
        Step(
            "warm-up",
            policy(folder) / "config.json",
            (
                *(python, "-m", "medeyes_verl.cli", "tiny-policy", "--data", str(mixed)),
                *("--experts", str(joined), "--output", str(policy(folder)), "--wrong-answers"),
                *("--going-on", str(size.going_on)),
                *("--val", str(folder / SEARCH / "val.parquet")),
                *("--steps", str(size.warmup_steps), "--minutes", "120"),
            ),
        ),
        *(trajectories(SEARCH, store, *overrides) for store, overrides in STORES.items() if store in stores),
    ]


def questions(folder: Path) -> Path:
    """The folder of the questions that the runs train on."""
    return folder / SEARCH


def policy(folder: Path) -> Path:
    """The policy that every run starts from."""
    return folder / "policy"


def policy_mark(folder: Path) -> str:
    """Tells policies apart: a warm-up is not the same to the last bit on every machine."""
    return hashlib.sha256((policy(folder) / "model.safetensors").read_bytes()).hexdigest()[:12]


def _each(flag: str, paths: list[Path]) -> list[str]:
    return [word for path in paths for word in (flag, str(path))]
