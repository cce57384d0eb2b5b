"""How fast the report is in a browser: first paint, start, and what a press of a key or button takes.

    python -m benchmarks.report_page [--clips 256 5000] [--rounds 5] [--browser chromium] [--page runs/ID/report.html]

Pages of clips made by script (benchmarks/made_payloads.py), or a report of a real run, are opened from a file in a new
browser. Times are the browser's own: paint timing, and of interactions the event timing from the press to the next
frame (what the web calls INP), in steps of 8 ms; where a task that a press set off later (a new view, a chart after
typing) kept the page busy for longer, that task. Real keys and clicks, in a view of 1440 x 900.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.common import save, table
from benchmarks.made_payloads import make_payload
from pipeline.report.page_file import make_page

# Reads and empties what the browser noted of interactions; the longest event of each press counts.
_LISTEN = """() => {
  window.presses = new Map();
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { interactionId: press, duration } = entry;
      if (press) presses.set(press, Math.max(duration, presses.get(press) ?? 0));
    }
  }).observe({ type: "event", durationThreshold: 16, buffered: false });
  window.tasks = [];
  new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)))
    .observe({ type: "longtask" });
}"""
_SETTLED = "new Promise((done) => requestAnimationFrame(() => setTimeout(done, 120)))"
SHORTEST_MS = 16  # what the browser does not note took less


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[256, 5000])
    parser.add_argument("--rounds", type=int, default=5, help="times that each page is opened and used")
    parser.add_argument("--browser", default="chromium", help="a Chromium or Chrome: a name on the PATH, or a path")
    parser.add_argument("--page", type=Path, help="a finished report, in place of pages made by script")
    options = parser.parse_args()
    executable = shutil.which(options.browser)
    if executable is None:
        parser.error(f"--browser {options.browser}: there is no such program; install chromium")
    pages: dict = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        for name, path, seconds in _pages(options, Path(folder)):
            rounds = []
            for _ in range(options.rounds):
                browser = playwright.chromium.launch(executable_path=executable, args=["--disable-gpu"])
                rounds.append(measure(browser, path))
                browser.close()
            pages[name] = {"file_mb": path.stat().st_size / 1e6, "render_s": seconds} | summary(rounds)
        version = _version(playwright, executable)
    rows = [
        [name, what, figures["median"], figures["worst"]]
        for name, about in pages.items()
        for what, figures in about["ms"].items()
    ]
    print(table(rows, ("page", "what", "ms, median", "ms, worst")))
    print(table([[name, one["file_mb"], one["render_s"]] for name, one in pages.items()], ("page", "MB", "render s")))
    save("report-page", {"rounds": options.rounds, "browser": version, "pages": pages})


def _pages(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path, float | None]]:
    """(name, file, seconds that make_page took)."""
    if options.page:
        yield options.page.name, options.page.resolve(), None
        return
    make_page(*make_payload(0))  # what is read once a process
    for clips in options.clips:
        payload, media = make_payload(clips)
        start = time.perf_counter()
        text = make_page(payload, media)
        seconds = time.perf_counter() - start
        path = folder / f"{clips}.html"
        path.write_text(text, encoding="utf-8")
        yield f"{clips} clips", path, seconds


def _version(playwright: object, executable: str) -> str:
    browser = playwright.chromium.launch(executable_path=executable)  # type: ignore[attr-defined]
    version = browser.version
    browser.close()
    return f"Chromium {version}"


def measure(browser: Browser, path: Path) -> dict[str, float]:
    """Milliseconds by what was done, of one opening."""
    page = browser.new_page(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    page.wait_for_timeout(300)
    times = page.evaluate("""() => ({
      "first paint": performance.getEntriesByName("first-contentful-paint")[0].startTime,
      "all read": performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd,
    })""")
    page.evaluate(_LISTEN)
    for what, press in interactions(page):
        page.evaluate("presses.clear(); tasks.length = 0")
        press()
        page.evaluate(_SETTLED)
        times[what] = max(page.evaluate("[...presses.values(), ...tasks]"), default=SHORTEST_MS)
    page.close()
    return times


def interactions(page: Page) -> Iterator[tuple[str, Callable[[], object]]]:
    """What people do, one after the other; each leaves the page where the next one begins."""
    text, rows = page.get_by_label("Clip or creator contains"), page.locator(".list tbody th a")
    yield "to the challenges, first time", lambda: page.locator("nav a", has_text="Challenges").click()
    page.wait_for_timeout(400)
    yield "sort", lambda: page.locator("[data-key=predicted] button").click()
    text.focus()
    yield "type into the filter", lambda: page.keyboard.type("1", delay=60)
    page.wait_for_timeout(400)
    yield "empty the filter", lambda: page.keyboard.press("Backspace")
    page.wait_for_timeout(400)
    yield "sort by words", lambda: page.locator("[data-key=creator] button").click()
    yield "to a clip", lambda: rows.first.click()
    page.wait_for_timeout(300)
    yield "the next clip", lambda: page.locator("#clip p.row a").first.click()
    yield "to the recommendation", lambda: page.locator("nav a", has_text="Recommend").click()
    page.get_by_role("slider", name="Scene").focus()
    yield "a step of a weight", lambda: page.keyboard.press("ArrowRight")
    page.get_by_role("slider", name="Diversity").focus()
    yield "a step of diversity", lambda: page.keyboard.press("ArrowRight")
    yield "to the data check", lambda: page.locator("nav a", has_text="Data check").click()
    yield "back to the list", lambda: page.locator("nav a", has_text="Challenges").click()
    yield "other colours", lambda: page.locator("#theme").click()


def summary(rounds: list[dict[str, float]]) -> dict:
    return {
        "ms": {
            what: {"median": statistics.median(one[what] for one in rounds), "worst": max(one[what] for one in rounds)}
            for what in rounds[0]
        }
    }


if __name__ == "__main__":
    main()
