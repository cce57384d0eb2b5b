"""Music on the page of a clip: what is drawn is what was planted, on one clock; and why there is none."""

import re
from typing import Any

import numpy as np
import pytest

from benchmarks.made_payloads import UNHEARD, planted
from pipeline.core.errors import SOUND_CODES
from tests.report_browser.conftest import Opened, Page, goto, grave_findings, make_payload, wait_until

SECTION = "#clip section.music"
DRAWING = f"{SECTION} .score"
MOMENT = "#clip .player input"
SECONDS = 7.8  # that clips of a page of 256 are played: 40 frames, 5 a second
SIDE = 8  # px left and right of the time axis

LINES = """(selector) => [...document.querySelectorAll('#clip .score ' + selector)].map((one) =>
  Object.fromEntries(one.getAttributeNames().map((name) => [name, one.getAttribute(name)])))"""


def marks(page: Page, selector: str) -> list[dict[str, str]]:
    """Attributes of what is drawn."""
    return page.evaluate(LINES, selector)


def x_of(page: Page, at: Any) -> Any:
    """Where in the drawing a moment belongs."""
    width = float(str(page.locator(f"{DRAWING} svg").get_attribute("viewBox")).split()[2])
    return SIDE + (width - 2 * SIDE) * np.asarray(at) / SECONDS


def points(path: str) -> np.ndarray:
    return np.array([[float(one) for one in pair.split()] for pair in re.split("[MLZ]", path) if pair])


def facts(page: Page) -> dict[str, str]:
    names, values = (page.locator(f"{SECTION} dl {tag}").all_inner_texts() for tag in ("dt", "dd"))
    return dict(zip(names, values, strict=True))


def show(page: Page, row: int) -> None:
    goto(page, f"clip/clip-{row:05d}")
    wait_until(page, "id => document.querySelector('#clip-title').textContent === id", arg=f"clip-{row:05d}")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def beats_of(row: int) -> np.ndarray:
    return np.round(np.arange(0.2, SECONDS, 60 / planted(row).bpm), 2)


# --- what is said


def test_it_is_said_in_words(opened: Opened) -> None:
    clips = make_payload(256)[0]["clips"]
    late, early = planted(0), planted(1)
    assert (late.lag_s, early.lag_s) == (0.12, -0.08)
    with opened(256, "clip/clip-00000") as page:
        said = facts(page)
        assert said["Tempo"] == "112 beats a minute, confidence 92 %"
        assert said["Keeps to the beat"].startswith("62 % ")
        assert said["Lag"] == "0.12 s behind the beat, ± 0.02 s, against the challenge's usual lag."
        assert said["Which beat"].startswith("settled by other clips")
        same = [row for row, one in enumerate(clips["same_sound"]) if one == clips["same_sound"][0]]
        assert said["The same track"] == f"in {len(same) - 1} other clips, all of this challenge"
        assert "This page holds no sound" in page.locator(SECTION).inner_text()
        show(page, 1)
        said = facts(page)
        assert said["Tempo"].startswith("113 beats")
        assert said["Lag"].startswith("0.08 s ahead of the beat, ± 0.02 s, against the beat itself")
        assert clips["challenge"][1] == 1, "the challenge of which nothing usual is known"
        assert said["Which beat"].startswith("not settled: the dancer may be off by whole beats (0.53 s")
        assert said["The same track"] == "in no other clip of this report"


def test_where_the_error_is_as_large_the_lag_may_be_none_and_half_a_beat_may_be_either_way(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        lags = page.evaluate("""async () => {
          const { mediaOf } = await import("report/media");
          const { musicSection } = await import("report/music");
          const { dance } = mediaOf(0).music;
          return [[0.12, 0.02, true], [0.12, 0.07, true], [0.26, 0.02, true], [0.26, 0.02, false]].map((one) => {
            [dance.clip_lag, dance.clip_lag_error, dance.certain] = one;
            return musicSection(0, 0, () => {}).element.textContent;
          });
        }""")
        assert [("may be zero" in one, "half a beat" in one) for one in lags] == [
            (False, False), (True, False), (False, False), (False, True),
        ]  # fmt: skip


def test_where_there_is_nothing_to_draw_the_reason_is_said_and_no_chart_is_empty(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        for row, code in UNHEARD.items():
            show(page, row)
            assert f"There is no music to show: {SOUND_CODES[code]}." in page.locator(SECTION).inner_text()
            assert page.locator(DRAWING).count() == 0
        show(page, 49)
        assert "the clip could not be read" in page.locator(SECTION).inner_text()
        assert page.locator(DRAWING).count() == 0
        show(page, 2)
        assert facts(page)["Tempo"] == "none was found"
        assert facts(page)["Lag"].startswith("No beats were found")
        show(page, 6)
        assert facts(page)["Lag"].startswith("No dancer was found")
        assert len(marks(page, ".beat")) == len(beats_of(6))
        for row in (2, 6):
            show(page, row)
            assert len(marks(page, ".loudness")) == 1
            assert marks(page, ".speed, .lag, .zero") == []
            assert page.get_by_label("Each limb's speed").count() == 0
        show(page, 3)
        assert facts(page)["Lag"].startswith("not known: the motion follows the beat too loosely")
        assert "Which beat" not in facts(page)
        assert "too loosely to tell" in str(page.locator(f"{DRAWING} svg").text_content())


def test_a_run_without_the_sound_says_so(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        text = page.evaluate("""async () => {
          const { payload } = await import("report/data");
          const { musicSection } = await import("report/music");
          payload.data.sound = null;
          return musicSection(0, 7.8, () => {}).element.textContent;
        }""")
        assert text == "MusicThe run was made without the sound: nothing is known of the music."


# --- what is drawn


def test_beats_are_where_they_were_planted_and_the_taller_the_surer(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        beats = marks(page, ".beat")
        assert [float(one["x1"]) for one in beats] == pytest.approx(x_of(page, beats_of(0)), abs=0.6)
        heights = [float(one["y1"]) - float(one["y2"]) for one in beats]
        assert np.array(heights) / 18 == pytest.approx(np.linspace(0.4, 1, len(beats)), abs=0.005)


def test_curves_and_beats_of_the_motion_are_the_planted_ones(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        (line,) = marks(page, ".speed")
        drawn = points(line["d"])
        times = np.arange(int(SECONDS * 20) + 1) / 20
        assert drawn[:, 0] == pytest.approx(x_of(page, times), abs=0.06)
        speed = np.abs(np.sin(np.pi * (times - 0.32) * 112 / 60))
        level = (drawn[:, 1].max() - drawn[:, 1]) / np.ptp(drawn[:, 1])
        assert level == pytest.approx(speed, abs=0.04)
        rests = [float(one["cx"]) for one in marks(page, ".rest")]
        expected = beats_of(0) + 0.12
        assert rests == pytest.approx(x_of(page, expected[expected < SECONDS]), abs=1.2)
        (loudness,) = marks(page, ".loudness")
        outline = points(loudness["d"])
        assert len(outline) == 2 * len(times)
        (jagged,) = marks(page, ".onsets")
        heights = points(jagged["d"])[:, 1]
        assert (heights.max() - heights) / 60 == pytest.approx(np.exp(-8 * ((times - 0.2) * 112 / 60 % 1)), abs=0.01)
        half = np.abs(outline[: len(times), 1] - np.mean(outline[:, 1]))
        onsets = np.exp(-8 * ((times - 0.2) * 112 / 60 % 1))
        assert half / 30 == pytest.approx((90 + 127.5 * onsets) / 255, abs=0.01)


def test_the_lag_is_drawn_with_its_error_late_above_the_line(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        for row, lag_s in ((0, 0.12), (1, -0.08)):
            show(page, row)
            (line,), (band,), (zero,) = (marks(page, f".{name}") for name in ("lag", "band", "zero"))
            lags = np.array(line["data-lags"].split(), float)
            middle = np.arange(1.5, SECONDS - 1.49, 0.5)
            assert lags == pytest.approx(lag_s + 0.02 * np.sin(middle), abs=0.001)
            drawn = points(line["d"])
            assert drawn[:, 0] == pytest.approx(x_of(page, middle), abs=0.1)
            above = float(zero["y1"]) - drawn[:, 1]
            assert above == pytest.approx(lags * 46 / 0.2, abs=0.1)
            edges = points(band["d"])
            assert edges[: len(lags), 1] == pytest.approx(drawn[:, 1] - 0.02 * 46 / 0.2, abs=0.2)
            assert edges[len(lags) :, 1][::-1] == pytest.approx(drawn[:, 1] + 0.02 * 46 / 0.2, abs=0.2)
            texts = page.locator(f"{DRAWING} text").all_text_contents()
            behind = "the challenge's usual" if row == 0 else "the beat"
            assert f"Lag behind {behind}" in texts
            at = {text: float(one["y"]) for text, one in zip(texts, marks(page, "text"), strict=True)}
            assert at["late"] < float(zero["y1"]) < at["early"]


def test_each_limb_on_demand(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        assert [one["data-line"] for one in marks(page, "[data-line]")] == ["body"]
        high = page.locator(DRAWING).bounding_box()
        page.get_by_label("Each limb's speed").focus()
        page.keyboard.press("Space")
        limbs = [one["data-line"] for one in marks(page, "[data-line]")]
        assert limbs == ["left arm", "right arm", "left leg", "right leg", "trunk"]
        for place, limb in enumerate(limbs, start=1):
            first = float(marks(page, f"[data-line='{limb}'] .rest")[0]["data-at"])
            assert first == pytest.approx(0.2 + 0.12 + 0.01 * place, abs=0.006)
            assert len(marks(page, f"[data-line='{limb}'] .rest")) == len(beats_of(0)) - place
        now = page.locator(DRAWING).bounding_box()
        assert high
        assert now
        assert now["height"] > high["height"] + 60
        page.keyboard.press("Space")
        assert [one["data-line"] for one in marks(page, "[data-line]")] == ["body"]


def test_the_numbers_of_the_drawing_are_in_a_table(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        page.locator(f"{SECTION} summary").click()
        rows = page.locator(f"{SECTION} tbody tr").all_inner_texts()
        assert len(rows) == 10
        cells = [row.split("\t") for row in rows]
        assert cells[0][0].strip() == "0.0 s to 3.0 s"
        for start, row in zip(np.arange(0, 5, 0.5), cells, strict=True):
            inside = [beat for beat in beats_of(0) if start <= beat < start + 3]
            assert row[2].strip() == ", ".join(f"{beat:.2f}" for beat in inside)
            assert float(row[5]) == pytest.approx(0.12 + 0.02 * np.sin(start + 1.5), abs=0.006)
            assert row[6].strip() == "0.02"
        show(page, 6)
        page.locator(f"{SECTION} summary").click()
        assert page.locator(f"{SECTION} tbody tr").count() == 3


# --- one clock


def test_a_press_in_the_drawing_goes_there_and_so_does_a_drag(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        page.locator(DRAWING).scroll_into_view_if_needed()
        before = page.evaluate("document.querySelector('#clip canvas').toDataURL()")
        box = page.locator(DRAWING).bounding_box()
        assert box
        left, width = box["x"] + SIDE, box["width"] - 2 * SIDE
        page.mouse.move(left + width * 3.9 / SECONDS, box["y"] + 40)
        page.mouse.down()
        assert float(page.locator(MOMENT).input_value()) == pytest.approx(3.9, abs=0.06)
        assert page.evaluate("document.querySelector('#clip canvas').toDataURL()") != before
        assert float(marks(page, ".now")[0]["x1"]) == pytest.approx(float(x_of(page, 3.9)), abs=1)
        page.mouse.move(left + width * 6.2 / SECONDS, box["y"] + 90, steps=4)
        assert page.locator("#clip .player output").inner_text() == "6.2 s"
        page.mouse.up()
        page.mouse.move(left, box["y"] + 40)
        assert page.locator("#clip .player output").inner_text() == "6.2 s"
        page.mouse.click(box["x"] + box["width"] - 1, box["y"] + 40)
        assert float(page.locator(MOMENT).input_value()) == pytest.approx(SECONDS, abs=0.06)


def test_the_drawing_is_a_slider_for_the_keyboard(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        slider = page.get_by_role("slider", name=re.compile("^Moment in the music: 15 beats of the music"))
        slider.focus()
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        for key, at in (("ArrowRight", 0.1), ("PageUp", 1.1), ("ArrowLeft", 1.0), ("End", SECONDS), ("Home", 0.0)):
            page.keyboard.press(key)
            assert float(page.locator(MOMENT).input_value()) == pytest.approx(at, abs=0.01), key
            assert float(str(slider.get_attribute("aria-valuenow"))) == pytest.approx(at, abs=0.01)
        assert slider.get_attribute("aria-valuetext") == "0.0 s"
        assert float(str(slider.get_attribute("aria-valuemax"))) == SECONDS


def test_the_line_moves_with_the_skeleton_and_the_players_slider_moves_it(opened: Opened) -> None:
    with opened(256, "clip/clip-00000", moving=True) as page:
        wait_until(page, f"Number(document.querySelector('{MOMENT}').value) > 0.5")
        page.get_by_role("button", name="Pause").click()
        at = float(marks(page, ".now")[0]["x1"])
        stood = float(page.locator(MOMENT).input_value())
        assert at == pytest.approx(float(x_of(page, stood)), abs=9)
        page.locator(MOMENT).fill("5")
        assert float(marks(page, ".now")[0]["x1"]) == pytest.approx(float(x_of(page, 5)), abs=0.5)
        page.get_by_role("button", name="Play", exact=True).click()
        page.locator(DRAWING).focus()
        page.keyboard.press("Home")
        page.get_by_role("button", name="Play", exact=True).wait_for()
        page.wait_for_timeout(200)
        assert page.locator(MOMENT).input_value() == "0", "who goes somewhere is not carried away"


def test_who_asks_for_less_motion_finds_it_standing_still(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        assert float(marks(page, ".now")[0]["x1"]) == SIDE
        page.wait_for_timeout(300)
        assert float(marks(page, ".now")[0]["x1"]) == SIDE


def test_a_clip_without_a_dancer_has_a_clock_of_its_own(opened: Opened) -> None:
    with opened(256, "clip/clip-00006") as page:
        page.locator(DRAWING).focus()
        page.keyboard.press("PageUp")
        assert float(marks(page, ".now")[0]["x1"]) == pytest.approx(float(x_of(page, 1)), abs=1)


# --- wherever it is looked at


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False), (1280, True)])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_screen(opened: Opened, width: int, dark: bool) -> None:
    with opened(256, "clip/clip-00000", width=width, dark=dark) as page:
        for row in (0, 2, 4, 6):
            show(page, row)
            page.locator(f"{SECTION} details").evaluate_all("all => all.forEach((one) => { one.open = true })")
            assert grave_findings(page) == [], row
            assert page.evaluate("document.documentElement.scrollWidth") <= width, row
            if page.locator(DRAWING).count():
                box = page.locator(f"{DRAWING} svg").bounding_box()
                assert box
                assert box["width"] <= width


def test_it_is_drawn_anew_where_the_window_changes(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        page.set_viewport_size({"width": 390, "height": 900})
        wait_until(page, f"document.querySelector('{DRAWING} svg').viewBox.baseVal.width < 390")
        beats = marks(page, ".beat")
        assert [float(one["x1"]) for one in beats] == pytest.approx(x_of(page, beats_of(0)), abs=0.6)


def test_texts_of_the_drawing_do_not_run_into_one_another(opened: Opened) -> None:
    overlap = """() => {
      const boxes = [...document.querySelectorAll('#clip .score text')].map((one) => [one.textContent, one.getBoundingClientRect()]);
      return boxes.flatMap(([a, one], place) => boxes.slice(place + 1)
        .filter(([, other]) => one.left < other.right && other.left < one.right && one.top < other.bottom - 3 && other.top < one.bottom - 3)
        .map(([b]) => [a, b]));
    }"""  # noqa: E501
    for width in (390, 1280):
        with opened(256, "clip/clip-00000", width=width) as page:
            assert page.evaluate(overlap) == [], width
            page.get_by_label("Each limb's speed").check()
            assert page.evaluate(overlap) == [], f"{width}, each limb"


def test_on_paper_it_is_there_without_its_controls(opened: Opened) -> None:
    with opened(256, "clip/clip-00000", dark=True) as page:
        page.emulate_media(media="print", reduced_motion="reduce")
        assert page.locator(f"{DRAWING} svg").is_visible()
        assert not page.get_by_label("Each limb's speed").is_visible()
        ink = page.locator(f"{DRAWING} .beat").first.evaluate("one => getComputedStyle(one).stroke")
        assert ink == "rgb(0, 0, 0)"


# --- over all clips


def test_the_data_section_counts_clips_with_sound_and_names_tempi(opened: Opened) -> None:
    sound = make_payload(256)[0]["data"]["sound"]
    with opened(256) as page:
        section = page.locator("section[aria-labelledby=data-title]")
        text = section.inner_text()
        assert f"Of {sound['decoded']} clips that were read, {sound['heard']} have sound" in text
        assert f"in {sound['with_tempo']} of these beats" in text
        for code in ("no_sound", "silent"):
            assert f"{code} {SOUND_CODES[code]}: 6" in text or f"{code} {SOUND_CODES[code]}: 5" in text
        rows = section.locator("[aria-label='Tempo by challenge'] tbody tr").all_inner_texts()
        assert len(rows) == 8
        assert [part.strip() for part in rows[0].split("\t")][2:] == ["100", "99 to 101", "+0.03 ± 0.01"]
        assert rows[1].rstrip().endswith("–")


def test_a_challenge_names_its_usual_tempo_and_lag(opened: Opened) -> None:
    with opened(256, "challenges") as page:
        rows = page.locator("#challenges table").first.locator("tbody tr").all_inner_texts()
        assert [part.strip() for part in rows[2].split("\t")][3:] == ["112", "0.03 s late"]
        assert rows[1].split("\t")[4].strip() == "–"


def test_modalities_of_sound_have_their_names_in_words_everywhere(opened: Opened) -> None:
    with opened(256) as page:
        for view in ("overview", "challenges", "recommend", "clip/clip-00000"):
            goto(page, view)
            page.wait_for_timeout(100)
            if view == "overview":
                page.locator("figure[data-chart=attention]").scroll_into_view_if_needed()
                page.locator("figure[data-chart=attention] svg path").first.wait_for(state="attached")
            text = page.locator("section.view.shown").inner_text().lower()
            assert "keeping the beat" in text, view
            assert "sound" in text, view
            assert not re.search(r"\b(audio(?! stream)|synchrony)\b", text), view
