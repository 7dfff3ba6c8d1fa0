"""The user's own reward function, as one part of the reward: veRL's key ``reward.custom_reward_function``.

Called as veRL's NaiveRewardManager calls it (verl/experimental/reward_loop/reward_manager/naive.py), sync or async.
"""

import asyncio
import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from verl import DataProto

from medeyes_verl.data.completion import UNKNOWN_SOURCE


class CustomRewardError(ValueError):
    """What the user's reward function returned is no score."""


class CustomReward:
    """The function of a run, with what veRL hands to it beside the row."""

    def __init__(self, function: Callable[..., Any], tokenizer: Any, of_reward_model: Mapping[str, Any]) -> None:
        self._function = function
        self._tokenizer = tokenizer
        self._of_reward_model = dict(of_reward_model)

    async def __call__(self, item: Any, extra_info: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Score one row: the score, and the other keys of a mapping that the function returned.

        Raises what the function raises, and CustomRewardError for a result that is no finite number.
        """
        row = item.non_tensor_batch
        arguments = {
            "data_source": row.get("data_source", UNKNOWN_SOURCE),
            "solution_str": await asyncio.to_thread(self._response, item),
            "ground_truth": (row.get("reward_model") or {}).get("ground_truth"),
            "extra_info": {
                **extra_info,
                **(row.get("tool_extra_fields") or {}),
                "num_turns": row.get("__num_turns__"),
                "rollout_reward_scores": row.get("reward_scores", {}),
            },
            **self._of_reward_model,
        }
        if inspect.iscoroutinefunction(self._function):
            result = await self._function(**arguments)
        else:  # a blocking function must not hold up the other rows of this worker
            result = await asyncio.to_thread(self._function, **arguments)
            if inspect.isawaitable(result):
                result = await result
        return _score_of(result)

    def _response(self, item: Any) -> str:
        ids = item.batch["responses"]
        length = int(item.batch["attention_mask"][-ids.shape[-1] :].sum())
        return str(self._tokenizer.decode(ids[:length], skip_special_tokens=True))


def custom_reward(
    config: Any, function: Callable[..., Any] | None, tokenizer: Any, router: Any, router_tokenizer: Any
) -> CustomReward | None:
    """The run's own reward function; None where ``reward.custom_reward_function`` names none.

    veRL hands a reward manager its default scorer in that case, which knows none of our benchmarks.
    """
    if not (config.reward.get("custom_reward_function") or {}).get("path") or function is None:
        return None
    of_reward_model = (
        {} if router is None else {"reward_router_address": router, "reward_model_tokenizer": router_tokenizer}
    )
    return CustomReward(function, tokenizer, of_reward_model)


def last_row(data: DataProto) -> Any:
    """The row that is scored: of several outputs of a session, veRL scores the last."""
    return data[-1:][0]


def _score_of(result: Any) -> tuple[float, dict[str, Any]]:
    others: dict[str, Any] = {}
    score = result
    if isinstance(result, Mapping):
        if "score" not in result:
            raise CustomRewardError(
                f"reward.custom_reward_function returned a mapping without 'score': {sorted(result)}"
            )
        score = result["score"]
        others = {str(key): value for key, value in result.items() if key != "score"}
    if hasattr(score, "item") and getattr(score, "size", None) is not None and not isinstance(score, numbers.Number):
        score = score.item()  # a tensor or an array of one number
    if not isinstance(score, numbers.Real) or not math.isfinite(score):
        raise CustomRewardError(f"reward.custom_reward_function returned {score!r:.200}, which is no finite number")
    return float(score), others
