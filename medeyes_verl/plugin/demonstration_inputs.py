"""Problems with demonstrations from a table's column: keys that do not fit together, and cells that are none."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import DictConfig

from medeyes_verl.config.settings import ROLLOUT, RolloutSettings
from medeyes_verl.expert.demonstration import DemonstrationError, demonstrations_of
from medeyes_verl.plugin.problem import Problem, local_files, value_of

LOOP_NAME = "medeyes_demonstrations"
DEFAULT_LOOP = "actor_rollout_ref.rollout.agent.default_agent_loop"
COLUMN, LOOP = f"{ROLLOUT}.demonstrations.column", f"{ROLLOUT}.demonstrations.loop"
BEHAVIOUR = "algorithm.medeyes.expert_log_probs"
ROWS_A_BATCH = 512


def demonstration_problems(config: DictConfig, settings: RolloutSettings, tables: bool) -> Iterator[Problem]:
    """Yield what would leave demonstrations out, or bring them where they do not belong.

    Args:
        tables: also read the training tables' columns.
    """
    column, outer = settings.demonstrations.column, value_of(config, DEFAULT_LOOP)
    if column is None and outer != LOOP_NAME:
        return
    if column is None:
        yield Problem(COLUMN, "null", f"{DEFAULT_LOOP}={LOOP_NAME} reads it", "name the table's column")
        return
    if outer != LOOP_NAME:
        yield Problem(
            COLUMN,
            column,
            f"{DEFAULT_LOOP}={outer} does not read it",
            f"set {DEFAULT_LOOP}={LOOP_NAME} and {LOOP}={outer}",
        )
        return
    if not settings.n_expert:
        yield Problem(
            f"{ROLLOUT}.n_expert",
            0,
            f"no session replays the demonstrations of {column}",
            f"set it to the demonstrations of a prompt's group, or {COLUMN}=null",
        )
    if settings.demonstrations.loop in (LOOP_NAME, "medeyes_gaze"):
        yield Problem(
            LOOP,
            settings.demonstrations.loop,
            "it is no loop that demonstrations are replayed through",
            f"name the loop of your run; medeyes_gaze replays experts of {ROLLOUT}.experts by itself",
        )
    own = value_of(config, "actor_rollout_ref.rollout.n") - settings.n_expert
    validated = value_of(config, "actor_rollout_ref.rollout.val_kwargs.n") or 1
    if validated > own:
        yield Problem(
            "actor_rollout_ref.rollout.val_kwargs.n",
            validated,
            f"validation sessions from {own} on would replay demonstrations in place of the policy",
            f"use at most rollout.n - n_expert = {own}",
        )
    files = [file for file in local_files(value_of(config, "data.train_files")) if file.suffix == ".parquet"]
    for file in files if tables else ():
        if file.exists():
            yield from _of_table(file, column, value_of(config, BEHAVIOUR))


def _of_table(file: Any, column: str, behaviour: Any) -> Iterator[Problem]:
    key = "data.train_files"
    try:
        with pq.ParquetFile(file) as table:
            names = table.schema_arrow.names
            if "agent_name" in names:
                yield Problem(
                    key,
                    file,
                    f"its column agent_name names the loop of each row, and {LOOP_NAME} would not be asked",
                    f"remove the column, and set {LOOP}",
                )
            if column not in names:
                yield Problem(
                    COLUMN, column, f"{file} has no such column; it has {', '.join(names)}", "correct the name"
                )
                return
            filled, number = 0, 0
            for batch in table.iter_batches(ROWS_A_BATCH, columns=[column]):
                for cell in batch.column(0).to_pylist():
                    try:
                        found = demonstrations_of(cell)
                    except DemonstrationError as error:
                        yield Problem(COLUMN, column, f"{file}, row {number}: {error}", "correct or empty the cell")
                        return
                    if behaviour != "stored" and any(each.log_probs is not None for each in found):
                        yield Problem(
                            BEHAVIOUR,
                            behaviour,
                            f"it does not read log_probs, which {file}, row {number}, column {column} holds",
                            "set it to stored, or leave log_probs out of the cells",
                        )
                        return
                    filled += bool(found)
                    number += 1
    except (OSError, pa.ArrowException) as error:
        yield Problem(key, file, f"cannot be read: {error}", "make the table again")
        return
    if not filled:
        yield Problem(COLUMN, column, f"{file} has no demonstration in any of its {number} rows", "fill the column")
