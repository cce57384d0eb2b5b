"""Recommendation in the page: the sliders, and that it follows the same rule as the task."""

import base64

import numpy as np
import pandas as pd
import pytest

from pipeline.scoring.recommendation import select, weighted_relevance
from tests.report_browser.conftest import Opened, make_payload, wait_until

PICKS = "#recommend .pick a"


def of_pipeline(
    payload: dict, challenge: int, weights: dict, diversity: float, top: int, new: bool, each: bool
) -> list:
    """clip_ids as pipeline.scoring.recommendation picks them from the page's own numbers."""
    clips = payload["clips"]
    percentile = pd.DataFrame(clips["modality_percentile"] | {"fused": clips["content"]}, dtype=float)
    values = np.frombuffer(base64.b64decode(payload["embedding"]["values"]), np.int8)
    values = values.reshape(-1, payload["embedding"]["size"]).astype(float)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    unit = np.divide(values, length, out=np.zeros_like(values), where=length > 0)
    relevance = weighted_relevance(percentile, weights)
    if new:
        relevance[~np.array(clips["new"])] = np.nan
    members = np.array(sorted(
        (row for row, one in enumerate(clips["challenge"]) if one == challenge), key=lambda row: clips["id"][row]
    ))  # fmt: skip
    names = {name: np.array(clips[name], object)[members] for name in ("creator", "copies")}
    picked = select(
        relevance[members], {"page": unit[members]}, names["creator"], names["copies"], top, diversity, int(each)
    )
    return [clips["id"][members[one.row]] for one in picked]


@pytest.mark.parametrize(
    ("weights", "diversity", "top", "new", "each"),
    [
        ({"fused": 1.0}, 0.3, 10, False, True),
        ({"fused": 1.0, "pose": 2.0, "face": 0.5}, 0.0, 20, False, False),
        ({"face": 3.0}, 1.0, 20, False, True),
        ({"scene": 1.0, "appearance": 1.5}, 0.7, 50, True, False),
    ],
)
def test_the_page_picks_what_the_task_would_pick(
    opened: Opened, weights: dict[str, float], diversity: float, top: int, new: bool, each: bool
) -> None:
    payload, _ = make_payload(256)
    with opened(256, "recommend") as page:
        picks = page.evaluate(
            """async ([weights, diversity, top, newOnly, oneEach]) => {
              const { recommended } = await import("report/recommend");
              const { clips, challenges } = await import("report/data");
              const asked = { weights, diversity, top, newOnly, oneEach };
              return challenges.map((_, place) => recommended(place, asked).map((one) => clips.id[one.clip]));
            }""",
            [weights, diversity, top, new, each],
        )
    assert sum(map(len, picks)) > 10
    for challenge, ids in enumerate(picks):
        assert ids == of_pipeline(payload, challenge, weights, diversity, top, new, each)


def test_sliders_change_the_picks_at_once(opened: Opened) -> None:
    payload, _ = make_payload(256)
    with opened(256, "recommend") as page:
        assert page.locator(PICKS).all_inner_texts() == of_pipeline(payload, 0, {"fused": 1}, 0.3, 10, False, True)
        page.get_by_role("slider", name="Scene").fill("2.5")
        page.get_by_label("All modalities, as the model weighs them").fill("0")
        page.get_by_label("Diversity").fill("0.6")
        page.get_by_label("How many").select_option("5")
        page.get_by_label("One clip a creator").uncheck()
        assert page.locator(PICKS).all_inner_texts() == of_pipeline(payload, 0, {"scene": 2.5}, 0.6, 5, False, False)
        page.get_by_label("New uploads only").check()
        assert page.locator(PICKS).all_inner_texts() == of_pipeline(payload, 0, {"scene": 2.5}, 0.6, 5, True, False)
        command = page.locator("#recommend code").inner_text()
        for part in (
            ".venv/bin/luigi --module tasks Recommend --workspace WORKSPACE --run 'made by script'",
            "--weights scene=2.5",
            "--diversity 0.6",
            "--top 5",
            "--per-creator 0",
            "--new-only",
        ):
            assert part in command
        page.get_by_label("Challenge", exact=True).select_option("3")
        assert page.locator(PICKS).all_inner_texts() == of_pipeline(payload, 3, {"scene": 2.5}, 0.6, 5, True, False)


def test_a_slider_is_moved_by_keyboard(opened: Opened) -> None:
    with opened(256, "recommend") as page:
        before = page.locator(PICKS).all_inner_texts()
        page.get_by_label("Diversity").focus()
        page.keyboard.press("End")
        assert page.locator("#recommend output").last.inner_text() == "1.0"
        assert page.locator(PICKS).all_inner_texts() != before


def test_no_weight_at_all_is_said(opened: Opened) -> None:
    with opened(256, "recommend") as page:
        page.get_by_label("All modalities, as the model weighs them").fill("0")
        assert page.locator(PICKS).count() == 0
        assert "above 0" in page.locator("#recommend .content").inner_text()


def test_the_curve_says_what_diversity_costs_and_gives(opened: Opened) -> None:
    """Its numbers are those of the picks at each step; it follows the sliders when they rest."""
    payload, _ = make_payload(256)
    row_of = {name: row for row, name in enumerate(payload["clips"]["id"])}
    with opened(256, "recommend") as page:
        page.get_by_role("slider", name="Scene").fill("2.5")
        page.get_by_label("All modalities, as the model weighs them").fill("0")
        rows = page.locator("#recommend details tbody tr")
        page.get_by_text("The curve's numbers").click()
        page.locator("#recommend figure svg").wait_for()
        scene = payload["clips"]["modality_percentile"]["scene"]
        for step in (0, 5, 10):
            picked = [row_of[name] for name in of_pipeline(payload, 0, {"scene": 1}, step / 10, 10, False, True)]
            worth = np.mean([0.5 if scene[row] is None else scene[row] for row in picked])
            ended = [payload["clips"]["actual"][row] for row in picked if payload["clips"]["actual"][row] is not None]
            good = np.mean([one >= 2 / 3 for one in ended])
            wait_until(
                page,
                "([step, worth]) => document.querySelectorAll('#recommend details tbody tr')[step]"
                ".innerText.split(/\\t/)[1].trim() === worth",
                arg=[step, f"{100 * worth:.0f} %"],
            )
            shown = [cell.strip() for cell in rows.nth(step).inner_text().split("\t")]
            assert shown[0] == f"{step / 10:.1f}"
            assert shown[3] == f"{100 * good:.0f} %"
        unlike = [float(rows.nth(step).inner_text().split("\t")[2].split()[0]) for step in (0, 10)]
        assert unlike[1] > unlike[0]
        page.get_by_label("All modalities, as the model weighs them").fill("0")
        page.get_by_role("slider", name="Scene").fill("0")
        page.locator("#recommend figure").wait_for(state="hidden")
