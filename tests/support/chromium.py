"""The system's Chromium, headless. What needs it is skipped, with the reason, where it is not installed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright


@contextmanager
def launched(width: int = 1200, height: int = 900, dark: bool = False) -> Iterator[tuple[Page, list[str]]]:
    """Start it; give an empty page, and what the page asks for or complains of from then on."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium is installed (apt-get install chromium): what the page does can't be looked at")
    seen: list[str] = []
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        scheme = "dark" if dark else "light"
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        page.on("request", lambda request: seen.append(f"request {request.url}"))
        page.on("console", lambda message: seen.append(f"console {message.text}"))
        page.on("pageerror", lambda error: seen.append(f"error {error}"))
        page.on("dialog", lambda dialog: seen.append(f"dialog {dialog.message}"))
        yield page, seen
        browser.close()


@contextmanager
def opened(path: Path, width: int = 1200, height: int = 900, dark: bool = False) -> Iterator[tuple[Page, list[str]]]:
    """Open a file; give the page, and what it asked for or complained of beside the file itself."""
    with launched(width, height, dark) as (page, seen):
        page.goto(path.as_uri())
        page.wait_for_function("document.body.dataset.charts")
        seen.remove(f"request {path.as_uri()}")
        yield page, seen
