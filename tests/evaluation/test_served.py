"""A real vLLM on the CPU, started and ended by the evaluation, with an untrained policy."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medeyes_verl.data.row import prompt_messages
from medeyes_verl.evaluation.recipe import Serving, read_recipe
from medeyes_verl.evaluation.run import read_tables
from medeyes_verl.evaluation.session import Options, play
from medeyes_verl.evaluation.sources import Source
from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.crop import open_picture
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.policies.chat import Requests, Sampling
from medeyes_verl.policies.chat_conversation import chat_messages, feedback
from medeyes_verl.policies.client import ChatClient, EndpointError
from medeyes_verl.policies.server import SERVED_NAME, RunningServer, serve

pytestmark = pytest.mark.ray

GAZES = (
    '<reasoning>scan</reasoning>\n<action>{"name": "Gaze", "coordinate": [28, 28, 56, 56]}</action>',
    '<reasoning>empty</reasoning>\n<action>{"name": "Gaze", "coordinate": [84, 0, 28, 56]}</action>',
)


@dataclass(frozen=True)
class Prepared:
    table: Path
    model: Path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    from medeyes_verl.data.phantom import PhantomSettings, make_phantom_row
    from medeyes_verl.data.row import write_rows
    from medeyes_verl.tiny.model import TinyShape, build_model, build_processor, save_policy
    from medeyes_verl.tiny.tokenizer import train_tokenizer

    pytest.importorskip("vllm")
    root = tmp_path_factory.mktemp("served")
    write_rows(root / "val.parquet", (make_phantom_row(PhantomSettings(), "val", place, root) for place in range(6)))
    words = [*GAZES, "What is the lesion?", "<feedback></feedback>", "<answer>ring</answer>"] * 3
    tokenizer = train_tokenizer(words)
    save_policy(build_model(tokenizer, TinyShape(), seed=0), build_processor(tokenizer), root / "model")
    return Prepared(root / "val.parquet", root / "model")


def test_a_policy_is_served_played_and_the_server_ended(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medeyes_verl.evaluation import session

    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "cmd.py").write_text("raise SystemExit('not the library')")
    monkeypatch.chdir(tmp_path / "here")
    servers: list[RunningServer] = []

    @contextmanager
    def watched(*arguments: Any, **options: Any) -> Iterator[RunningServer]:
        with serve(*arguments, **options) as server:
            servers.append(server)
            yield server

    monkeypatch.setattr(session, "serve", watched)
    source = Source("model", str(prepared.model), read_recipe("cpu_tiny"), (prepared.table,), tmp_path)
    rows = read_tables([prepared.table])
    said: list[str] = []
    outcome = play(source, rows, Options(samples=2), said.append, lambda *_: lambda _: None)
    assert sorted({episode.id for episode in outcome.episodes}) == sorted(row["extra_info"]["id"] for row in rows)
    assert len(outcome.episodes) == 12
    assert [episode.error for episode in outcome.episodes] == [None] * 12
    for episode in outcome.episodes:
        assert episode.prompts_differing is not None, "vLLM tells what it was fed"
        # the first prompt is ours; later ones hold an untrained policy's bytes, which no text carries faithfully
        assert episode.prompts_differing < max(2, episode.trace.num_turns)
        assert 0 < episode.trace.num_tokens <= source.recipe.response_length
    assert len(servers) == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(servers[0].pid, 0)

    again = play(source, rows, Options(samples=2), said.append, lambda *_: lambda _: None)
    assert len(again.episodes) == 12
    assert len(servers) == 1, "nothing is left to ask, so nothing is started"


def test_the_server_is_fed_the_tokens_of_training(prepared: Prepared, tmp_path: Path) -> None:
    """A whole episode, a crop and a fault in it: vLLM's prompt is what the agent loop would have built."""
    from transformers import AutoProcessor

    recipe = read_recipe("cpu_tiny")
    processor: Any = AutoProcessor.from_pretrained(prepared.model)
    row = read_tables([prepared.table])[0]
    episode = Episode([open_picture(path) for path in row["images"]], recipe.rules)
    messages = prompt_messages(row)
    training = Conversation(processor, messages, episode.views, recipe.response_length)
    sent = chat_messages(messages, episode.views)
    for text in GAZES:
        ids = processor.tokenizer.encode(text, add_special_tokens=False)
        training.add_turn(ids, [0.0] * len(ids))
        observation = episode.reply(text)
        assert observation is not None
        assert training.add_observation(observation)
        sent += [{"role": "assistant", "content": text}, {"role": "user", "content": feedback(observation)}]
    assert len(training.pictures) == 2, "the first gaze is cropped, the second is inverted and gets words"

    async def ask(server: RunningServer) -> Any:
        async with ChatClient(server.base_url, server.api_key) as client:
            return await client.chat(Requests(model=SERVED_NAME, turn_tokens=1, sampling=Sampling()).body(sent, 1, ""))

    with serve(str(prepared.model), recipe.serving, tmp_path / "vllm.log", pictures=4, concurrency=4) as server:
        reply = asyncio.run(ask(server))
    assert list(reply.prompt_ids) == training.prompt_ids + training.response_ids


def test_a_model_that_does_not_load_is_said_with_the_servers_words(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with (
        pytest.raises(EndpointError, match="while starting"),
        serve(str(tmp_path), Serving(), tmp_path / "vllm.log", pictures=1, concurrency=1),
    ):
        pass
