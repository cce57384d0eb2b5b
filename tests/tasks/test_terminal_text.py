"""Sentences at a task's end."""

import math

import pytest

from pipeline.commands.summary import clip_counts
from pipeline.core.errors import CLIP_CODES
from pipeline.dataset.failures import Outcome
from pipeline.ingest.exports.plan import ColumnMade, ManifestPlan
from tasks.terminal_text import build_text, ceiling_text, clips_text, manifest_text, not_judged_text


def failed(code: str, *clip_ids: str) -> list[Outcome]:
    return [Outcome(clip_id, "failed", code, "") for clip_id in clip_ids]


def test_clips_that_are_not_ok_are_named_by_code_with_what_it_means_and_what_to_do() -> None:
    clips = [
        *failed("empty", "e0"),
        Outcome("fine", "ok", "", ""),
        *failed("crash", "c0", "c1"),
        Outcome("short", "partial", "truncated", ""),
    ]
    assert clips_text(clip_counts({"ok": 1, "partial": 1, "failed": 3}, clips)) == [
        "clips: 1 ok, 1 partial, 3 failed",
        f"  2 failed, crash: c0, c1\n      {CLIP_CODES['crash'].meaning}",
        f"  1 failed, empty: e0\n      {CLIP_CODES['empty'].meaning}",
        f"  1 partial, truncated: short\n      {CLIP_CODES['truncated'].meaning}",
        "  what to do about each code: docs/clip-endings.md; 2 may pass another time: add --retry-failed",
    ]


@pytest.mark.parametrize("code", CLIP_CODES)
def test_only_where_another_time_may_help_it_is_recommended(code: str) -> None:
    told = "--retry-failed" in clips_text(clip_counts({"failed": 1}, failed(code, "a")))[-1]
    assert told == CLIP_CODES[code].retryable


def test_of_many_clips_some_are_named_and_of_clips_that_are_ok_none() -> None:
    lines = clips_text(clip_counts({"failed": 7}, failed("empty", *"abcdefg")))
    assert lines[1].startswith("  7 failed, empty: a, b, c, d, e, ...\n")
    assert clips_text(clip_counts({"ok": 1}, [Outcome("fine", "ok", "", "")])) == ["clips: 1 ok"]


def test_a_run_that_no_folds_judged_says_so_and_why() -> None:
    nothing = {"fused": {"mean": {"spearman": None, "reason": "no challenge has two clips to compare"}}}
    metrics: dict = {"splits": {"test": {"predictors": nothing}}}
    reason = "6 labelled clips are of 1 creators; cross-validation needs at least two"
    judged = {"protocol": "kfold", "asked": 3, "folds": 0, "clips": 0, "reason": reason}
    assert build_text([], metrics | {"folds": judged}, []) == [
        "ranking: not evaluated: no challenge has two clips to compare",
        f"not judged by folds: {reason}",
    ]
    assert not_judged_text({"folds": 3, "clips": 24}) == []
    assert not any("not judged" in line for line in build_text([], metrics, [])), "--folds 0"


def test_no_ceiling_is_told_where_nothing_can_be_compared() -> None:
    assert ceiling_text(math.nan) == []
    assert "reaches 0.87 on the same clips" in ceiling_text(0.874)[0]


def test_a_manifest_s_summary_shows_each_column_s_source_and_lists_what_was_left_out() -> None:
    plan = ManifestPlan("june.csv", files=27, records=3, rows=[{}, {}])
    plan.columns = (ColumnMade("likes", "Likes (--map)", 1, ("12300",)), ColumnMade("x_Note", "Note", 2, ("a" * 40,)))
    plan.formats["CSV, separated by tabs, UTF-16"] = 2
    plan.notes["likes", "abbreviated"] = ["12.3K", "12.3K"]
    plan.listed["files without a record, left out"] = [f"{at}.mp4" for at in range(25)]
    plan.listed["records without a file"] = []
    first, second, third, *rest = manifest_text(plan).splitlines()
    assert first.split() == ["column", "from", "filled", "for", "example"]
    assert second.split() == ["likes", "Likes", "(--map)", "1", "of", "2", "12300"]
    assert third.endswith("2 of 2  " + "a" * 27 + "...")
    assert rest[1:6] == [
        "read: 2 x CSV, separated by tabs, UTF-16",
        "likes: 2 abbreviated: 12.3K",
        "2 of 27 clips are in the manifest; 3 records were read",
        "  25 files without a record, left out:",
        "      0.mp4",
    ]
    assert rest[-2:] == ["      19.mp4", "      ... and 5 more"]
