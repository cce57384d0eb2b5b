"""Every view of the page renders with any number of clips, on a telephone and on a desk, and on paper."""

import pytest

from tests.report_browser.conftest import VIEWS, Opened, Page, goto

SHOWN = {  # what a view must show where there are clips
    "overview": "#overview .headlines li",
    "challenges": "#challenges .list tbody th a",
    "recommend": "#recommend .pick",
    "checks": "#checks .card",
    "clip/clip-00000": "#clip .stage canvas",
}


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("clips", [0, 1, 256, 5000])
def test_every_view_renders_and_fits_the_screen(opened: Opened, clips: int, width: int) -> None:
    with opened(clips, width=width) as page:
        for view in VIEWS:
            goto(page, view)
            if clips:
                page.wait_for_selector(SHOWN[view])
            assert page.locator("section.view:visible").count() == 1
            assert page.locator("section.view.shown > h1").is_visible()
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{view} is {wide} px wider than the screen"


def test_the_overview_says_it_in_words_first(opened: Opened) -> None:
    with opened(256) as page:
        assert "the model puts the better one first in 73 % of all cases" in page.locator(".headlines").inner_text()
        for section in ("quality", "calibration", "attention", "ablations", "data", "warnings"):
            assert page.locator(f"section[aria-labelledby={section}-title]").is_visible()


def test_every_chart_is_drawn_and_has_a_table_beside_it(opened: Opened) -> None:
    with opened(256) as page:
        figures = page.locator("#overview figure.chart")
        assert figures.count() == 4
        for place in range(4):
            figure = figures.nth(place)
            figure.scroll_into_view_if_needed()
            figure.locator("svg path").first.wait_for(state="attached")
            assert figure.locator("xpath=ancestor::section[1]").locator("table").count() >= 1
        goto(page, "challenges")
        page.wait_for_selector("#challenges figure svg path", state="attached")


def test_charts_look_predictors_and_variants_up_by_id_and_show_their_titles(opened: Opened) -> None:
    with opened(256) as page:
        figure = page.locator("figure[data-chart=quality]")
        figure.scroll_into_view_if_needed()
        figure.locator("svg path").first.wait_for(state="attached")
        titles = set(figure.locator("svg text").all_text_contents())
        assert {"VDV, all modalities", "statistics alone, no network"} <= titles
        before, after = page.evaluate("""async () => {
          const { ablationChart, qualityChart } = await import("report/specs");
          const { payload } = await import("report/data");
          const charts = () => [qualityChart(), ablationChart()].map((chart) => {
            delete chart.encoding.y.axis.labelExpr;
            return JSON.stringify(chart, (name, value) => (name === "title" ? undefined : value));
          });
          const before = charts();
          for (const row of payload.quality.table) [row.title, row.section] = ["one title", "one section"];
          for (const row of payload.quality.ablations) row.what = "one title";
          return [before, charts()];
        }""")
        assert before == after
        assert before[0].count('"model":true') == 1
        assert before[0].count('"model":false') == 13


def test_a_page_without_clips_says_why_nothing_is_known(opened: Opened) -> None:
    with opened(0) as page:
        assert "2 labelled clips are too few" in page.locator(".headlines").inner_text()
        goto(page, "challenges")
        assert page.locator("#challenges .nothing").inner_text() == "No clip fits."


def test_the_button_and_the_system_choose_the_colours(opened: Opened) -> None:
    def ground(page: Page) -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    with opened(1, dark=True) as page:
        assert ground(page) == "rgb(20, 23, 27)"
        page.get_by_role("button", name="Use light colours").click()
        assert ground(page) == "rgb(255, 255, 255)"
        page.emulate_media(color_scheme="light")
        page.get_by_role("button", name="Use dark colours").click()
        assert ground(page) == "rgb(20, 23, 27)"


def test_paper_shows_all_parts_and_no_controls(opened: Opened) -> None:
    with opened(256, dark=True) as page:
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        for view in ("overview", "challenges", "recommend", "checks"):
            assert page.locator(f"#{view}").is_visible()
        assert not page.locator("#clip").is_visible()
        for hidden in (".top", "#challenges form.controls", "#recommend form.controls", "#theme"):
            assert not page.locator(hidden).is_visible()
        assert page.locator("#challenges .list tbody tr:not(.space)").count() == 60
        assert "The first 60 of 256" in page.locator("#challenges .on-paper").inner_text()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        page.locator("#challenges figure svg path").first.wait_for(state="attached")
        assert page.locator("#overview figure svg").count() == 4


def test_a_clip_that_is_open_is_printed_alone(opened: Opened) -> None:
    with opened(256, view="clip/clip-00000") as page:
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        assert page.locator("#clip").is_visible()
        assert not page.locator("#overview").is_visible()
        assert not page.locator("#clip .player").is_visible()


@pytest.mark.parametrize("name", ["__proto__", "constructor/x", "toString", "clip/__proto__", "nowhere", "clip/%zz"])
def test_an_address_that_names_no_part_of_the_page_shows_one_all_the_same(opened: Opened, name: str) -> None:
    with opened(4) as page:
        page.evaluate("name => { location.hash = name }", name)
        goto(page, "challenges")  # the router still answers
        page.wait_for_selector("#challenges.shown")
        page.evaluate("name => { location.hash = name }", name)
        shown = "clip" if name == "clip/__proto__" else "overview"
        page.wait_for_selector(f"#{shown}.shown")
        assert page.locator("section.view:visible").count() == 1
