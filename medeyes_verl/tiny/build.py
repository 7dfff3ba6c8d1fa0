"""From data and experts to a policy on disk: tokenizer, model, warm-up, a look at what was learnt, and a stamp.

The stamp (`tiny_policy.json` in the policy's folder) says what the policy was made from, so that a second call with
the same inputs finds its work done, and how it played when it was new.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from medeyes_verl import __version__
from medeyes_verl.data.atomic import write_json
from medeyes_verl.data.row import read_rows
from medeyes_verl.expert.store import store_file
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.tiny.examples import corpus, read_expert_rows
from medeyes_verl.tiny.model import TINY_EPISODE, TinyShape, build_model, build_processor, save_policy
from medeyes_verl.tiny.play import Score, play, score
from medeyes_verl.tiny.tokenizer import train_tokenizer
from medeyes_verl.tiny.warmup import Progress, WarmupSettings, warm_up

STAMP = "tiny_policy.json"


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """The games played with the new policy, to show what it has learnt."""

    questions: int = 32
    """From the start of the file."""
    rollouts: int = 4
    """A question, sampled at temperature 1 as in RL."""


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """All that a tiny policy depends on besides its data and experts."""

    warmup: WarmupSettings = field(default_factory=WarmupSettings)
    shape: TinyShape = field(default_factory=TinyShape)
    episode: EpisodeSettings = TINY_EPISODE
    trial: TrialSettings = field(default_factory=TrialSettings)


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it."""

    reused: bool
    """The same inputs had made it before."""
    counts: dict[str, int] = field(default_factory=dict)
    """Trajectories learnt from and left out, by name."""
    parameters: int = 0
    vocabulary: int = 0
    steps: int = 0
    loss: float = 0.0
    """Nats a token of the model's own, running mean at the end."""
    score: dict[str, Any] | None = None
    """See `Score`; None without a file to play on."""


def make_policy(
    data: Path,
    experts: Path,
    output: Path,
    settings: PolicySettings,
    trial_data: Path | None = None,
    on_step: Callable[[Progress], None] = lambda _: None,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Report:
    """Make the policy of `settings` in `output`, or find it there.

    `data` is a training parquet file, `experts` a trajectory store, `trial_data` a file to play on at the end.
    `output` is complete or absent, and replaced only if this function made it: raises FileExistsError otherwise.
    """
    made_from = _inputs(data, experts, settings)
    known = _stamp(output)
    if known is not None and known["made_from"] == made_from:
        return Report(**{**known["report"], "reused": True})
    if known is None and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} exists and was not made here; choose another folder or remove it")

    on_stage("reading data and experts")
    found = read_expert_rows(data, experts, settings.episode, settings.warmup.wrong_answers)
    tokenizer = train_tokenizer(corpus(found.rows, settings.episode, settings.warmup.gives_up > 0))
    model = build_model(tokenizer, settings.shape, settings.warmup.seed)
    processor = build_processor(tokenizer)
    on_stage("warm-up")
    end = warm_up(model, PolicyTokens(processor), found.rows, settings.episode, settings.warmup, on_step)
    trial: Score | None = None
    if trial_data is not None:
        on_stage("playing")
        questions = list(islice(read_rows(trial_data), settings.trial.questions))
        trial = score(play(model, processor, questions, settings.episode, settings.trial.rollouts))
    report = Report(
        reused=False,
        counts=found.counts,
        parameters=sum(weight.numel() for weight in model.parameters()),
        vocabulary=len(tokenizer),
        steps=end.steps,
        loss=round(end.loss, 4),
        score=None if trial is None else asdict(trial),
    )
    temporary = output.with_name(f".{output.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_policy(model, processor, temporary)
    write_json(temporary / STAMP, {"made_from": made_from, "report": asdict(report)})
    if output.exists():
        shutil.rmtree(output)
    temporary.rename(output)
    return report


def _inputs(data: Path, experts: Path, settings: PolicySettings) -> dict[str, Any]:
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (data, store_file(experts))}
    made_from = {"version": __version__, "torch": torch.__version__, **digests, "settings": asdict(settings)}
    return dict(json.loads(json.dumps(made_from)))  # as it will read back


def _stamp(output: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads((output / STAMP).read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ValueError(f"{output / STAMP} is damaged ({error}); remove the folder and run again") from error
