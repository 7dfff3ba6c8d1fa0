"""The reward manager: scores what the agent loop recorded, without parsing the text a second time.

Named by a recipe under ``reward.reward_manager``. veRL calls it once a trajectory (experimental/reward_loop);
an exception here would cost the whole group of the prompt, so a row that cannot be scored gets reward 0, is
counted in ``reward_error`` and named in the log.
"""

import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from medeyes_verl.gaze.record import EpisodeRecord
from medeyes_verl.reward.compose import RewardParts, RewardSettings, reward

logger = logging.getLogger(__name__)


class MedEyesRewardManager(RewardManagerBase):
    """R(τ) = 0.7·r_acc + 0.2·r_grammar + 0.1·r_div, weights from ``reward.medeyes``."""

    def __init__(self, config: DictConfig, tokenizer: Any, compute_score: Any = None, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        self.settings = reward_settings(config)

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        row = data[-1:][0].non_tensor_batch
        try:
            record = EpisodeRecord.from_dict(row["tool_extra_fields"]["record"])
            parts = reward(
                record,
                ground_truth=row["reward_model"]["ground_truth"],
                question_type=row["extra_info"]["question_type"],
                options=row["extra_info"]["options"],
                settings=self.settings,
            )
        except Exception:
            logger.exception("no reward for row %s: its score is 0", row["extra_info"].get("id"))
            return {"reward_score": 0.0, "reward_extra_info": _logged(row, RewardParts.zero(), gazes=0, error=True)}
        return {
            "reward_score": parts.total,
            "reward_extra_info": _logged(row, parts, gazes=len(record.boxes), error=False),
        }


def reward_settings(config: DictConfig) -> RewardSettings:
    """``reward.medeyes`` of a veRL configuration; absent keys are the paper's. Raises ValueError."""
    given = OmegaConf.select(config, "reward.medeyes") or {}
    return RewardSettings.from_mapping(OmegaConf.to_container(given, resolve=True) if given else {})


def _logged(row: Mapping[str, Any], parts: RewardParts, gazes: int, error: bool) -> dict[str, float | str]:
    """What veRL logs of a row. It takes ``acc`` for the core figure of a validation: right or wrong, always.

    ``id`` is words, so veRL leaves it out of its means and keeps it in its dumps, where it tells which row it was.
    """
    return {
        "id": str(row["extra_info"].get("id")),
        "acc": parts.exact_match,
        "r_acc": parts.r_acc,
        "r_grammar": parts.r_grammar,
        "r_div": parts.r_div,
        "token_f1": parts.token_f1,
        "gazes": float(gazes),
        "reward_error": float(error),
    }
