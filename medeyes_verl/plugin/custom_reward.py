"""The user's own reward function, as one part of the reward: veRL's key ``reward.custom_reward_function``.

Called as veRL's NaiveRewardManager calls it (verl/experimental/reward_loop/reward_manager/naive.py), sync or async.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from verl import DataProto

from medeyes_verl.data.completion import UNKNOWN_SOURCE
from medeyes_verl.reward.parts import call, score_of


class CustomReward:
    """The function of a run, with what veRL hands to it beside the row."""

    def __init__(self, function: Callable[..., Any], tokenizer: Any, of_reward_model: Mapping[str, Any]) -> None:
        self._function = function
        self._tokenizer = tokenizer
        self._of_reward_model = dict(of_reward_model)

    async def __call__(self, item: Any, extra_info: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Score one row: the score, and the other keys of a mapping that the function returned.

        Raises what the function raises, and ScoreError for a result that is no finite number.
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
        return score_of(await call(self._function, **arguments), "reward.custom_reward_function")

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
