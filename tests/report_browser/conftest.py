"""The page in a real browser, opened as a file. A page that says anything on the console or asks for anything fails."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from benchmarks import made_payloads
from benchmarks.made_payloads import Names
from pipeline.report.page_file import make_page
from tests.support.made_once import shared_folder

if TYPE_CHECKING:
    from playwright import sync_api
else:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")
Page = sync_api.Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
VIEWS = ("overview", "challenges", "recommend", "checks", "clip/clip-00000")
Opened = Callable[..., AbstractContextManager[Page]]
EVIL = Names(
    clip="<img src=x onerror=alert({})>", challenge="<script>alert('{}')</script>", creator='"><b onclick=alert({})>'
)


Finding = dict[str, Any]
LATE: Finding = {
    "sentence": "right arm, 1.2-2.7 s: 0.3 s late against the rest of the body",
    "start_s": 1.2,
    "end_s": 2.7,
}
SMALL: Finding = {
    "sentence": "left leg, 3.4-4.5 s: amplitude 60 % of the top clips'",
    "start_s": 3.45,
    "end_s": 4.5,
}
MEANING = "this run's model does not score it lower"


def make_payload(clips: int, names: Names | None = None) -> tuple[dict, list[dict]]:
    """As benchmarks.made_payloads makes it. Clip 0 has feedback with findings, clip 1 such without, others none; of the
    clips without likes every other one has views, and so is not new.
    """
    payload, media = made_payloads.make_payload(clips, names)
    columns = payload["clips"]
    unliked = [row for row, likes in enumerate(columns["likes"]) if likes is None]
    columns["new"] = [row in unliked[::2] for row in range(clips)]
    called = f"{names.clip.format('said')} " if names else ""
    findings = [{**one, "sentence": called + one["sentence"], "meaning": called + MEANING} for one in (LATE, SMALL)]
    payload["feedback"] = [
        {
            "clip": row,
            "references": columns["id"][2:7],
            "fitting": 4,
            "findings": findings[: 2 * (row == 0)],
            "caution": f"{called}Goes along with the score.",
            "film": f"runs/0123456789abcdef/feedback/{columns['id'][row]}.mp4" if row == 0 else None,
        }
        for row in range(min(2, clips))
    ]
    return payload, media


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "opened" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(120))


@pytest.fixture(scope="package")
def browser() -> Iterator[sync_api.Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("needs a browser: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--disable-gpu"])
        yield started
        started.close()


@cache
def page_of(clips: int, evil: bool = False) -> str:
    return make_page(*make_payload(clips, EVIL if evil else None))


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the pages that were opened, for all processes of the test run."""
    folder = shared_folder(tmp_path_factory) / "reports"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="package")
def tab(browser: sync_api.Browser) -> Callable[[], Page]:
    """Gives the one page that all tests open reports in, blank, or another where a test failed in it and closed it.

    To start one takes longer than to load a report; of the document before, nothing is left in it.
    """
    kept: list[Page] = []

    def blank() -> Page:
        if not kept or kept[-1].is_closed():
            kept.append(browser.new_context().new_page())
            kept[-1].set_default_timeout(15_000)
        page = kept[-1]
        page.goto("about:blank")
        page.mouse.move(0, 0)
        page.context.clear_permissions()
        return page

    return blank


@pytest.fixture
def opened(tab: Callable[[], Page], folder: Path) -> Opened:
    """Open the page as a context manager, which fails at its end where the page has logged or asked for anything."""

    @contextmanager
    def open_page(
        clips: int,
        view: str = "",
        width: int = 1440,
        dark: bool = False,
        moving: bool = False,
        evil: bool = False,
    ) -> Iterator[Page]:
        path = folder / f"{clips}{'-evil' if evil else ''}.html"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                path.write_text(page_of(clips, evil), encoding="utf-8")
        page = tab()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(
            media="screen",
            color_scheme="dark" if dark else "light",
            reduced_motion="no-preference" if moving else "reduce",
        )
        events: list[str] = []
        address = path.as_uri()

        def dismiss(dialog: sync_api.Dialog) -> None:
            events.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        watched: dict[Any, Callable[[Any], None]] = {
            "console": lambda message: events.append(f"{message.type}: {message.text}"),
            "pageerror": lambda error: events.append(f"error: {error}"),
            "request": lambda request: events.append(f"request: {request.url}") if request.url != address else None,
            "dialog": dismiss,
        }
        for event, note in watched.items():
            page.on(event, note)
        try:
            page.goto(f"{address}#{view}" if view else address)
            page.wait_for_selector("html[data-ready]")
            yield page
            page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        except BaseException:
            page.context.close()
            raise
        for event, note in watched.items():
            page.remove_listener(event, note)
        assert events == []

    return open_page


def goto(page: Page, view: str) -> None:
    """Follows a link to the view."""
    page.evaluate("view => { location.hash = view }", view)
    page.wait_for_selector(f"#{view.split('/')[0]}.shown")


def wait_until(page: Page, expression: str, arg: object = None) -> None:
    """Wait until JavaScript is true. `page.wait_for_function` runs text in the page, whose policy forbids that."""
    until = time.monotonic() + 15
    while not page.evaluate(expression, arg):
        assert time.monotonic() < until, f"never true: {expression}"
        page.wait_for_timeout(20)


def grave_findings(page: Page) -> list[tuple[str, str, str]]:
    """What axe-core calls serious or critical in what is shown: rule, impact, and the first element's HTML."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    violations = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        (one["id"], one["impact"], one["nodes"][0]["html"][:200])
        for one in violations
        if one["impact"] in ("serious", "critical")
    ]
