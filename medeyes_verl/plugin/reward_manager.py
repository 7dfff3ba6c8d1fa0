"""The reward manager: scores the trace that the agent loop left, without parsing the text a second time.

Named by a recipe under ``reward.reward_manager``. veRL calls it once a trajectory (experimental/reward_loop);
an exception here would cost the whole group of the prompt, so a row that cannot be scored gets reward 0, is
counted in ``reward_error`` and says why in ``reward_error_text``. The trainer stops a run in which these are more than
a hundredth of a step (`medeyes_verl.plugin.reward_errors`).
"""

import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from medeyes_verl.config.settings import reward_settings
from medeyes_verl.data.completion import UNKNOWN_SOURCE, RowRefusedError, complete, own_name
from medeyes_verl.gaze.trace import EpisodeTrace
from medeyes_verl.plugin.custom_reward import custom_reward, last_row
from medeyes_verl.plugin.reward_errors import COUNT, LONGEST_TEXT, TEXT
from medeyes_verl.reward.compose import RewardParts, reward
from medeyes_verl.reward.parts import RowFacts, load_parts, score_parts

logger = logging.getLogger(__name__)

NO_TRACE = (
    "the agent loop left no extra_fields['trace'], which r_acc, r_grammar and r_div read. Use the loop medeyes_gaze; "
    "or reward.reward_manager.source=register reward.reward_manager.name=naive; "
    "or reward.custom_reward_function.path=FILE with "
    "reward.medeyes.accuracy_weight=0 reward.medeyes.grammar_weight=0 reward.medeyes.diversity_weight=0"
)


class NoTraceError(ValueError):
    """A row cannot be scored, since its agent loop does not say what happened in the episode."""


class MedEyesRewardManager(RewardManagerBase):
    """R(τ) = 0.7·r_acc + 0.2·r_grammar + 0.1·r_div, plus the user's parts and function; weights: ``reward.medeyes``."""

    def __init__(
        self,
        config: DictConfig,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: Any = None,
        reward_model_tokenizer: Any = None,
        **_: Any,
    ) -> None:
        super().__init__(config, tokenizer, compute_score)
        self.settings = reward_settings(config)
        self.part_names = [part.settings.name for part in load_parts(self.settings.parts)]
        self.custom = custom_reward(config, compute_score, tokenizer, reward_router_address, reward_model_tokenizer)

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        item = last_row(data)
        row = item.non_tensor_batch
        extra = _completed_extra(row)
        name = str(own_name(extra))
        logged: dict[str, Any] = _logged(RewardParts.zero(), gazes=0) if self.settings.needs_trace else {}
        logged |= dict.fromkeys(self.part_names, 0.0)
        if self.custom is not None:
            logged["r_custom"] = 0.0
        total, error = 0.0, ""
        try:
            ours = self._ours(row)
            if ours is not None:
                trace, facts, parts = ours
                own = await score_parts(self.settings.parts, trace, facts)
                total = parts.total + own.total
                logged |= {**_logged(parts, trace.num_gazes), **own.scores, **own.others}
            if self.custom is not None:
                score, others = await self.custom(item, extra)
                total += self.settings.custom_weight * score
                taken = {*logged, "id", COUNT, TEXT}
                logged |= {f"custom_{key}" if key in taken else key: value for key, value in others.items()}
                logged["r_custom"] = score
                logged.setdefault("acc", score)  # veRL's core metric of a validation, as under its own manager
        except Exception as caught:  # whatever it is, it costs this row alone
            total, error = 0.0, f"{type(caught).__name__}: {caught}"[:LONGEST_TEXT]
            logger.exception("no reward for row %s: its score is 0", name)
        return {
            "reward_score": total,
            # words, so veRL leaves them out of its means and keeps them in its dumps, where they tell which row it was
            "reward_extra_info": {"id": name, **logged, COUNT: float(bool(error)), TEXT: error},
        }

    def _ours(self, row: Mapping[str, Any]) -> tuple[EpisodeTrace, RowFacts, RewardParts] | None:
        """The trace, the row's facts and our parts; None for a row without them where none of them has a weight.

        Raises what makes a row unscorable, where a part that reads the trace has a weight.
        """
        try:
            trace = (row.get("tool_extra_fields") or {}).get("trace")
            if trace is None:
                raise NoTraceError(NO_TRACE)
            completed = complete(row)
            episode = EpisodeTrace.from_dict(trace)
            info = completed.extra_info
            source = str(row.get("data_source", UNKNOWN_SOURCE))
            facts = RowFacts(completed.ground_truth, info["question_type"], tuple(info["options"]), source, info)
            parts = reward(episode, facts.ground_truth, facts.question_type, facts.options, self.settings)
        except Exception:
            if self.settings.needs_trace:
                raise
            return None
        return episode, facts, parts


def _completed_extra(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row's ``extra_info``, completed where that is possible: a function of the user's may need less than we do."""
    try:
        return complete(row).extra_info
    except RowRefusedError:
        return row.get("extra_info") or {}


def _logged(parts: RewardParts, gazes: int) -> dict[str, float]:
    """What veRL logs of our parts. It takes ``acc`` for the core metric of a validation: correct or not, always."""
    return {
        "acc": parts.exact_match,
        "r_acc": parts.r_acc,
        "r_grammar": parts.r_grammar,
        "r_div": parts.r_div,
        "token_f1": parts.token_f1,
        "gazes": float(gazes),
    }
