"""Whatever a manifest holds is text in the page: names with HTML are shown as they are, and nothing of them runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.report_browser.conftest import EVIL, Opened, Page, goto, page_of, wait_until

CLIP = EVIL.clip.format(0)


def test_html_in_names_is_shown_and_never_run(opened: Opened) -> None:
    with opened(256, evil=True) as page:
        page.locator("details.code summary").first.click()
        for view in ("overview", "challenges", "recommend", "checks"):
            goto(page, view)
            wait_until(
                page,
                "view => document.querySelector(`#${view}`).innerText.includes('<img src=x onerror=alert(')",
                arg=view,
            )
            if view != "checks":
                assert "<script>alert('" in page.locator(f"#{view}").inner_text()
        page.evaluate("id => { location.hash = `clip/${encodeURIComponent(id)}` }", CLIP)
        page.wait_for_selector("#clip.shown")
        text = page.locator("#clip").inner_text()
        assert page.locator("#clip-title").inner_text() == CLIP
        assert "<script>alert('" in text
        assert '"><b onclick=alert(' in text
        assert page.title().startswith(CLIP)
        assert page.locator("main img:not([src^='data:image/webp'])").count() == 0
        assert page.locator("main :is(script, b, [onclick], [onerror])").count() == 0


def test_the_search_finds_html_as_text(opened: Opened) -> None:
    with opened(256, "challenges", evil=True) as page:
        page.get_by_label("Clip or creator contains").fill("<IMG SRC=X")
        wait_until(page, "document.querySelector('#challenges').innerText.includes('256 clips of 256')")


SPOILT = {  # what an escape that failed would leave in the page
    "script": "<script>window.ran = 1</script>",
    "module": "<script type=module>window.ran = 1</script>",
    "address": "<script src='data:text/javascript,window.ran = 1'></script>",
    "handler": "<img src=data:, onerror='window.ran = 1'>",
    "frame": "<iframe srcdoc='<script>parent.ran = 1</script>'></iframe>",
    "base": "<base href=https://example.org>",
    "picture": "<img src=https://example.org/x>",
    "style": "<style>body { background: url(https://example.org/x) }</style>",
}
CALLS = {  # what code that ran all the same would try
    "text": "setTimeout('window.ran = 1')",
    "fetch": "fetch('https://example.org/').then(() => { window.ran = 1 }, () => {})",
    "form": "document.body.insertAdjacentHTML('beforeend', '<form id=sent action=https://example.org>'); sent.submit()",
}


@pytest.mark.parametrize("how", [*SPOILT, *CALLS])
def test_what_got_into_the_page_all_the_same_neither_runs_nor_asks(
    tab: Callable[[], Page], tmp_path: Path, how: str
) -> None:
    path = tmp_path / "spoilt.html"
    path.write_text(page_of(1).replace("</main>", f"{SPOILT.get(how, '')}</main>"), encoding="utf-8")
    page, refused, requests = tab(), list[str](), list[Any]()
    page.on("request", lambda request: requests.append(request))
    page.on("console", lambda message: refused.append(message.text))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    page.evaluate(f"() => {{ {CALLS.get(how, '')} }}")
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None
    assert {one.failure for one in requests if one.url.startswith("http")} <= {"csp"}
    assert any("Content Security Policy" in text for text in refused)
    page.context.close()


def test_no_name_reaches_the_source_unescaped() -> None:
    source = page_of(256, True)
    for piece in ("<img src=x", "<script>alert", "<b onclick"):
        assert piece not in source
