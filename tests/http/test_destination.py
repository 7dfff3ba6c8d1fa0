"""Where an image goes: what is said is what the client does, for names that only look local and for proxies."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from medeyes_verl.http.client import HttpSettings
from medeyes_verl.http.destination import IN_THIS_PROCESS, destination_of
from medeyes_verl.policies.client import ChatClient, EndpointError

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
ONE_TRY = HttpSettings("", timeout=20, retries=0)


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://127.8.9.1/v1",
        "http://127.1:8000/v1",
        "https://127.0.0.1/v1",
        "http://[::1]:8000/v1",
        "http://[::ffff:127.0.0.1]:8000/v1",
        "http://localhost:8000/v1",
        "http://LocalHost:8000/v1",
        "HTTP://user:secret@127.0.0.1:8000/v1",
    ],
)
def test_loopback_stays_here(url: str) -> None:
    destination = destination_of(url)
    assert destination.local
    assert destination.sentence().startswith("The image stays on this machine: it is sent to the server at ")
    assert "secret" not in destination.sentence()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://gpu.example.org:8000/v1", "gpu.example.org:8000"),
        ("http://127.0.0.1.example.org/v1", "127.0.0.1.example.org"),
        ("http://localhost.evil/v1", "localhost.evil"),
        ("http://localhost.evil.org:80/v1", "localhost.evil.org"),
        ("http://notlocalhost:8000/v1", "notlocalhost:8000"),
        ("http://127.0.0.1:8000@evil.org/v1", "evil.org"),
        ("http://localhost#@evil.org/v1".replace("#", "%23"), "evil.org"),
        ("http://10.0.0.5:8000/v1", "10.0.0.5:8000"),
        ("http://192.168.0.127/v1", "192.168.0.127"),
        ("http://128.0.0.1/v1", "128.0.0.1"),
        ("http://[2001:db8::1]:8000/v1", "[2001:db8::1]:8000"),
        ("http://[::ffff:10.0.0.5]/v1", "[::ffff:10.0.0.5]"),
        ("http://lоcalhost:8000/v1", "xn--lcalhost-nbh:8000"),
    ],
)
def test_another_machine_is_named(url: str, host: str) -> None:
    said = destination_of(url).sentence()
    assert said.startswith(f"The image leaves this machine: it is sent to {host}, in clear (http)")
    assert "stays" not in said


def test_https_is_not_in_clear() -> None:
    said = destination_of("https://api.example.org/v1").sentence()
    assert said == "The image leaves this machine: it is sent to api.example.org, encrypted (https)."


def test_a_policy_of_this_process_stays_here() -> None:
    assert IN_THIS_PROCESS.sentence() == "The image stays on this machine: the policy runs inside this demo."


def test_a_localhost_that_is_elsewhere_is_not_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a hosts file that sends the name to another machine."""
    elsewhere = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.5", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: elsewhere)
    assert not destination_of("http://localhost:8000/v1").local


@pytest.mark.parametrize(
    "url", ["", "http://", "ftp://127.0.0.1/v1", "127.0.0.1:8000/v1", "http:///v1", "http://ⅼocalhost/"]
)
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        destination_of(url)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_a_remote_endpoint_is_reached_through_the_proxy_that_is_named(
    variable: str, monkeypatch: pytest.MonkeyPatch, endpoints: Callable[..., Any]
) -> None:
    """The proxy is real, and gets the request; the name of the endpoint resolves to nothing."""
    proxy = endpoints(lambda question, turn: "hi")
    monkeypatch.setenv(variable, f"http://me:secret@127.0.0.1:{proxy.port}")
    url = "http://far.invalid:8000/v1"
    assert destination_of(url).sentence() == (
        f"The image leaves this machine: it is sent to far.invalid:8000 through the proxy 127.0.0.1:{proxy.port}, "
        "in clear (http): others on the network can read it."
    )
    assert _models(url) == ["scripted"]
    monkeypatch.setenv("no_proxy", "far.invalid")
    assert destination_of(url).proxy is None
    with pytest.raises(EndpointError, match="Connect"):
        _models(url)


def test_a_local_endpoint_is_never_reached_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, endpoints: Callable[..., Any]
) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens there
    endpoint = endpoints(lambda question, turn: "hi")
    assert destination_of(endpoint.url).proxy is None
    assert _models(endpoint.url) == ["scripted"]


def _models(url: str) -> list[str]:
    async def ask() -> list[str]:
        async with ChatClient(url, settings=ONE_TRY) as client:
            return await client.models()

    return asyncio.run(ask())
