"""The conversation as tokens: what the policy wrote, what the environment wrote, and which is which.

Tokens the policy sampled are kept as sampled and never re-tokenised. Around each observation goes what the
model's chat template puts between two turns, encoded alone with its one crop. So the work grows linearly with
the turns, and since the seams lie at special tokens the result is identical to tokenising the whole
conversation at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from PIL import Image

from medeyes_verl.gaze.episode import Observation
from medeyes_verl.gaze.rollout import Completion


class Processor(Protocol):
    """What is used of a Hugging Face vision-language processor."""

    tokenizer: Any

    def apply_chat_template(self, conversation: Any, /, *, add_generation_prompt: bool, tokenize: bool) -> Any:
        """The conversation as text."""

    def __call__(self, *, text: list[str], images: list[Image.Image] | None) -> Mapping[str, Any]:
        """`input_ids`, a list for each text, each picture's placeholder expanded to its number of tokens."""


@dataclass(frozen=True, slots=True)
class _Wrapper:
    """What a chat template writes around an observation."""

    before: str
    """From the end of the model's turn to the observation: <|im_end|>\\n<|im_start|>user\\n."""
    picture: str
    """One picture: <|vision_start|><|image_pad|><|vision_end|>."""
    after: str
    """From the observation to the model's next turn: <|im_end|>\\n<|im_start|>assistant\\n."""
    end_id: int
    """The token that ends a turn, the first of `before`."""
    special_ids: frozenset[int]
    """Tokens that are no text at the end of a turn."""


_wrappers: WeakKeyDictionary[Any, _Wrapper] = WeakKeyDictionary()
"""By processor: an agent-loop worker has one for thousands of conversations."""


class Conversation:
    """One rollout's tokens, built turn by turn; the response never grows beyond `response_length`.

    `messages` is the prompt in the chat template's form; `views` are its pictures in their order. Raises
    ValueError when their numbers differ or when the chat template is not of the ChatML kind.
    """

    def __init__(
        self,
        processor: Processor,
        messages: Sequence[Mapping[str, Any]],
        views: Sequence[Image.Image],
        response_length: int,
    ) -> None:
        self._processor = processor
        self._wrapper = _wrapper_of(processor)
        self._response_length = response_length
        prompt = processor.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        shown = prompt.count(self._wrapper.picture)
        if shown != len(views):
            raise ValueError(f"the prompt has places for {shown} pictures, but {len(views)} were given")
        self.prompt_ids: list[int] = _encode(processor, prompt, list(views))
        """The prompt with its pictures' tokens and the generation prompt."""
        self.response_ids: list[int] = []
        """All that came after the prompt, by the model and by the environment."""
        self.response_mask: list[int] = []
        """1 for each of the model's own tokens, 0 for the environment's."""
        self.log_probs: list[float] = []
        """The sampler's log-probability of each response token; 0 for the environment's."""
        self.pictures: list[Image.Image] = list(views)
        """Every picture whose tokens are in the conversation, in order."""

    @property
    def room(self) -> int:
        """How many tokens the response may still grow."""
        return self._response_length - len(self.response_ids)

    def take(self, completion: Completion) -> tuple[str, int]:
        """Append a policy's turn, cut to the room; its text as the episode parses it, and its number of tokens."""
        ids = completion.token_ids
        if ids is None:
            ids = _encode(self._processor, completion.text, [])
        start = len(self.response_ids)
        self.add_turn(ids, [0.0] * len(ids) if completion.log_probs is None else completion.log_probs)
        kept = self.response_ids[start:]
        end = len(kept)
        while end and kept[end - 1] in self._wrapper.special_ids:
            end -= 1
        return str(self._processor.tokenizer.decode(kept[:end], skip_special_tokens=False)), len(kept)

    def add_turn(self, ids: Sequence[int], log_probs: Sequence[float]) -> bool:
        """Append the model's own tokens, mask 1. What does not fit is cut off; False when anything was."""
        if len(ids) != len(log_probs):
            raise ValueError(f"{len(ids)} tokens came with {len(log_probs)} log-probabilities")
        kept = min(len(ids), self.room)
        self.response_ids.extend(ids[:kept])
        self.response_mask.extend([1] * kept)
        self.log_probs.extend(log_probs[:kept])
        return kept == len(ids)

    def add_observation(self, observation: Observation) -> bool:
        """Close the model's turn and append the observation and the generation prompt, mask 0.

        False, with nothing added, when that would not leave room for one more token of the model: an
        observation, and with it a picture, is in the response whole or not at all.
        """
        wrapper = self._wrapper
        pictures = [] if observation.picture is None else [observation.picture]
        feedback = f"<feedback>{wrapper.picture * len(pictures)}{observation.text}</feedback>"
        ids = _encode(self._processor, wrapper.before + feedback + wrapper.after, pictures)
        if self.response_ids and self.response_ids[-1] == wrapper.end_id:
            ids = ids[1:]  # the model has ended its turn itself
        if len(ids) >= self.room:
            return False
        self.response_ids.extend(ids)
        self.response_mask.extend([0] * len(ids))
        self.log_probs.extend([0.0] * len(ids))
        self.pictures.extend(pictures)
        return True


def _encode(processor: Processor, text: str, pictures: list[Image.Image]) -> list[int]:
    return list(processor(text=[text], images=pictures or None)["input_ids"][0])


def _wrapper_of(processor: Processor) -> _Wrapper:
    if processor not in _wrappers:
        _wrappers[processor] = _derive_wrapper(processor)
    return _wrappers[processor]


def _derive_wrapper(processor: Processor) -> _Wrapper:
    """Render one exchange with marks in place of the texts and read off what stands between the marks."""
    turn, before_picture, after_picture = "MARKTURN", "MARKBEFORE", "MARKAFTER"
    observation = [
        {"type": "text", "text": before_picture},
        {"type": "image"},
        {"type": "text", "text": after_picture},
    ]
    exchange = [
        {"role": "user", "content": "question"},
        {"role": "assistant", "content": turn},
        {"role": "user", "content": observation},
    ]
    text = processor.apply_chat_template(exchange, add_generation_prompt=True, tokenize=False)
    if any(text.count(mark) != 1 for mark in (turn, before_picture, after_picture)):
        raise ValueError("the chat template does not keep the texts of an exchange as they are: it cannot be used")
    _, _, rest = text.partition(turn)
    before, _, rest = rest.partition(before_picture)
    picture, _, after = rest.partition(after_picture)
    end_id = _encode(processor, before, [])[0] if before else -1
    special_ids = frozenset(processor.tokenizer.all_special_ids)
    if not picture or end_id not in special_ids:
        raise ValueError(
            "the chat template does not end a turn with a special token or has no place for a picture: "
            f"it writes {before!r}, {picture!r}, {after!r} around an observation"
        )
    return _Wrapper(before, picture, after, end_id, special_ids)
