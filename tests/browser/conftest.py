"""A real headless Chromium. Without it these tests skip: `apt-get install chromium`, `pip install playwright`."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

PATIENCE_MS = 180_000
"""The page carries five megabytes of script, and the machine may be busy."""
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser; playwright drives the system's own and downloads none.

    Ended with its module, because playwright keeps an event loop running in this thread, which no other test expects.
    """
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses its sandbox to root
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_page(chromium: Any) -> Any:
    """Opens an address; when the context ends, anything said on the console or asked of another host fails."""

    @contextmanager
    def opened(address: str, **options: Any) -> Iterator[Any]:
        context = chromium.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("request", lambda request: said.append(request.url) if _foreign(request.url) else None)
        try:
            page.goto(address)
            yield page
        finally:
            context.close()
        assert said == []

    return opened


def _foreign(url: str) -> bool:
    return not url.startswith(("data:", "file:", "blob:", "http://127.0.0.1"))
