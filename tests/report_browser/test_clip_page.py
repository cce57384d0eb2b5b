"""The page of one clip: its address, what moves, what is said of it."""

import pytest

from benchmarks.made_payloads import FILMS
from tests.report_browser.conftest import Opened, Page, goto, make_payload, wait_until

MOMENT = "#clip .player input"


def pixels(page: Page, place: int = 0) -> str:
    return page.evaluate("place => document.querySelectorAll('#clip canvas')[place].toDataURL()", place)


def test_a_clip_has_an_address_and_the_back_button_works(opened: Opened) -> None:
    with opened(256, "challenges") as page:
        page.locator(".list th a", has_text="clip-").first.click()
        page.wait_for_selector("#clip.shown")
        first = page.locator("#clip-title").inner_text()
        assert page.url.endswith(f"#clip/{first}")
        assert page.title().startswith(first)
        page.get_by_role("link", name="one rank worse").click()
        wait_until(page, "before => document.querySelector('#clip-title').textContent !== before", arg=first)
        page.go_back()
        wait_until(page, "first => document.querySelector('#clip-title').textContent === first", arg=first)
        page.go_back()
        page.wait_for_selector("#challenges.shown")
        assert page.locator("nav [aria-current]").inner_text() == "Challenges"


@pytest.mark.parametrize("address", ["clip/nobody", "clip/%E0%A4%A", "clip/", "nowhere"])
def test_an_address_of_nothing_is_no_error(opened: Opened, address: str) -> None:
    with opened(256, address) as page:
        assert page.locator("section.view.shown > h1").is_visible()


def test_everything_that_is_known_of_a_clip_is_there(opened: Opened) -> None:
    payload, _ = make_payload(256)
    clips = payload["clips"]
    row = next(row for row in range(20, FILMS) if 0 <= clips["better"][row] < FILMS)
    with opened(256, f"clip/{clips['id'][row]}") as page:
        text = page.locator("#clip").inner_text()
        better = clips["id"][clips["better"][row]]
        scored = page.locator("#clip [aria-label='How it is scored'] table").inner_text()
        for modality in payload["modalities"]:
            assert payload["titles"][modality].capitalize() in scored
            assert f"{round(100 * clips['attention'][modality][row])} %" in scored
        for title, column in (("Content alone", "content"), ("Context: not of the content", "context")):
            (of_part,) = (line for line in scored.splitlines() if line.startswith(title))
            assert f"{round(100 * clips[column][row])} %" in of_part
        assert better in text
        assert page.locator("#clip canvas").count() == 6  # of both clips: skeleton, film, evidence over time
        assert page.locator("#clip [aria-label='Evidence by joint'] table").locator("tbody tr").count() == 17
        assert page.locator("#clip .scale").count() == 1
        assert page.locator("#clip img.filmstrip").evaluate("img => img.decode().then(() => img.naturalWidth)") == 1080


def test_both_clips_move_together_and_stop(opened: Opened) -> None:
    payload, _ = make_payload(256)
    row = next(row for row in range(20, 100) if payload["clips"]["better"][row] >= 0)
    with opened(256, f"clip/{payload['clips']['id'][row]}", moving=True) as page:
        wait_until(page, f"Number(document.querySelector('{MOMENT}').value) > 0.3")
        before = pixels(page, 0), pixels(page, 3)
        wait_until(page, f"Number(document.querySelector('{MOMENT}').value) > 0.8")
        assert before[0] != pixels(page, 0)
        assert before[1] != pixels(page, 3)
        page.get_by_role("button", name="Pause").click()
        stopped = page.locator(MOMENT).input_value()
        page.wait_for_timeout(300)
        assert page.locator(MOMENT).input_value() == stopped
        page.get_by_role("button", name="Play", exact=True).click()
        wait_until(page, f"document.querySelector('{MOMENT}').value !== '{stopped}'")


def test_who_asks_for_less_motion_gets_none_until_play_is_pressed(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        page.wait_for_timeout(400)
        assert page.locator(MOMENT).input_value() == "0"
        assert page.get_by_role("button", name="Play", exact=True).is_visible()


def test_the_moment_is_set_by_keyboard(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        before = pixels(page)
        page.locator(MOMENT).focus()
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        assert page.locator("#clip .player output").inner_text() == "0.5 s"
        assert pixels(page) != before


def test_joints_have_the_colour_of_their_evidence(opened: Opened) -> None:
    payload, media = make_payload(256)
    row = next(row for row in range(256) if str(row) in media[row // 64])
    with opened(256, f"clip/{payload['clips']['id'][row]}") as page:
        joint = media[0][str(row)]["evidence"]["joint"]
        table = page.locator("#clip [aria-label='Evidence by joint'] table")
        strongest = max(range(17), key=lambda place: abs(joint[place]))
        first = table.locator("tbody tr").first.inner_text()
        assert f"{joint[strongest]:+.2f}".replace("-", "−") in first
        drawn = page.evaluate("""() => {
          const canvas = document.querySelector('#clip canvas');
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          const seen = new Set();
          for (let at = 0; at < data.length; at += 4) {
            if (data[at + 3] === 255) seen.add(data.slice(at, at + 3).join());
          }
          return [...seen];
        }""")
        assert {"26,95,180", "166,71,11"} & set(drawn), "the strongest joint is drawn in the full colour"


def test_a_clip_that_was_not_read_says_so(opened: Opened) -> None:
    with opened(256, "clip/clip-00049") as page:
        text = page.locator("#clip").inner_text()
        assert "There is nothing to show" in text
        assert "failed (missing)" in text
        assert page.locator("#clip .player").count() == 0


def test_a_link_in_the_overview_leads_to_a_clip(opened: Opened) -> None:
    with opened(256) as page:
        page.locator("details.code summary").first.click()
        link = page.locator("details.code a").first
        name = link.inner_text()
        link.click()
        page.wait_for_selector("#clip.shown")
        assert page.locator("#clip-title").inner_text() == name
        goto(page, "overview")
        assert page.locator("#overview").is_visible()
