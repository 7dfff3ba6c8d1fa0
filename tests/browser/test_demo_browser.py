"""The demo's page in a real browser: an upload is played and drawn, and a policy's words stay words."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.http.destination import IN_THIS_PROCESS, Destination, destination_of
from medeyes_verl.policies.stored import StoredPolicy, Unbudgeted

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install medeyes-verl[demo]")

import uvicorn

from medeyes_verl.demo.session import Stage
from medeyes_verl.demo.web import Example, demo_app

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
GAZE = '<reasoning>look</reasoning>\n<action>{"name": "Gaze", "coordinate": [28, 0, 84, 56]}</action>'
ANSWER = f"<reasoning>{HOSTILE}</reasoning>\n<answer>{HOSTILE}</answer>"


@pytest.fixture(scope="module")
def address(recipe: Recipe) -> Iterator[str]:
    """The page of a scripted policy, served on loopback."""
    with _served(recipe, IN_THIS_PROCESS) as url:
        yield url


@contextmanager
def _served(recipe: Recipe, destination: Destination) -> Iterator[str]:
    stage = Stage("script", recipe, lambda messages, views: (Unbudgeted(), StoredPolicy([GAZE, ANSWER])), destination)
    example = Example([Image.new("RGB", (224, 224), "grey")], "What is it?", "ring")
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(demo_app(stage, example), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


def test_an_upload_is_played_and_drawn(address: str, open_page: Any, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((100, 200), dtype=np.uint8)).save(tmp_path / "scan.png")
    with open_page(address) as page:
        page.wait_for_selector("#policy:not(:empty)")
        assert "not a medical device" in page.inner_text("#disclaimer")
        page.set_input_files("#picture", tmp_path / "scan.png")
        page.fill("#question", "What is it?")
        page.click("#go")
        page.wait_for_selector(".answer")
        assert page.inner_text(".answer") == HOSTILE
        assert page.locator("img[src=x]").count() == 0
        assert page.title() == "MedEyes demo"
        assert page.locator(".view .box").count() == 1
        assert page.get_attribute(".view", "viewBox") == "0 0 200 100"
        assert page.locator("#turns img").evaluate("(image) => image.naturalWidth > 0")
        assert "truth" not in page.inner_text("#turns")


def test_the_example_is_played_beside_its_truth(address: str, open_page: Any) -> None:
    with open_page(address, color_scheme="dark") as page:
        page.click("#example")
        assert page.input_value("#question") == "What is it?"
        page.click("#go")
        page.wait_for_selector(".answer")
        assert "truth: ring" in page.inner_text("#turns")


def test_no_picture_is_said(address: str, open_page: Any) -> None:
    with open_page(address) as page:
        page.wait_for_selector("#policy:not(:empty)")
        page.fill("#question", "What is it?")
        page.click("#go")
        page.wait_for_function("document.getElementById('status').textContent === 'Choose an image first.'")


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        (None, "The image stays on this machine"),
        ("http://127.0.0.1:8000/v1", "The image stays on this machine: it is sent to the server at 127.0.0.1:8000."),
        ("https://api.example.org/v1", "it is sent to api.example.org, encrypted (https)."),
        ("http://localhost.evil/v1", "The image leaves this machine: it is sent to localhost.evil, in clear (http)"),
    ],
)
def test_the_page_says_where_the_image_goes_before_one_can_be_chosen(
    recipe: Recipe, open_page: Any, endpoint: str | None, said: str
) -> None:
    destination = IN_THIS_PROCESS if endpoint is None else destination_of(endpoint)
    with _served(recipe, destination) as address, open_page(address) as page:
        page.wait_for_selector("#picture:enabled")
        assert said in page.inner_text("#destination")
        assert page.inner_text("body").count("on this machine") == page.inner_text("#destination").count(
            "on this machine"
        )


def test_a_page_that_cannot_say_where_the_image_goes_takes_none(address: str, open_page: Any) -> None:
    """Before its answer to /start is there, nothing can be chosen or sent."""
    waiting: list[Any] = []
    with open_page("about:blank") as page:
        page.route("**/start", lambda route: waiting.append(route))
        page.goto(address)
        page.wait_for_selector("#go")
        while not waiting:
            page.wait_for_timeout(10)
        assert page.inner_text("#destination") == ""
        assert page.is_disabled("#picture")
        assert page.is_disabled("#go")
        waiting[0].continue_()
        page.wait_for_selector("#go:enabled")
        assert page.inner_text("#destination") != ""
