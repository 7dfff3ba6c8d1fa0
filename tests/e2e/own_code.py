"""What a user of veRL brings to a run: a reward function and an agent loop that mixes in demonstrations.

Stands in a module of its own, since veRL's workers import it by path.
"""

from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop


async def shorter_is_better(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any], weight: float = 1.0
) -> dict[str, Any]:
    """More reward for fewer characters, and all of it for the ground truth itself."""
    if solution_str == ground_truth:
        return {"score": weight, "demonstrated": 1.0, "kind": extra_info["question_type"]}
    return {"score": weight / (2 + len(solution_str)), "demonstrated": 0.0, "kind": extra_info["question_type"]}


def always_fails(data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any]) -> float:
    """A reward with a mistake in it."""
    raise RuntimeError(f"no judge for {data_source}")


class DemonstratedLoop(SingleTurnAgentLoop):
    """Two of four sessions give the ground truth as an expert's row, the others are the policy's."""

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        if row["session_id"] < 2:
            return await super().run(sampling_params, **row)
        messages = list(row["raw_prompt"])
        images = (await self.process_multi_modal_info(messages)).get("images")
        prompt_ids = await self.ct_build_initial_tokens(messages, images=images, mm_inputs_out={})
        answer = self.tokenizer.encode(row["reward_model"]["ground_truth"], add_special_tokens=False)
        return AgentLoopOutput(
            prompt_ids=prompt_ids,
            response_ids=answer,
            response_mask=[1] * len(answer),
            response_logprobs=[0.0] * len(answer),
            multi_modal_data={"images": images},
            num_turns=2,
            metrics=AgentLoopMetrics(),
            extra_fields={"stream": "expert"},
        )
