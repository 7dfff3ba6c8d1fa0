"""A table of small questions, and an endpoint on loopback that answers from a script, counts, and can die."""

import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medeyes_verl.data.image_store import ImageStore
from medeyes_verl.data.row import Region, Row, write_rows
from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.tiny_episode import tiny_episode

QUESTIONS = 24
GAZE = '<reasoning>scan</reasoning>\n<action>{"name": "Gaze", "coordinate": [0, 0, 56, 56]}</action>'


def say(answer: str) -> str:
    return f"<reasoning>seen</reasoning>\n<answer>{answer}</answer>"


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(
        name="test",
        rules=tiny_episode(),
        system_prompt=False,
        turn_tokens=64,
        response_length=320,
    )


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions 0 … 23 in turn closed (yes), open (ring), multiple choice (B); a picture for every two."""
    folder = tmp_path_factory.mktemp("table")
    store, rows = ImageStore(folder), []
    for number in range(QUESTIONS):
        buffer = io.BytesIO()
        grey = np.random.default_rng(number // 2).integers(256, size=(224, 224), dtype=np.uint8)
        Image.fromarray(grey).save(buffer, "PNG")
        kind, answer = (("closed", "yes"), ("open", "ring"), ("multiple_choice", "B"))[number % 3]
        rows.append(
            Row(
                data_source="made_up",
                split="val",
                id=f"q{number}",
                question=f"Question {number}?",
                answer=answer,
                question_type=kind,  # type: ignore[arg-type]
                pictures=(store.add_bytes(buffer.getvalue(), "made up"),),
                options=("bar", "ring") if kind == "multiple_choice" else (),
                organ="lung" if number % 2 else "liver",
                regions=(Region(Box(0, 0, 112, 112), "ring", target=True),),
            )
        )
    write_rows(folder / "val.parquet", rows)
    return folder / "val.parquet"


Policy = Callable[[str, int], str]
"""What to say: from the question's text and the number of the turn, from 0."""


class ScriptedEndpoint:
    """An OpenAI-compatible endpoint that answers by a function, on a port of its own."""

    def __init__(self, policy: Policy, port: int = 0, dies_after: int | None = None) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        """How often each (question, turn) was asked for, those it died on among them."""
        self.bodies: list[dict[str, Any]] = []
        self.connections: set[int] = set()
        """The client's ports."""
        self.faults: list[tuple[int, str]] = []
        """Statuses and bodies to answer the next requests with, in place of the script."""
        self.key: str | None = None
        self._policy = policy
        self._dies_after = dies_after
        self._lock = threading.Lock()
        self._dead = False
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(200, json.dumps({"data": [{"id": "scripted"}]}))

            def do_POST(self) -> None:
                endpoint.connections.add(self.client_address[1])
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, text = endpoint.reply(body, self.headers.get("Authorization"))
                if status == 0:  # dead: the connection breaks
                    self.close_connection = True
                    self.connection.close()
                    return
                self._answer(status, text)

            def _answer(self, status: int, text: str) -> None:
                data = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                with suppress(ConnectionError):  # whoever asked may have gone
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 256  # with the library's 5, connections that wait on a busy machine are reset

        self._server = Server(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def reply(self, body: dict[str, Any], authorization: str | None) -> tuple[int, str]:
        with self._lock:
            self.bodies.append(body)
            if self.key is not None and authorization != f"Bearer {self.key}":
                return 401, json.dumps({"error": {"message": "no entry"}})
            user = next(message for message in body["messages"] if message["role"] == "user")
            question = next(part["text"] for part in user["content"] if part["type"] == "text").splitlines()[0]
            turn = sum(message["role"] == "assistant" for message in body["messages"])
            if self.faults:
                return self.faults.pop(0)
            self.asked[question, turn] += 1
            if self._dies_after is not None and self.asked.total() > self._dies_after:
                if not self._dead:
                    self._dead = True
                    threading.Thread(target=self._die).start()
                return 0, ""
        text = self._policy(question, turn)
        tokens = len(text.split())
        answer = {
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 40 + 30 * turn, "completion_tokens": tokens},
        }
        return 200, json.dumps(answer)

    def _die(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def endpoints() -> Iterator[Callable[..., ScriptedEndpoint]]:
    """Makes endpoints, and ends them with the test."""
    made: list[ScriptedEndpoint] = []

    def make(policy: Policy, **options: Any) -> ScriptedEndpoint:
        made.append(ScriptedEndpoint(policy, **options))
        return made[-1]

    yield make
    for endpoint in made:
        endpoint.close()


RIGHT = {0: "yes", 1: "ring", 2: "(B) ring"}


def looks_then_answers(question: str, turn: int) -> str:
    """One gaze, then the right answer; question 5 is answered wrong."""
    number = int(question.removeprefix("Question ").removesuffix("?"))
    return GAZE if turn == 0 else say("no idea" if number == 5 else RIGHT[number % 3])


@pytest.fixture
def good_policy() -> Policy:
    return looks_then_answers
