"""The agent loop ``medeyes_demonstrations``: demonstrations in any agent loop, which is left as it is.

The loop that ``….demonstrations.loop`` names runs every session of a prompt. In the policy's sessions it talks to
veRL's server. In the last ``n_expert`` sessions it talks to `DemonstrationServer`, which answers each request with the
next turn of a demonstration from the row's column, in place of a model. Prompt, tools, observations, masks and limits
are thus the loop's own, and an expert row has exactly the tokens and the mask that the policy would get had it
generated those turns.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

import hydra
from verl.experimental.agent_loop import agent_loop as verl_loops
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, register
from verl.workers.rollout.replica import TokenOutput

from medeyes_verl.config.settings import ROLLOUT, RolloutSettings, rollout_settings
from medeyes_verl.data.completion import own_name
from medeyes_verl.expert.demonstration import Demonstration, DemonstrationError, demonstrations_of
from medeyes_verl.plugin.streams import EXPERT, ON_POLICY, OUR_MODES, StreamsUnknownError, knows_streams

logger = logging.getLogger(__name__)
NAME = "medeyes_demonstrations"


@register(NAME)
class DemonstrationLoop(AgentLoopBase):
    """veRL makes an instance a session."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._given = given

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> Any:
        settings = _settings_of(_Identity(self.config))
        place = int(row.get("session_id", 0)) - (self.rollout_config.n - settings.n_expert)
        if place < 0:
            return await self._inner(settings, self.server_manager).run(sampling_params, **row)
        column = settings.demonstrations.column
        try:
            found = demonstrations_of(row.get(column or ""))
            if not found:
                output = await self._inner(settings, self.server_manager).run(sampling_params, **row)
                return _marked(output, {"stream": ON_POLICY, "source": "policy", "expert_missing": True})
            # further ones have their turn in later steps
            chosen = found[(int(row.get("global_steps", 0)) * settings.n_expert + place) % len(found)]
            turns = self._turns(chosen, list(row["raw_prompt"]))
        except DemonstrationError as error:
            raise DemonstrationError(f"row {own_name(row.get('extra_info'))}, column {column}: {error}") from error
        server = DemonstrationServer(turns, self.tokenizer.eos_token_id)
        output = await self._inner(settings, server).run(sampling_params, **row)
        if server.asked != len(turns):
            logger.warning(
                "row %s: the agent loop %s asked for %d turns, and the demonstration has %d",
                *(own_name(row.get("extra_info")), settings.demonstrations.loop, server.asked, len(turns)),
            )
        fields = {"stream": EXPERT, "source": "demonstration", "turns_unread": max(0, len(turns) - server.asked)}
        return _marked(output, fields)

    def _inner(self, settings: RolloutSettings, server: Any) -> Any:
        name = settings.demonstrations.loop
        known = verl_loops._agent_loop_registry
        if name not in known or name == NAME:
            raise ValueError(
                f"{ROLLOUT}.demonstrations.loop={name}: no such agent loop is registered; known are "
                f"{', '.join(sorted(each for each in known if each != NAME))}"
            )
        return hydra.utils.instantiate(known[name], **{**self._given, "server_manager": server})

    def _turns(self, demonstration: Demonstration, prompt: list[dict[str, Any]]) -> list[tuple[list[int], list[float]]]:
        """Token ids and log-probabilities of each turn, as the policy would have generated them."""
        ids = demonstration.token_ids
        if ids is None:
            ids = tuple(self._encoded(text) for text in self._texts(prompt, demonstration.messages))
        log_probs = demonstration.log_probs or tuple((0.0,) * len(turn) for turn in ids)
        if [*map(len, log_probs)] != [*map(len, ids)]:
            raise DemonstrationError(
                f"log_probs have {[*map(len, log_probs)]} numbers a turn, and the policy's tokenizer gives the turns "
                f"{[*map(len, ids)]} tokens; store token_ids beside them"
            )
        return [([*turn], [*scores]) for turn, scores in zip(ids, log_probs, strict=True)]

    def _texts(self, prompt: list[dict[str, Any]], messages: tuple[dict[str, Any], ...]) -> list[str]:
        """What the policy would have written for each assistant message, by its own chat template."""
        texts = []
        for place, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = [*prompt, *messages[:place]]
            opened, closed = self._rendered(before, True), self._rendered([*before, message], False)
            if not closed.startswith(opened):
                raise DemonstrationError(
                    "the policy's chat template does not write the message after the prompt that the policy would "
                    "be asked with (it may drop reasoning); store token_ids"
                )
            texts.append(closed[len(opened) :])
        return texts

    def _rendered(self, messages: list[dict[str, Any]], asks: bool) -> str:
        template = (self.processor or self.tokenizer).apply_chat_template
        try:
            return template(messages, tokenize=False, add_generation_prompt=asks, **self.apply_chat_template_kwargs)
        except Exception as error:  # a template is a program of its own
            raise DemonstrationError(f"the policy's chat template refuses the messages: {error}") from error

    def _encoded(self, text: str) -> tuple[int, ...]:
        """The turn's tokens up to and with the end of turn; what a template writes after that is no part of it."""
        end = self.tokenizer.eos_token
        written = text.split(end)[0] if end else text
        return (*self.tokenizer.encode(written, add_special_tokens=False), self.tokenizer.eos_token_id)


class DemonstrationServer:
    """Answers an agent loop's requests with the turns of a demonstration, as veRL's LLM client would."""

    def __init__(self, turns: list[tuple[list[int], list[float]]], end: int) -> None:
        self._turns = turns
        self._end = end
        self.asked = 0
        """Requests so far. Those beyond the demonstration's turns are answered with an end of turn."""

    async def generate(self, *_: Any, **__: Any) -> TokenOutput:
        """Return the next turn."""
        ids, log_probs = self._turns[self.asked] if self.asked < len(self._turns) else ([self._end], [0.0])
        self.asked += 1
        return TokenOutput(token_ids=[*ids], log_probs=[*log_probs], stop_reason="completed", num_preempted=0)


class _Identity:
    """A configuration as a key: one object for as long as its worker lives."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def __hash__(self) -> int:
        return id(self.config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.config is self.config


@lru_cache(maxsize=4)
def _settings_of(of: _Identity) -> RolloutSettings:
    settings = rollout_settings(of.config)
    if settings.n_expert and not knows_streams(of.config):
        raise StreamsUnknownError(
            f"{ROLLOUT}.n_expert={settings.n_expert} under a trainer that does not say which rows are demonstrations: "
            f"it would train on them as on the policy's own. Set {OUR_MODES}, or n_expert to 0"
        )
    return settings


def _marked(output: Any, fields: dict[str, Any]) -> Any:
    """The loop's output, or each of them where it gives several, with `fields` added."""
    for each in output if isinstance(output, list) else [output]:
        each.extra_fields = {**each.extra_fields, **fields}
    return output
