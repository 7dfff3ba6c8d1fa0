"""The endpoint oracle against a real server on loopback that fails, hangs, cuts its replies and lies."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medeyes_verl.expert.build import build
from medeyes_verl.expert.oracles.client import HttpSettings
from medeyes_verl.expert.oracles.endpoint import EndpointOracle, EndpointSettings
from medeyes_verl.expert.oracles.protocol import Candidate, OracleDownError, OracleError
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.sampler import SamplerSettings, sample
from medeyes_verl.expert.store import StoreWriter, TrajectoryStore
from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.gaze.geometry import Box, Size

VIEW = PixelBounds(56 * 56, 280 * 280)
"""A picture of 1120 × 1120 is shown as 280 × 280: a quarter."""
FAST = HttpSettings("", timeout=60.0, retries=3, backoff=0.001, max_backoff=0.02)
"""Short pauses; but a timeout that no loaded machine reaches, where a test counts requests."""


@pytest.fixture
def question(tmp_path: Path) -> Question:
    Image.linear_gradient("L").resize((1120, 1120)).save(tmp_path / "p.png")
    return Question("q", "Is there a mass?", "closed", "yes", (), (str(tmp_path / "p.png"),), (Size(1120, 1120),))


def chat(content: Any, tokens: int = 10) -> bytes:
    text = content if isinstance(content, str) else json.dumps(content)
    return json.dumps({"choices": [{"message": {"content": text}}], "usage": {"total_tokens": tokens}}).encode()


def region(*box: float, confidence: Any = 0.6, label: str = "mass") -> dict[str, Any]:
    return {"image": 1, "bbox_2d": list(box), "label": label, "confidence": confidence}


LOCATED = {"thought": "Denser on the left.", "regions": [region(14, 28, 70, 84)]}
SEEN = {"thought": "A mass with a sharp edge.", "label": "mass", "confidence": 0.9}
ANSWERED = {"thought": "There is a mass.", "answer": "Yes."}


def kind(request: dict[str, Any]) -> str:
    text = request["messages"][1]["content"][-1]["text"]
    return "locate" if '"regions"' in text else "answer" if '"answer"' in text else "assess"


def oracle_at(url: str, **changes: Any) -> EndpointOracle:
    http = replace(FAST, url=url, **{key: changes.pop(key) for key in list(changes) if hasattr(FAST, key)})
    return EndpointOracle(EndpointSettings(http, "expert-7b", bounds=VIEW, **changes))


def ask(serve: type, behave: Callable[[dict[str, Any], int], Any], do: Callable[[EndpointOracle], Any], **changes: Any):  # type: ignore[no-untyped-def]
    """Run `do(oracle)` against a server that behaves so; the result (or the exception) and the server."""

    async def run() -> tuple[Any, Any]:
        async with serve(behave) as server:
            oracle = oracle_at(server.url, **changes)
            try:
                return await do(oracle), server
            except (OracleError, OracleDownError) as error:
                return error, server
            finally:
                await oracle.close()

    return asyncio.run(run())


def test_three_questions_and_their_answers(serve: type, reply: type, question: Question) -> None:
    said = {"locate": LOCATED, "assess": SEEN, "answer": ANSWERED}

    async def all_three(oracle: EndpointOracle) -> Any:
        located = await oracle.locate(question, ())
        assessed = await oracle.assess(question, located.candidates[0], Box(0, 100, 300, 400))
        return located, assessed, await oracle.answer(question, ())

    (located, assessed, answer), server = ask(
        serve, lambda request, number: reply(body=chat(said[kind(request)])), all_three
    )
    # [14, 28, 70, 84] of 280 px are four times that of 1120 px.
    assert located.candidates == (Candidate(Box(56, 112, 280, 336), 0.6, 1, "mass"),)
    assert located.words == "Denser on the left."
    assert (assessed.confidence, assessed.label, assessed.words) == (0.9, "mass", "A mass with a sharp edge.")
    assert answer.text == "Yes."
    first = server.requests[0]
    assert first["model"] == "expert-7b"
    assert first["temperature"] == 0.0
    assert first["response_format"]["type"] == "json_schema"
    assert "280 × 280" in first["messages"][1]["content"][-1]["text"]
    picture = first["messages"][1]["content"][0]["image_url"]["url"]
    assert Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1]))).size == (280, 280)


def test_the_other_frame(serve: type, reply: type, question: Question) -> None:
    body = chat({"regions": [region(500, 250, 1000, 500)]})
    located, server = ask(
        serve, lambda *_: reply(body=body), lambda oracle: oracle.locate(question, ()), frame="relative_1000"
    )
    assert located.candidates[0].box == Box(560, 280, 1120, 560)
    assert "thousandths" in server.requests[0]["messages"][1]["content"][-1]["text"]


def test_a_narrower_box_in_a_crop_lies_inside_the_gaze(serve: type, reply: type, question: Question) -> None:
    """A gaze of 280 px from (200, 400) is shown pixel by pixel."""
    body = chat({**SEEN, "bbox_2d": [10, 20, 110, 220]})
    assessed, _ = ask(
        serve,
        lambda *_: reply(body=body),
        lambda oracle: oracle.assess(question, Candidate(Box(210, 410, 300, 500), 0.5), Box(200, 400, 480, 680)),
    )
    assert assessed.box == Box(210, 420, 310, 620)


@pytest.mark.parametrize(
    ("regions", "reasons", "left"),
    [
        ([region(14, 28, 70, 84, confidence=None)], ["confidence missing"], 0),
        ([region(14, 28, 70, 84, confidence=7)], ["confidence outside 0..1"], 0),
        ([region(14, 28, 70, 84, confidence="90%")], [], 1),
        ([region(70, 28, 14, 84)], ["box inverted or empty"], 0),
        ([region(300, 300, 400, 400)], ["box outside its picture"], 0),
        ([region(0.1, 0.1, 0.5, 0.5)], ["box outside its picture"], 0),
        ([region(270, 270, 283, 283)], [], 1),
        ([{**region(1, 2, 30, 40), "image": 2}], ["unknown image"], 0),
        (["left lung"], ["region malformed"], 0),
        # It contradicts itself: one region, two confidences. The higher one is its last word on what to look at.
        ([region(14, 28, 70, 84, confidence=0.2), region(14, 28, 70, 85, confidence=0.9)], ["region said twice"], 1),
        ([], [], 0),
    ],
)
def test_what_makes_no_sense_is_refused_and_counted(
    serve: type, reply: type, question: Question, regions: list[Any], reasons: list[str], left: int
) -> None:
    body = chat({"thought": "", "regions": regions})
    located, _ = ask(serve, lambda *_: reply(body=body), lambda oracle: oracle.locate(question, ()))
    assert (list(located.rejected), len(located.candidates)) == (reasons, left)
    if reasons == ["region said twice"]:
        assert located.candidates[0].confidence == 0.9


@pytest.mark.parametrize(
    ("said", "confidence", "rejected"),
    [
        ({"label": "mass"}, 0.5, ("confidence missing",)),
        ({"label": "mass", "confidence": 3}, 0.5, ("confidence outside 0..1",)),
        ({"label": "", "confidence": 0.9}, pytest.approx(0.1), ("confident of nothing",)),
        ({"label": "", "confidence": 0.1}, 0.1, ()),
        ([{"label": "mass", "confidence": 0.8}], 0.8, ()),
    ],
)
def test_assessments_that_say_too_little(
    serve: type, reply: type, question: Question, said: Any, confidence: float, rejected: tuple[str, ...]
) -> None:
    assessed, _ = ask(
        serve,
        lambda *_: reply(body=chat(said)),
        lambda oracle: oracle.assess(question, Candidate(Box(0, 0, 100, 100), 0.5), Box(0, 0, 200, 200)),
    )
    assert (assessed.confidence, assessed.rejected) == (confidence, rejected)


def test_the_wrong_frame_stops_everything(serve: type, reply: type, question: Question) -> None:
    """A model that writes thousandths where pixels of 280 are expected."""
    body = chat({"regions": [region(500, 250, 1000, 500), region(10, 10, 30, 30)]})

    async def many(oracle: EndpointOracle) -> None:
        for _ in range(20):
            await oracle.locate(question, ())

    error, server = ask(serve, lambda *_: reply(body=body), many)
    assert isinstance(error, OracleDownError)
    assert "10 of 20 boxes lie outside" in str(error)
    assert "try relative_1000" in str(error)
    assert len(server.requests) == 10


@pytest.mark.parametrize("status", [429, 500, 503])
def test_faults_of_the_moment_are_asked_again(serve: type, reply: type, question: Question, status: int) -> None:
    located, server = ask(
        serve,
        lambda _, number: reply(status) if number < 3 else reply(body=chat(LOCATED)),
        lambda oracle: oracle.locate(question, ()),
    )
    assert len(located.candidates) == 1
    assert len(server.requests) == 4


def test_a_server_that_hangs_is_left_after_the_timeout(serve: type, reply: type, question: Question) -> None:
    """It says nothing until the client goes, so that the call ends at all only because the client went."""
    start = time.monotonic()
    located, server = ask(
        serve,
        lambda _, number: reply(hang=number == 0, body=chat(LOCATED)),
        lambda oracle: oracle.locate(question, ()),
        timeout=2.0,
    )
    assert (len(located.candidates), len(server.requests)) == (1, 2)
    assert 2.0 <= time.monotonic() - start < FAST.timeout


def test_half_a_body_is_asked_for_again(serve: type, reply: type, question: Question) -> None:
    located, server = ask(
        serve,
        lambda _, number: reply(body=chat(LOCATED), cut=number == 0),
        lambda oracle: oracle.locate(question, ()),
    )
    assert (len(located.candidates), len(server.requests)) == (1, 2)


def test_retries_end(serve: type, reply: type, question: Question) -> None:
    error, server = ask(serve, lambda *_: reply(500, b"out of memory"), lambda oracle: oracle.locate(question, ()))
    assert isinstance(error, OracleError)
    assert "failed 4 times, the last time with HTTP 500: out of memory" in str(error)
    assert len(server.requests) == 4


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_every_request_would_get_stops_the_build(
    serve: type, reply: type, question: Question, status: int
) -> None:
    error, server = ask(serve, lambda *_: reply(status, b"no such model"), lambda oracle: oracle.locate(question, ()))
    assert isinstance(error, OracleDownError)
    assert "no such model" in str(error)
    assert len(server.requests) == 1


def test_a_server_asks_for_patience(serve: type, reply: type, question: Question) -> None:
    start = time.monotonic()
    ask(
        serve,
        lambda _, number: reply(429, headers="retry-after: 600\r\n") if number == 0 else reply(body=chat(LOCATED)),
        lambda oracle: oracle.locate(question, ()),
        max_backoff=0.3,
    )
    assert 0.3 <= time.monotonic() - start < 60  # what it asks for, bounded by max_backoff


def test_half_json_is_saved_or_asked_for_again(serve: type, reply: type, question: Question) -> None:
    whole = json.dumps({"thought": "x", "regions": [region(14, 28, 70, 84), region(100, 100, 150, 150)]})
    saved, server = ask(serve, lambda *_: reply(body=chat(whole[:-20])), lambda oracle: oracle.locate(question, ()))
    assert (len(saved.candidates), len(server.requests)) == (1, 1)
    again, server = ask(
        serve,
        lambda _, number: reply(body=chat('{"thought": "I' if number == 0 else LOCATED)),
        lambda oracle: oracle.locate(question, ()),
    )
    assert (len(again.candidates), [each["temperature"] for each in server.requests]) == (1, [0.0, 0.7])


@pytest.mark.parametrize("content", ["", "I cannot help with medical pictures.", '{"regions": "none"}', None])
def test_an_answer_that_cannot_be_read_is_an_error_of_that_question(
    serve: type, reply: type, question: Question, content: str | None
) -> None:
    body = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
    error, server = ask(serve, lambda *_: reply(body=body), lambda oracle: oracle.locate(question, ()))
    assert isinstance(error, OracleError)
    assert "no readable answer" in str(error)
    assert len(server.requests) == 2


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'{"choices": []}', b'{"choices": [{"message": 3}]}'])
def test_what_is_no_chat_completion_says_so(serve: type, reply: type, question: Question, body: bytes) -> None:
    error, _ = ask(serve, lambda *_: reply(body=body), lambda oracle: oracle.locate(question, ()))
    assert isinstance(error, OracleError)
    assert "not a chat completion" in str(error)


def test_structured_output_is_given_up_where_the_server_refuses_it(
    serve: type, reply: type, question: Question
) -> None:
    async def twice(oracle: EndpointOracle) -> Any:
        await oracle.locate(question, ())
        return await oracle.locate(question, ())

    located, server = ask(
        serve,
        lambda request, _: reply(400) if "response_format" in request else reply(body=chat(LOCATED)),
        twice,
    )
    assert len(located.candidates) == 1
    assert ["response_format" in each for each in server.requests] == [True, False, False]


def test_the_budget_is_kept(serve: type, reply: type, question: Question) -> None:
    async def many(oracle: EndpointOracle) -> None:
        for _ in range(9):
            await oracle.locate(question, ())

    error, server = ask(serve, lambda *_: reply(body=chat(LOCATED)), many, max_requests=3)
    assert isinstance(error, OracleDownError)
    assert "3 requests is spent" in str(error)
    assert len(server.requests) == 3
    error, server = ask(serve, lambda *_: reply(body=chat(LOCATED, tokens=100)), many, max_tokens=250)
    assert "250 tokens is spent (300 used)" in str(error)
    assert len(server.requests) == 3


def test_concurrency_is_bounded(serve: type, reply: type, question: Question) -> None:
    async def many(oracle: EndpointOracle) -> None:
        await asyncio.gather(*(oracle.locate(question, ()) for _ in range(30)))

    _, server = ask(serve, lambda *_: reply(body=chat(LOCATED), delay=0.1), many, concurrency=4)
    assert server.most_busy == 4


def test_nothing_is_asked_twice(serve: type, reply: type, question: Question, tmp_path: Path) -> None:
    async def locate(oracle: EndpointOracle) -> Any:
        return await oracle.locate(question, ()), oracle.client.spent

    cache = tmp_path / "cache"
    (first, _), server = ask(serve, lambda *_: reply(body=chat(LOCATED)), locate, cache=cache)
    assert len(server.requests) == 1
    (second, spent), server = ask(serve, lambda *_: reply(500), locate, cache=cache)
    assert (second, len(server.requests), spent.cached) == (first, 0, 1)
    # The same content under another name is the same picture; another content is not.
    moved = replace(question, image_paths=(str(Path(question.image_paths[0]).rename(tmp_path / "moved.png")),))
    _, server = ask(serve, lambda *_: reply(500), lambda oracle: oracle.locate(moved, ()), cache=cache)
    assert len(server.requests) == 0
    Image.new("RGB", (1120, 1120)).save(tmp_path / "other.png")
    other = replace(question, image_paths=(str(tmp_path / "other.png"),))
    _, server = ask(serve, lambda *_: reply(body=chat(LOCATED)), lambda oracle: oracle.locate(other, ()), cache=cache)
    assert len(server.requests) == 1


def test_a_cached_reply_cut_off_is_asked_for_again(
    serve: type, reply: type, question: Question, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    ask(serve, lambda *_: reply(body=chat(LOCATED)), lambda oracle: oracle.locate(question, ()), cache=cache)
    file = next(cache.rglob("*.json"))
    file.write_bytes(file.read_bytes()[:10])
    located, server = ask(
        serve, lambda *_: reply(body=chat(LOCATED)), lambda oracle: oracle.locate(question, ()), cache=cache
    )
    assert (len(located.candidates), len(server.requests)) == (1, 1)


def test_the_key_travels_in_the_header_and_nowhere_else(
    serve: type, reply: type, question: Question, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run() -> Any:
        return ask(
            serve,
            lambda *_: reply(body=chat(LOCATED)),
            lambda oracle: oracle.locate(question, ()),
            api_key_variable="TEST_EXPERT_KEY",
            cache=tmp_path / "cache",
        )

    error, _ = run()
    assert isinstance(error, OracleDownError)
    assert "TEST_EXPERT_KEY" in str(error)
    monkeypatch.setenv("TEST_EXPERT_KEY", "not-to-be-kept")
    _, server = run()
    assert "authorization: Bearer not-to-be-kept" in server.headers[0].replace("Authorization", "authorization")
    assert all("not-to-be-kept" not in file.read_text() for file in (tmp_path / "cache").rglob("*.json"))


def test_a_build_over_a_bad_server_is_resumed_without_asking_again(
    serve: type, reply: type, question: Question, tmp_path: Path
) -> None:
    """Every fourth question put to it fails twice, the budget ends in the middle; the second build asks what is left.

    Faults belong to what is asked, not to a count of all requests, which one unlucky request could meet at each of
    its tries: none fails more often than the client tries again, in whatever order requests arrive.
    """
    said = {"locate": LOCATED, "assess": SEEN, "answer": ANSWERED}
    asked = [replace(question, expert_id=f"q{number}", text=f"Is there a mass, {number}?") for number in range(6)]
    settings = SamplerSettings(n=2)

    answered: list[str] = []
    faults_left: dict[str, int] = {}
    faults = 2
    assert faults < FAST.retries

    def behave(request: dict[str, Any], _: int) -> Any:
        content = json.dumps(request["messages"])
        if faults_left.setdefault(content, faults if len(faults_left) % 4 == 3 else 0):
            faults_left[content] -= 1
            return reply(500)
        answered.append(content)
        return reply(body=chat(said[kind(request)]))

    async def run(**changes: Any) -> tuple[Any, Any]:
        async with serve(behave) as server:
            oracle = oracle_at(server.url, cache=tmp_path / "cache", **changes)
            with StoreWriter(tmp_path / "store") as writer:
                counts = await build(
                    asked, lambda each: sample(each, oracle, settings, 0, lambda q, a: "yes" in a.lower()), writer, 3
                )
            await oracle.close()
            return counts, server

    first, _ = asyncio.run(run(max_requests=12))
    assert first.stopped is not None
    assert first.questions < 6
    second, server = asyncio.run(run())
    assert (second.stopped, second.failed) == (None, {})
    assert second.known == first.questions
    assert len(TrajectoryStore(tmp_path / "store")) == 6
    third, server = asyncio.run(run())
    assert (third.known, server.requests) == (6, [])
    assert len(answered) == len(set(answered)) > 12
    assert set(faults_left.values()) == {0}  # every fault was met and overcome


def test_an_answer_in_another_language_is_labelled_wrong(serve: type, reply: type, question: Question) -> None:
    said = {"locate": LOCATED, "assess": SEEN, "answer": {"answer": "是的，有肿块"}}

    async def run(oracle: EndpointOracle) -> Any:
        return await sample(question, oracle, SamplerSettings(n=1), 0, lambda q, a: a.lower().startswith("yes"))

    made, _ = ask(serve, lambda request, _: reply(body=chat(said[kind(request)])), run)
    assert [(each.answer, each.correct) for each in made.trajectories] == [("是的，有肿块", False)]
