"""A validation's episodes, kept: a log for the report, and figures for TensorBoard and W&B.

veRL clears a validation's rows as soon as it has their metrics, and logs text at most. Here the traces of its rows are
kept while they pass, written to ``logs/validation-STEP.jsonl`` of the run as they are, and the first few drawn.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import transfer_queue as tq
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from medeyes_verl.config.settings import rollout_settings
from medeyes_verl.data.completion import UNKNOWN_SOURCE, complete
from medeyes_verl.data.image_store import ImageStore
from medeyes_verl.evaluation.episode_log import EpisodeLog, LoggedEpisode
from medeyes_verl.evaluation.player import logged
from medeyes_verl.evaluation.recipe import Recipe, recipe_of
from medeyes_verl.evaluation.scoring import OwnParts
from medeyes_verl.gaze.crop import usable_image
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.plugin.messages import pictures_of
from medeyes_verl.plugin.metrics import trace_of
from medeyes_verl.plugin.reward_errors import COUNT, TEXT
from medeyes_verl.report.episode_image import episode_array

logger = logging.getLogger(__name__)

FIGURES = 8
"""Drawn for each validation: always the same questions, so that a slider over steps shows them change."""
FIELDS = ["raw_prompt", "data_source", "reward_model", "extra_info", "extra_fields"]


@dataclass
class Kept:
    """What is kept of a validation while it passes."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """Every row's `FIELDS`, with the paths of its images as ``images`` in place of the prompt."""
    unreadable: int = 0
    """Rows left out since their images could not be written beside the log."""

    @property
    def extra_fields(self) -> list[dict[str, Any]]:
        """Of every row."""
        return [row["extra_fields"] for row in self.rows]

    def add(self, row: dict[str, Any], images: ImageStore) -> None:
        """Keep a row; images that lie in the table itself are written to `images`: a log refers to images by path."""
        try:
            row["images"] = [_path_of(part, images) for part in pictures_of(row.pop("raw_prompt"))]
        except (OSError, ValueError):
            row["images"] = []
            self.unreadable += 1
            logger.exception("a row of the validation is not logged: its image cannot be written beside the log")
        self.rows.append(row)


@contextmanager
def kept_rows(replay_buffer: Any, output: Path) -> Iterator[Kept]:
    """While the context lasts, the rows that are sampled from the buffer are also kept in what it yields."""
    kept, images = Kept(), ImageStore(output / "logs")
    sample = replay_buffer.sample

    def keeping_sample(*args: Any, **kwargs: Any) -> Any:
        batch, metrics = sample(*args, **kwargs)
        if not batch.keys:
            raise RuntimeError(
                f"all episodes of {kwargs.get('batch_size', 'the')} validation prompts failed. The first reason stands "
                "above, in the output of AgentLoopWorkerTQ, at 'Error in _run_prompt'"
            )
        fields = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=FIELDS)
        columns = {name: list(fields[name]) for name in FIELDS if name in fields.keys()}  # noqa: SIM118
        for place in range(len(batch.keys)):
            kept.add({name: column[place] for name, column in columns.items()}, images)
        return batch, metrics

    replay_buffer.sample = keeping_sample
    try:
        yield kept
    finally:
        replay_buffer.sample = sample


def output_of(config: DictConfig) -> Path:
    """The run's output directory."""
    return Path(OmegaConf.select(config, "medeyes.output") or config.trainer.default_local_dir)


def record_validation(kept: Kept, config: DictConfig, processor: Any, tracking: Any, step: int) -> None:
    """Log and draw what `kept_rows` kept. A failure here is logged and costs the run nothing else."""
    try:
        rules = rollout_settings(config).rules(PolicyTokens(processor))
        recipe = replace(recipe_of(config, "this run"), rules=rules, image_root=None)
        episodes = logged_episodes(kept.rows, recipe)
        path = output_of(config) / "logs" / f"validation-{step}.jsonl"
        path.unlink(missing_ok=True)  # of a run that was resumed from before this step
        with EpisodeLog(path) as log:
            for episode in episodes:
                log.append(episode)
        # keys are new at each validation: sorted by the questions' own names, the same ones are drawn each time
        shown = [episode for episode in episodes if episode.sample == 0][:FIGURES]
        figures = {f"episodes/{e.data_source}/{e.id}": episode_array(e, rules) for e in shown}
        show_figures(figures, tracking.logger, step)
    except Exception:
        logger.exception("the episodes of the validation at step %d were not logged", step)


def logged_episodes(rows: Sequence[dict[str, Any]], recipe: Recipe) -> list[LoggedEpisode]:
    """The rows as episodes, by benchmark and id; rollouts of one question are its samples.

    Rows whose agent loop left no trace are no episodes of ours; they are counted.
    """
    samples: dict[tuple[str, str], int] = defaultdict(int)
    episodes = []
    without_trace = 0
    for row in rows:
        trace = trace_of(row.get("extra_fields") or {})
        if trace is None:
            without_trace += 1
            continue
        if not row["images"]:
            continue  # counted and named when it was kept
        completed = complete(row)
        source, extra = row.get("data_source", UNKNOWN_SOURCE), completed.extra_info
        asked = {
            "data_source": source,
            "reward_model": {**row["reward_model"], "ground_truth": completed.ground_truth},
            "extra_info": extra,
            "images": row["images"],
        }
        question = source, extra["id"]
        own = _own_parts(row["extra_fields"].get("reward_extra_info") or {}, recipe)
        played = {"model": "policy", "stream": "on_policy", "seconds": 0.0}
        episodes.append(logged(asked, trace, recipe, own, sample=samples[question], **played))
        samples[question] += 1
    if without_trace:
        logger.warning("%d rows of a validation are not logged: their agent loop left no trace", without_trace)
    return sorted(episodes, key=lambda episode: (episode.data_source, episode.id, episode.sample))


def _own_parts(info: Mapping[str, Any], recipe: Recipe) -> OwnParts:
    """What the user's own reward parts said of a row; the reward manager called them, and they may be costly."""
    if info.get(COUNT):
        return OwnParts(error=str(info.get(TEXT)))
    return OwnParts({part.name: float(info[part.name]) for part in recipe.reward.parts if part.name in info})


def _path_of(part: Mapping[str, Any], images: ImageStore) -> str:
    """An image of a prompt as a file."""
    given = part.get("bytes") or part["image"]
    if isinstance(given, bytes):
        return images.add_bytes(given, "an image of the table").path
    if isinstance(given, Image.Image):
        return images.add_image(usable_image(given)).path
    return str(given).removeprefix("file://")


def show_figures(figures: dict[str, NDArray[np.uint8]], loggers: dict[str, Any], step: int) -> None:
    """RGB figures by name to those of veRL's loggers that take pictures; `loggers` is its Tracking's `logger`."""
    if "tensorboard" in loggers:
        for name, figure in figures.items():
            loggers["tensorboard"].writer.add_image(name, figure, step, dataformats="HWC")
    if "wandb" in loggers:
        wandb = loggers["wandb"]
        wandb.log({name: wandb.Image(figure) for name, figure in figures.items()}, step=step)
