"""Feedback on the page of a clip: what it says, how it moves the player, and the command where there is none."""

import shlex

import pytest

from tests.report_browser.conftest import (
    EVIL,
    LATE,
    MEANING,
    SMALL,
    Opened,
    goto,
    grave_findings,
    make_payload,
    wait_until,
)

MOMENT = "#clip .player input"
CLOCK = "#clip .player output"
SECTION = "#clip section:has(> h2:text-is('What differs from the best clips'))"
COMMAND = ".venv/bin/luigi --module tasks ActionFeedback --workspace WORKSPACE --run 'made by script' --clip clip-00002"
ENDS = """() => [...document.querySelectorAll('#clip .marks span')].map((mark) => {
  const [line, { left, right }] = [mark.parentElement.getBoundingClientRect(), mark.getBoundingClientRect()];
  return [left, right].map((end) => (end - line.left) / line.width);
})"""
IN_SIGHT = """() => {
  const { top, bottom } = document.querySelector('#clip .panel canvas').getBoundingClientRect();
  const header = document.querySelector('header').getBoundingClientRect().bottom;
  return top >= Math.max(0, header) - 1 && bottom <= innerHeight + 1;
}"""


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def test_it_says_what_differs_what_that_means_and_where_it_is_from(opened: Opened) -> None:
    one = make_payload(256)[0]["feedback"][0]
    with opened(256, "clip/clip-00000") as page:
        section = page.locator(SECTION)
        items = section.locator("li")
        assert items.count() == 2
        for item, finding in zip(items.all(), (LATE, SMALL), strict=True):
            assert item.locator("p").all_inner_texts() == [capital(finding["sentence"]), capital(MEANING)]
        text = section.inner_text()
        assert one["caution"] in text
        assert "Compared with the best 5 clips of the challenge" in text
        assert "4 of them dance what this clip does" in text
        assert section.locator("code").inner_text() == one["film"]
        assert section.locator("a").all_inner_texts() == one["references"]
        section.get_by_role("link", name=one["references"][1]).click()
        wait_until(page, "id => document.querySelector('#clip-title').textContent === id", arg=one["references"][1])


def test_nothing_stands_out_is_an_answer(opened: Opened) -> None:
    with opened(256, "clip/clip-00001") as page:
        text = page.locator(SECTION).inner_text()
        assert "Nothing stands out" in text
        assert "luigi" not in text
        assert ".mp4" not in text, "there is none"
        assert page.locator("#clip .marks span").count() == 0


def test_a_stretch_is_shown_by_mouse_and_by_keyboard(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        before = page.evaluate("document.querySelector('#clip canvas').toDataURL()")
        page.get_by_role("button", name=f"Show this stretch {LATE['sentence']}").click()
        assert page.locator(MOMENT).input_value() == "1.2"
        assert page.locator(CLOCK).inner_text() == "1.2 s"
        assert page.evaluate("document.querySelector('#clip canvas').toDataURL()") != before
        assert page.locator("#status").inner_text() == "At 1.2 s."
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == f"Show this stretch {SMALL['sentence']}"
        page.keyboard.press("Enter")
        assert float(page.locator(MOMENT).input_value()) == pytest.approx(3.45, abs=0.06)


def test_a_stretch_is_marked_on_the_time_line(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        length = float(str(page.locator(MOMENT).get_attribute("max")))
        for ends, one in zip(page.evaluate(ENDS), (LATE, SMALL), strict=True):
            assert ends == pytest.approx([one["start_s"] / length, one["end_s"] / length], abs=0.01)


@pytest.mark.parametrize("width", [360, 1440])
def test_the_dancer_comes_into_sight_and_moves_on_from_there(opened: Opened, width: int) -> None:
    with opened(256, "clip/clip-00000", moving=True, width=width) as page:
        page.get_by_role("button", name="Pause").click()
        page.evaluate("scrollTo(0, document.querySelector('#clip .findings').offsetTop)")
        assert not page.evaluate(IN_SIGHT)
        page.get_by_role("button", name=f"Show this stretch {LATE['sentence']}").click()
        assert page.evaluate(IN_SIGHT)
        wait_until(page, f"Number(document.querySelector('{MOMENT}').value) > 1.5")
        page.get_by_role("button", name="Pause").click()
        assert float(page.locator(MOMENT).input_value()) < 6


def test_a_stretch_that_the_page_does_not_hold_has_no_button(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        shown = page.evaluate("""async () => {
          const { feedback } = await import("report/feedback");
          const buttons = (seconds) => feedback(0, seconds, null).flatMap((one) => [...one.querySelectorAll("button")]);
          return [3, 0].map((seconds) => buttons(seconds).map((one) => one.textContent));
        }""")
        assert shown == [[f"Show this stretch {LATE['sentence']}"], []]


def test_where_there_is_none_the_command_is_copied(opened: Opened) -> None:
    with opened(256, "clip/clip-00002") as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        assert page.locator(SECTION).locator("code").inner_text() == COMMAND
        page.locator(SECTION).get_by_role("button", name="Copy", exact=True).focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Copied").wait_for()
        assert page.locator("#status").inner_text() == "Copied."
        assert page.evaluate("navigator.clipboard.readText()") == COMMAND
        page.get_by_role("button", name="Copy", exact=True).wait_for()


@pytest.mark.parametrize("lacking", ["() => Promise.reject(new DOMException('no', 'NotAllowedError'))", "undefined"])
def test_where_a_page_may_not_copy_the_command_is_selected(opened: Opened, lacking: str) -> None:
    clipboard = f"{{ writeText: {lacking} }}" if lacking != "undefined" else lacking
    with opened(256, "clip/clip-00002") as page:
        page.evaluate(f"Object.defineProperty(navigator, 'clipboard', {{ value: {clipboard} }})")
        page.get_by_role("button", name="Copy", exact=True).click()
        page.get_by_role("button", name="Selected, ready to copy").wait_for()
        assert page.locator("#status").inner_text() == "Selected, ready to copy."
        assert page.evaluate("getSelection().toString()") == COMMAND


def test_whatever_a_clip_is_called_the_shell_gets_its_name(opened: Opened) -> None:
    odd = ["a b", "it's", "$(ls)", "-x", "--help", "a;b|c", "`ls`", '"', "plain-1.mp4", "a\\b", "é*?"]
    with opened(256) as page:
        commands = page.evaluate(
            """async (names) => {
              const { task } = await import("report/command");
              return names.map((name) => task("ActionFeedback", { "--clip": name }));
            }""",
            odd,
        )
    for name, command in zip(odd, commands, strict=True):
        given = shlex.split(command)[8:]
        assert given in ([f"--clip={name}"], ["--clip", name])
        assert (len(given) == 1) == name.startswith("-"), "else it would be taken for an option"
    assert commands[8].endswith(" --clip plain-1.mp4"), "nothing is quoted that need not be"


def test_a_run_without_a_name_is_called_by_its_id(opened: Opened) -> None:
    with opened(256) as page:
        command = page.evaluate("""async () => {
          const { payload } = await import("report/data");
          const { task } = await import("report/command");
          payload.about.name = null;
          return task("ActionFeedback", {});
        }""")
        assert command == ".venv/bin/luigi --module tasks ActionFeedback --workspace WORKSPACE --run 0123456789abcdef"


def test_a_clip_without_a_skeleton_has_no_command(opened: Opened) -> None:
    payload, _ = make_payload(256)
    seen = next(row for row in range(2, 256) if payload["clips"]["status"][row] == "ok")
    with opened(256, "clip/clip-00049") as page:
        assert "no skeleton, for the clip could not be read" in page.locator(SECTION).inner_text()
        assert page.locator(SECTION).locator("button, code").count() == 0
        texts = page.evaluate(
            """async (clip) => {
              const { clips, modalities } = await import("report/data");
              const { feedback } = await import("report/feedback");
              const text = () => feedback(clip, 1, () => {}).map((one) => one.textContent).join(" ");
              clips.modality_percentile.pose[clip] = null;
              const nobody = text();
              modalities.splice(modalities.indexOf("pose"), 1);
              return [nobody, text()];
            }""",
            seen,
        )
        assert "no skeleton, for no dancer was found in the clip" in texts[0]
        assert "made without the pose modality" in texts[1]
        assert "luigi" not in texts[0] + texts[1]


def test_html_in_what_is_said_is_text(opened: Opened) -> None:
    payload, _ = make_payload(256, EVIL)
    one = payload["feedback"][0]
    with opened(256, evil=True) as page:
        for row in (0, 2):
            page.evaluate("id => { location.hash = `clip/${encodeURIComponent(id)}` }", payload["clips"]["id"][row])
            page.wait_for_selector("#clip.shown")
            text = page.locator(SECTION).inner_text()
            if row == 0:
                texts = [one["findings"][0]["sentence"], one["findings"][0]["meaning"], one["caution"], one["film"]]
                assert all("<img src=x" in part for part in texts)
                assert all(part in text for part in [*texts, *one["references"]])
            else:
                command = page.locator(SECTION).locator("code").inner_text()
                assert shlex.split(command)[-1] == payload["clips"]["id"][row]
            assert page.locator(f"{SECTION} :is(img, script, b, [onerror])").count() == 0


def test_untrained_weights_are_said_beside_it(opened: Opened) -> None:
    with opened(256, "clip/clip-00000") as page:
        assert "Untrained" not in page.locator(SECTION).inner_text()
        warned = page.evaluate("""async () => {
          const { payload } = await import("report/data");
          const { feedback } = await import("report/feedback");
          payload.about.untrained = true;
          return feedback(0, 1, () => {})[0].textContent;
        }""")
        assert warned.startswith("Untrained weights.")


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1440, True)])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_screen(opened: Opened, width: int, dark: bool) -> None:
    with opened(256, width=width, dark=dark) as page:
        for clip in ("clip-00000", "clip-00001", "clip-00002"):
            goto(page, f"clip/{clip}")
            wait_until(page, "id => document.querySelector('#clip-title').textContent === id", arg=clip)
            page.locator(SECTION).wait_for()
            assert grave_findings(page) == [], clip
            assert page.evaluate("document.documentElement.scrollWidth") <= width, clip
