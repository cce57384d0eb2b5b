"""The list of clips: filters, sorting, and rows that are there only while they are in sight."""

from tests.report_browser.conftest import Opened, Page, make_payload, wait_until

ROWS = "#challenges .list tbody tr:not(.space)"
SHOWN_COUNT = "#challenges form.controls + p"


def ids(page: Page) -> list[str]:
    return page.locator(f"{ROWS} th a").all_inner_texts()


def column(page: Page, key: str) -> list[str]:
    place = page.evaluate(
        "key => [...document.querySelectorAll('.list thead th')].findIndex(th => th.dataset.key === key)", key
    )
    return [row.split("\t")[place].strip() for row in page.locator(ROWS).all_inner_texts()]


def test_filters_narrow_the_list_together(opened: Opened) -> None:
    payload, _ = make_payload(256)
    clips = payload["clips"]
    with opened(256, "challenges") as page:
        page.get_by_label("Read", exact=True).select_option("failed")
        failed = clips["status"].count("failed")
        assert page.locator(SHOWN_COUNT).inner_text() == f"{failed} clips of 256."
        assert len(ids(page)) == failed
        page.get_by_label("Read", exact=True).select_option("")
        page.get_by_label("Clip or creator contains").fill("CLIP-0001")
        assert sorted(ids(page)) == [f"clip-0001{digit}" for digit in range(10)]
        split = clips["split"][12]
        page.get_by_label("Split", exact=True).select_option(split)
        assert set(ids(page)) == {clips["id"][row] for row in range(10, 20) if clips["split"][row] == split}
        page.get_by_label("Clip or creator contains").fill("")
        page.get_by_label("Split", exact=True).select_option("")
        page.get_by_label("Creator is").fill(clips["creator"][40])
        assert set(ids(page)) == {
            name for name, one in zip(clips["id"], clips["creator"], strict=True) if one == clips["creator"][40]
        }
        page.get_by_label("Clip or creator contains").fill("nobody")
        assert page.locator("#challenges .nothing").is_visible()


def test_a_challenge_is_chosen_by_its_name(opened: Opened) -> None:
    payload, _ = make_payload(256)
    with opened(256, "challenges") as page:
        page.get_by_role("button", name="kick").click()
        place = [one["name"] for one in payload["challenges"]].index("kick")
        assert page.locator(SHOWN_COUNT).inner_text().startswith(f"{payload['clips']['challenge'].count(place)} clips")
        assert set(column(page, "challenge")) == {"kick"}
        assert page.get_by_label("Challenge", exact=True).input_value() == str(place)


def test_every_column_sorts_both_ways_and_what_is_not_known_comes_last(opened: Opened) -> None:
    payload, _ = make_payload(256)
    likes = [one for one in payload["clips"]["likes"] if one is not None]
    with opened(256, "challenges") as page:
        assert page.locator("[data-key=rank]").get_attribute("aria-sort") == "ascending"
        heads = page.locator(".list thead th")
        for place in range(heads.count()):
            head = heads.nth(place)
            head.get_by_role("button").click()
            first = head.get_attribute("aria-sort")
            assert first in ("ascending", "descending")
            head.get_by_role("button").click()
            assert {first, head.get_attribute("aria-sort")} == {"ascending", "descending"}
            assert page.locator(".list thead [aria-sort]").count() == 1
        by_likes = page.locator("[data-key=likes]").get_by_role("button")
        by_likes.click()
        assert column(page, "likes")[:3] == [f"{one:,}" for one in sorted(likes, reverse=True)[:3]]
        by_likes.click()
        assert column(page, "likes")[:3] == [f"{one:,}" for one in sorted(likes)[:3]]
        page.locator("#challenges .list").evaluate("list => list.scrollTo(0, list.scrollHeight)")
        wait_until(page, f"document.querySelector('{ROWS}[aria-rowindex=\"257\"]')")
        assert column(page, "likes")[-1] == "–"


def test_5000_rows_are_reached_with_few_in_the_document(opened: Opened) -> None:
    with opened(5000, "challenges") as page:
        page.locator("[data-key=clip]").get_by_role("button").click()
        assert ids(page)[0] == "clip-00000"
        for share, wanted in ((0.5, "clip-02500"), (1, "clip-04999"), (0, "clip-00000")):
            page.locator(".list").evaluate("(list, share) => list.scrollTo(0, share * list.scrollHeight)", share)
            wait_until(
                page,
                "wanted => [...document.querySelectorAll('.list th a')].some(a => a.textContent === wanted)",
                arg=wanted,
            )
            assert page.locator(ROWS).count() < 60
        assert page.locator(".list table").get_attribute("aria-rowcount") == "5001"


def test_the_list_is_used_by_keyboard(opened: Opened) -> None:
    with opened(256, "challenges") as page:
        page.locator(".list").focus()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('th').dataset.key") == "clip"
        page.keyboard.press("Enter")
        assert page.locator("[data-key=clip]").get_attribute("aria-sort") == "ascending"
        assert page.evaluate("document.activeElement.closest('th').dataset.key") == "clip", "focus stays"
        page.locator(ROWS).first.locator("a").focus()
        for _ in range(30):
            page.keyboard.press("Tab")
        wait_until(page, "document.activeElement.textContent === 'clip-00030'")
        page.keyboard.press("Enter")
        page.wait_for_selector("#clip.shown")
        assert page.locator("#clip-title").inner_text() == "clip-00030"
        assert page.evaluate("document.activeElement.id") == "clip-title"


def test_a_point_of_the_chart_leads_to_its_clip(opened: Opened) -> None:
    with opened(256, "challenges") as page:
        page.locator("#challenges figure svg path[d^='M']").first.wait_for(state="attached")
        page.locator("#challenges .mark-symbol path").nth(20).click(force=True)
        page.wait_for_selector("#clip.shown")
