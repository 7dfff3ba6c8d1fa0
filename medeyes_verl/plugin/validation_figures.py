"""A validation's episodes, kept: a log for the report, and figures for TensorBoard and W&B.

veRL clears a validation's rows as soon as it has their figures, and logs text at most. Here the rows are kept while
they pass, played again by the rules they were played by (pictures, boxes and scores come from the code that evaluation
uses), written to ``logs/validation-STEP.jsonl`` of the run, and the first few drawn.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import transfer_queue as tq
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from medeyes_verl.evaluation.episode_log import EpisodeLog, LoggedEpisode
from medeyes_verl.evaluation.figure import episode_array
from medeyes_verl.evaluation.player import play_texts
from medeyes_verl.evaluation.recipe import Recipe, recipe_of
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.plugin.messages import pictures_of
from medeyes_verl.plugin.settings import rollout_settings

logger = logging.getLogger(__name__)

MOST_EPISODES = 256
"""Of one validation that are played again and logged: enough for a gallery, and seconds of a run at most."""
FIGURES = 8
"""Drawn for each validation: always the same questions, so that a slider over steps shows them change."""
FIELDS = ["raw_prompt", "data_source", "reward_model", "extra_info", "responses", "response_mask"]


@contextmanager
def kept_rows(replay_buffer: Any) -> Iterator[list[dict[str, Any]]]:
    """While the context lasts, the rows that are sampled from the buffer are also kept in the list it yields."""
    rows: list[dict[str, Any]] = []
    sample = replay_buffer.sample

    def keeping_sample(*args: Any, **kwargs: Any) -> Any:
        batch, metrics = sample(*args, **kwargs)
        # keys are new at each validation: only the questions' own ids choose the same ones again
        names = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["extra_info"])
        ids = [extra["id"] for extra in names["extra_info"]]
        keys = [key for _, key in sorted(zip(ids, batch.keys, strict=True))][: MOST_EPISODES - len(rows)]
        if keys:
            fields = tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=FIELDS)
            columns = {name: list(fields[name]) for name in FIELDS}
            rows.extend({name: column[place] for name, column in columns.items()} for place in range(len(keys)))
        return batch, metrics

    replay_buffer.sample = keeping_sample
    try:
        yield rows
    finally:
        replay_buffer.sample = sample


def record_validation(
    rows: Sequence[dict[str, Any]], config: DictConfig, processor: Any, tracking: Any, step: int
) -> None:
    """Log and draw what `kept_rows` kept. A failure here is told and costs the run nothing else."""
    try:
        rules = rollout_settings(config).rules(PolicyTokens(processor))
        recipe = replace(recipe_of(config, "this run"), rules=rules, image_root=None)
        episodes = logged_episodes(rows, recipe, processor.tokenizer)
        output = Path(OmegaConf.select(config, "medeyes.output") or config.trainer.default_local_dir)
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


def logged_episodes(rows: Sequence[dict[str, Any]], recipe: Recipe, tokenizer: Any) -> list[LoggedEpisode]:
    """The rows as episodes, by benchmark and id; rollouts of one question are its samples."""
    samples: dict[tuple[str, str], int] = defaultdict(int)
    episodes = []
    embedded = 0
    for row in rows:
        paths = [part["image"] for part in pictures_of(row["raw_prompt"])]
        if not all(isinstance(path, str) for path in paths):
            embedded += 1
            continue
        extra = dict(row["extra_info"])
        played = {
            "data_source": row["data_source"],
            "reward_model": row["reward_model"],
            "extra_info": extra,
            "images": paths,
        }
        texts = turn_texts_of(row["responses"].tolist(), row["response_mask"].tolist(), tokenizer)
        episode = asyncio.run(play_texts(played, recipe, texts, "policy", "on_policy"))
        question = row["data_source"], extra["id"]
        written = sum(map(int, row["response_mask"].tolist()))
        episodes.append(replace(episode, sample=samples[question], tokens=written))
        samples[question] += 1
    if embedded:
        logger.warning("%d episodes of a validation are not logged: their pictures lie in the table itself", embedded)
    return sorted(episodes, key=lambda episode: (episode.data_source, episode.id, episode.sample))


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
