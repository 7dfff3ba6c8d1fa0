"""The client: what is tried again, what ends the run, what ends one episode."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from medeyes_verl.evaluation.run import Endpoint, only_model
from medeyes_verl.gaze.rollout import Completion
from medeyes_verl.http.client import HttpSettings
from medeyes_verl.policies.client import ChatClient, EndpointError, RequestRefusedError

IMPATIENT = HttpSettings("", timeout=5, retries=1, backoff=0.01)
BODY = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Question 0?"}]}]}


def ask(url: str) -> Completion:
    async def main() -> Completion:
        async with ChatClient(url, settings=IMPATIENT) as client:
            return await client.chat(BODY)

    return asyncio.run(main())


def answer(content: Any, **more: Any) -> str:
    return json.dumps({"choices": [{"message": {"content": content}, **more}], "usage": None})


def test_a_reply_is_read(endpoints: Callable[..., Any], good_policy: Any) -> None:
    endpoint = endpoints(good_policy)
    usual = ask(endpoint.url)
    assert usual.text.startswith("<reasoning>scan")
    assert (usual.token_ids, usual.prompt_ids, usual.prompt_tokens) == (None, None, 40)
    told = json.loads(answer("hi", token_ids=[5, 6])) | {"prompt_token_ids": [1, 2, 3]}
    endpoint.faults.append((200, json.dumps(told)))
    reply = ask(endpoint.url)
    assert (reply.token_ids, reply.prompt_ids) == ((5, 6), (1, 2, 3))
    endpoint.faults.append((200, answer(None)))
    assert ask(endpoint.url).text == ""


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(endpoints: Callable[..., Any], good_policy: Any, status: int) -> None:
    endpoint = endpoints(good_policy)
    endpoint.faults.append((status, "not now"))
    assert ask(endpoint.url).text
    endpoint.faults += [(status, "not now"), (status, "still\n not")]
    with pytest.raises(EndpointError, match=f"failed 2 times, the last time with HTTP {status}: still not"):
        ask(endpoint.url)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_the_server_will_not_take_is_not_tried_again(
    endpoints: Callable[..., Any], good_policy: Any, status: int
) -> None:
    endpoint = endpoints(good_policy)
    endpoint.faults.append((status, json.dumps({"error": {"message": "too long"}})))
    with pytest.raises(RequestRefusedError, match=f"HTTP {status}: too long"):
        ask(endpoint.url)
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_closed_door_ends_the_run(endpoints: Callable[..., Any], good_policy: Any, status: int) -> None:
    endpoint = endpoints(good_policy)
    endpoint.faults.append((status, "no"))
    with pytest.raises(EndpointError, match=f"HTTP {status}"):
        ask(endpoint.url)
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize(
    "body",
    [
        "<html>", "[]", "{}", '{"choices": []}', '{"choices": [{}]}', '{"choices": [{"message": null}]}', answer(7),
        answer(["part"]), answer("hi", token_ids=["x"]), "[" * 100_000, '"' + "x" * 5_000_000 + '"',
    ],
)  # fmt: skip
def test_a_server_that_is_no_chat_endpoint_is_said_so(
    endpoints: Callable[..., Any], good_policy: Any, body: str
) -> None:
    endpoint = endpoints(good_policy)
    endpoint.faults.append((200, body))
    with pytest.raises(EndpointError, match="does not answer as"):
        ask(endpoint.url)


def test_nobody_there() -> None:
    with pytest.raises(EndpointError, match="failed 2 times, the last time with Connect"):
        ask("http://127.0.0.1:9/v1")


def test_there_are_no_more_connections_than_allowed_and_they_are_kept(endpoints: Callable[..., Any]) -> None:
    endpoint = endpoints(lambda question, turn: time.sleep(0.02) or "hi")

    async def main() -> list[Completion]:
        async with ChatClient(endpoint.url, settings=IMPATIENT, connections=3) as client:
            return await asyncio.gather(*(client.chat(BODY) for _ in range(12)))

    assert len(asyncio.run(main())) == 12
    assert len(endpoint.connections) == 3


def test_what_is_given_up_leaves_its_connection_to_others(endpoints: Callable[..., Any]) -> None:
    endpoint = endpoints(lambda question, turn: time.sleep(0.2) or "hi")

    async def main() -> Completion:
        async with ChatClient(endpoint.url, settings=IMPATIENT, connections=1) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.chat(BODY), 0.05)
            return await asyncio.wait_for(client.chat(BODY), 5)

    assert asyncio.run(main()).text == "hi"


def test_the_only_model_is_found(endpoints: Callable[..., Any], good_policy: Any) -> None:
    assert only_model(Endpoint(base_url=endpoints(good_policy).url)) == "scripted"
