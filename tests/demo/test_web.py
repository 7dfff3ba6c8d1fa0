"""The demo's page as a server: what it serves, and what it refuses."""

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.http.destination import IN_THIS_PROCESS
from medeyes_verl.policies.stored import StoredPolicy, Unbudgeted

pytest.importorskip("starlette", reason="starlette is not installed: pip install medeyes-verl[demo]")

from starlette.testclient import TestClient

from medeyes_verl.demo import web
from medeyes_verl.demo.session import Stage
from medeyes_verl.demo.web import Example, demo_app

GAZE = '<reasoning>look</reasoning>\n<action>{"name": "Gaze", "coordinate": [28, 0, 84, 56]}</action>'
ANSWER = "<reasoning>seen</reasoning>\n<answer>ring</answer>"
OWN = {"x-medeyes-demo": "1"}


@pytest.fixture
def stage(recipe: Recipe) -> Stage:
    return Stage(
        "script", recipe, lambda messages, views: (Unbudgeted(), StoredPolicy([GAZE, ANSWER])), IN_THIS_PROCESS
    )


@pytest.fixture
def client(stage: Stage) -> TestClient:
    example = Example([Image.new("RGB", (224, 224))], "What is it?", "ring")
    return TestClient(demo_app(stage, example), base_url="http://127.0.0.1")


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((224, 224), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _lines(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def test_an_upload_is_played_as_json_lines(client: TestClient) -> None:
    lines = _lines(client.post("/play?question=What%20is%20it%3F", content=_png(), headers=OWN))
    assert [line["kind"] for line in lines] == ["pictures", "turn", "turn", "end"]
    assert lines[0]["pictures"][0]["width"] == 224
    assert lines[1]["box"] == [56, 0, 168, 112]
    assert lines[1]["crop"].startswith("data:image/png;base64,")
    assert (lines[3]["answer"], lines[3]["finish"]) == ("ring", "answered")


def test_the_example_is_played_without_an_upload(client: TestClient) -> None:
    start = client.get("/start").json()
    assert start["example"]["truth"] == "ring"
    assert "not a medical device" in start["disclaimer"]
    assert _lines(client.post("/play?question=x&example=1", headers=OWN))[-1]["answer"] == "ring"


@pytest.mark.parametrize("path", ["/", "/demo.js", "/demo.css", "/start"])
def test_every_answer_forbids_foreign_sources_and_caching(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "10.0.0.1"])
def test_a_name_that_is_not_this_machines_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 400


def test_a_request_of_another_site_is_refused(client: TestClient) -> None:
    assert client.post("/play?question=x", content=_png()).status_code == 403


@pytest.mark.parametrize("question", ["", "%20", "x" * 2001])
def test_a_question_is_needed_and_bounded(client: TestClient, question: str) -> None:
    assert client.post(f"/play?question={question}", content=_png(), headers=OWN).status_code == 400


def test_what_is_no_picture_is_refused_in_words(client: TestClient) -> None:
    response = client.post("/play?question=x", content=b"<svg/>", headers=OWN)
    assert (response.status_code, response.text) == (400, "the picture: no known picture format")


def test_an_upload_is_cut_off_at_its_bound(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MOST_PICTURE_BYTES", 1_000_000)
    sent = 0

    def endless() -> Any:
        nonlocal sent
        for _ in range(1_000):
            sent += 65_536
            yield bytes(65_536)

    assert client.post("/play?question=x", content=endless(), headers=OWN).status_code == 413


def test_an_error_of_the_endpoint_is_told(recipe: Recipe) -> None:
    class Broken:
        async def next_turn(self, conversation: Any) -> Any:
            raise web.EndpointError("the endpoint is gone")

    client = TestClient(
        demo_app(Stage("broken", recipe, lambda *_: (Unbudgeted(), Broken()), IN_THIS_PROCESS)),
        base_url="http://127.0.0.1",
    )
    lines = _lines(client.post("/play?question=x", content=_png(), headers=OWN))
    assert lines[-1] == {"kind": "error", "message": "the endpoint is gone"}
