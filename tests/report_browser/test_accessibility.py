"""axe-core finds nothing serious in any view, light or dark; landmarks, headings and keyboard are there."""

from itertools import pairwise

import pytest

from tests.report_browser.conftest import VIEWS, Opened, Page, goto, grave_findings, wait_until
from tests.report_browser.test_views import SHOWN

DRAWN = """() => [...document.querySelectorAll(".view.shown figure.chart")].every((one) => {
  const { top, height } = one.getBoundingClientRect();
  return !height || top > innerHeight || one.querySelector("svg path");
})"""


def wait_until_drawn(page: Page, view: str) -> None:
    """Until the view's content is there, and its charts that are in sight."""
    page.wait_for_selector(SHOWN[view])
    wait_until(page, DRAWN)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious(opened: Opened, dark: bool) -> None:
    with opened(256, dark=dark) as page:
        page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true })")
        for view in VIEWS:
            goto(page, view)
            wait_until_drawn(page, view)
            assert grave_findings(page) == [], view


def test_axe_finds_nothing_serious_on_a_telephone(opened: Opened) -> None:
    with opened(256, "challenges", width=360) as page:
        for view in ("challenges", "clip/clip-00000"):
            goto(page, view)
            wait_until_drawn(page, view)
            assert grave_findings(page) == [], view


def test_a_keyboard_finds_its_way(opened: Opened) -> None:
    with opened(256) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.locator("nav a", has_text="Recommend").focus()
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        page.wait_for_selector("#recommend.shown")
        assert page.evaluate("document.activeElement.id") == "recommend-title"


def test_landmarks_and_headings(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        for landmark in ("header", "nav", "main", "footer"):
            assert page.locator(landmark).count() == 1
        levels = page.evaluate("""() => [...document.querySelectorAll("h1, h2, h3")]
            .filter((one) => one.checkVisibility()).map((one) => Number(one.tagName[1]))""")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert page.evaluate("[...document.querySelectorAll('canvas')].every((one) => one.ariaLabel || one.ariaHidden)")
