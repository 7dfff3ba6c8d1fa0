"""A reward part of your own: shorter thoughts earn more, and an answer that hedges is penalised.

    python -m verl.trainer.main_ppo +medeyes=qwen2_5_vl_3b medeyes.data=DATA \
        'reward.medeyes.parts=[{name: r_brevity, weight: 0.1, path: examples/reward_part.py:brevity},
                               {name: r_hedging, weight: -0.2, path: examples/reward_part.py:hedging}]'
"""

from typing import Any

from medeyes_verl.gaze.trace import EpisodeTrace
from medeyes_verl.reward.parts import RowFacts

WORDS = 40
HEDGES = ("maybe", "possibly", "cannot tell")


def brevity(trace: EpisodeTrace, row: RowFacts) -> dict[str, Any]:
    """Return 1 for turns of no words, 0 from `WORDS` words a turn on; the mean number of words is logged too."""
    words = sum(len(turn.reasoning.split()) for turn in trace.turns) / max(1, trace.num_turns)
    return {"score": max(0.0, 1 - words / WORDS), "words": words}


async def hedging(trace: EpisodeTrace, row: RowFacts) -> float:
    """Return 1 where an open answer hedges; async, as a judge behind an endpoint would be."""
    answer = (trace.answer or "").lower()
    return float(row.question_type == "open" and any(hedge in answer for hedge in HEDGES))
