"""A validation's episodes, kept: a log for the report, and figures for TensorBoard and W&B.

veRL clears a validation's rows as soon as it has their figures, and logs text at most. Here the rows are kept while
they pass, played again by the rules they were played by (pictures, boxes and scores come from the code that evaluation
uses), written to ``logs/validation-STEP.jsonl`` of the run, and the first few drawn.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import transfer_queue as tq
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from medeyes_verl.data.completion import UNKNOWN_SOURCE, complete, own_name
from medeyes_verl.data.image_store import ImageStore, StoredPicture
from medeyes_verl.evaluation.episode_log import EpisodeLog, LoggedEpisode
from medeyes_verl.evaluation.figure import episode_array
from medeyes_verl.evaluation.player import play_texts
from medeyes_verl.evaluation.recipe import Recipe, recipe_of
from medeyes_verl.gaze.crop import usable_image
from medeyes_verl.gaze.geometry import Size
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.plugin.messages import pictures_of
from medeyes_verl.plugin.settings import rollout_settings

logger = logging.getLogger(__name__)

MOST_EPISODES = 256
"""Of one validation that are played again and logged: enough for a gallery, and seconds of a run at most."""
FIGURES = 8
"""Drawn for each validation: always the same questions, so that a slider over steps shows them change."""
FIELDS = ["raw_prompt", "data_source", "reward_model", "extra_info", "extra_fields", "responses", "response_mask"]


@dataclass
class Kept:
    """What is kept of a validation while it passes."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """The first `MOST_EPISODES` by their names, with `FIELDS`."""
    extra_fields: list[dict[str, Any]] = field(default_factory=list)
    """Of every row."""


@contextmanager
def kept_rows(replay_buffer: Any) -> Iterator[Kept]:
    """While the context lasts, the rows that are sampled from the buffer are also kept in what it yields."""
    kept = Kept()
    sample = replay_buffer.sample

    def keeping_sample(*args: Any, **kwargs: Any) -> Any:
        batch, metrics = sample(*args, **kwargs)
        if not batch.keys:
            raise RuntimeError(
                f"all episodes of {kwargs.get('batch_size', 'the')} validation prompts failed. The first reason stands "
                "above, in the output of AgentLoopWorkerTQ, at 'Error in _run_prompt'"
            )
        facts = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["extra_info", "extra_fields"]
        )
        kept.extra_fields.extend(facts["extra_fields"])
        # keys are new at each validation: only the questions' own names choose the same ones again
        names = [own_name(extra) or "" for extra in facts["extra_info"]]
        room = MOST_EPISODES - len(kept.rows)
        keys = [key for _, key in sorted(zip(names, batch.keys, strict=True))][:room]
        if keys:
            fields = tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=FIELDS)
            columns = {name: list(fields[name]) for name in FIELDS if name in fields.keys()}  # noqa: SIM118
            kept.rows.extend({name: column[place] for name, column in columns.items()} for place in range(len(keys)))
        return batch, metrics

    replay_buffer.sample = keeping_sample
    try:
        yield kept
    finally:
        replay_buffer.sample = sample


def record_validation(
    rows: Sequence[dict[str, Any]], config: DictConfig, processor: Any, tracking: Any, step: int
) -> None:
    """Log and draw what `kept_rows` kept. A failure here is told and costs the run nothing else."""
    try:
        rules = rollout_settings(config).rules(PolicyTokens(processor))
        recipe = replace(recipe_of(config, "this run"), rules=rules, image_root=None)
        output = Path(OmegaConf.select(config, "medeyes.output") or config.trainer.default_local_dir)
        episodes = logged_episodes(rows, recipe, processor.tokenizer, ImageStore(output / "logs"))
        path = output / "logs" / f"validation-{step}.jsonl"
        path.unlink(missing_ok=True)  # of a run that was resumed from before this step
        with EpisodeLog(path) as log:
            for episode in episodes:
                log.append(episode)
        shown = [episode for episode in episodes if episode.sample == 0][:FIGURES]
        figures = {f"episodes/{e.data_source}/{e.id}": episode_array(e, rules.crop) for e in shown}
        show_figures(figures, tracking.logger, step)
    except Exception:
        logger.exception("the episodes of the validation at step %d were not logged", step)


def logged_episodes(
    rows: Sequence[dict[str, Any]], recipe: Recipe, tokenizer: Any, images: ImageStore
) -> list[LoggedEpisode]:
    """The rows as episodes, by benchmark and id; rollouts of one question are its samples.

    Images that lie in the table itself are written to `images`: a log refers to images by path. Rows whose agent loop
    left no record are no episodes of ours; they are counted.
    """
    samples: dict[tuple[str, str], int] = defaultdict(int)
    episodes = []
    without_record = 0
    for row in rows:
        if (row.get("extra_fields") or {}).get("record") is None:
            without_record += 1
            continue
        source = row.get("data_source", UNKNOWN_SOURCE)
        completed = complete(row)
        extra = completed.extra_info
        stored = [_stored(part, images) for part in pictures_of(row["raw_prompt"])]
        if not extra["image_sizes"]:
            extra["image_sizes"] = [each.size._asdict() for each in stored]
        played = {
            "data_source": source,
            "reward_model": {**row["reward_model"], "ground_truth": completed.ground_truth},
            "extra_info": extra,
            "images": [each.path for each in stored],
        }
        texts = turn_texts_of(row["responses"].tolist(), row["response_mask"].tolist(), tokenizer)
        episode = asyncio.run(play_texts(played, recipe, texts, "policy", "on_policy"))
        question = source, extra["id"]
        written = sum(map(int, row["response_mask"].tolist()))
        episodes.append(replace(episode, sample=samples[question], tokens=written))
        samples[question] += 1
    if without_record:
        logger.warning("%d rows of a validation are not logged: their agent loop left no record", without_record)
    return sorted(episodes, key=lambda episode: (episode.data_source, episode.id, episode.sample))


def _stored(part: Mapping[str, Any], images: ImageStore) -> StoredPicture:
    """An image of a prompt as a file."""
    given = part.get("bytes") or part["image"]
    if isinstance(given, bytes):
        return images.add_bytes(given, "an image of the table")
    if isinstance(given, Image.Image):
        return images.add_image(usable_image(given))
    path = str(given).removeprefix("file://")
    with Image.open(path) as header:
        return StoredPicture(path, Size(*header.size))


def turn_texts_of(response: Sequence[int], mask: Sequence[int], tokenizer: Any) -> list[str]:
    """The model's turns: the runs of its own tokens, without special tokens at their ends."""
    special = set(tokenizer.all_special_ids)
    texts = []
    for own, run in groupby(zip(response, mask, strict=True), key=lambda pair: bool(pair[1])):
        ids = [token for token, _ in run]
        while ids and ids[-1] in special:
            ids.pop()
        if own:
            texts.append(tokenizer.decode(ids, skip_special_tokens=False))
    return texts


def show_figures(figures: dict[str, NDArray[np.uint8]], loggers: dict[str, Any], step: int) -> None:
    """RGB figures by name to those of veRL's loggers that take pictures; `loggers` is its Tracking's `logger`."""
    if "tensorboard" in loggers:
        for name, figure in figures.items():
            loggers["tensorboard"].writer.add_image(name, figure, step, dataformats="HWC")
    if "wandb" in loggers:
        wandb = loggers["wandb"]
        wandb.log({name: wandb.Image(figure) for name, figure in figures.items()}, step=step)
