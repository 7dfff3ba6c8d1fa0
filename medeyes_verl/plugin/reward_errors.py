"""Rows that could not be scored: counted, named once, and the end of a run where they are more than a few.

A reward worker must not raise for one row (the whole group of its prompt would be lost), so it returns 0 and says why.
Here the trainer reads that: training on rewards that are 0 because nothing could be computed would look like learning.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

logger = logging.getLogger(__name__)

COUNT, TEXT = "reward_error", "reward_error_text"
"""Keys of ``extra_fields["reward_extra_info"]``: 1 where a row could not be scored, and why."""
LONGEST_TEXT = 600
STOP_SHARE = 0.01
"""Above this share of a step's rows (or of a validation's) the run stops."""


class RewardErrorsError(RuntimeError):
    """Too many rows of a step could not be scored."""


class RewardErrors:
    """One a run."""

    def __init__(self) -> None:
        self._named = False

    def check(self, extra_fields: Iterable[Mapping[str, Any]], where: str) -> None:
        """Stop the run above `STOP_SHARE`; below it, name the first error of the run once.

        Args:
            extra_fields: of each row, padding rows left out.
            where: what the rows belong to, such as "training step 3".

        Raises:
            RewardErrorsError: with the counts and the first row's error.
        """
        count = 0
        failed: list[Mapping[str, Any]] = []
        for fields in extra_fields:
            count += 1
            info = fields.get("reward_extra_info") or {}
            if info.get(COUNT):
                failed.append(info)
        if not failed:
            return
        first = f"row {failed[0].get('id')}: {failed[0].get(TEXT) or 'no text was given'}"
        said = f"{where}: {len(failed)} of {count} rows could not be scored, the first because of {first}"
        if len(failed) > STOP_SHARE * count:
            raise RewardErrorsError(
                f"{said}\nThe run stops above {STOP_SHARE:.0%}: it would train on rewards that are 0 for no reason of "
                "the policy's. Correct the reward or the table; `medeyes-verl doctor --data TABLE` checks a table"
            )
        if not self._named:
            self._named = True
            logger.warning("%s; their reward is 0 (named once, counted in %s)", said, COUNT)
