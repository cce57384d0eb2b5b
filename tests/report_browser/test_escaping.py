"""Whatever a manifest holds is text in the page: names with HTML are shown as they are, and nothing of them runs."""

from tests.report_browser.conftest import EVIL, Opened, goto, page_of

CLIP = EVIL.clip.format(0)


def test_html_in_names_is_shown_and_never_run(opened: Opened) -> None:
    with opened(256, evil=True) as page:
        page.locator("details.code summary").first.click()
        for view in ("overview", "challenges", "recommend", "checks"):
            goto(page, view)
            page.wait_for_function(
                "view => document.querySelector(`#${view}`).innerText.includes('<img src=x onerror=alert(')", arg=view
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
        page.wait_for_function("document.querySelector('#challenges').innerText.includes('256 clips of 256')")


def test_no_name_reaches_the_source_unescaped() -> None:
    source = page_of(256, True)
    for piece in ("<img src=x", "<script>alert", "<b onclick"):
        assert piece not in source
