"""The summary of a command: its fields, which stay, and what is in them."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipeline.commands.command import COMMANDS, WITHHELD, Command, Stage
from pipeline.commands.summary import NAMED, clip_counts, end, summaries
from pipeline.core.errors import CLIP_CODES, TooManyFailed
from pipeline.ingest.tombstones import add_tombstones
from tests.docs.pages import ROOT
from tests.support.whole_files import cut, read_json

FIELDS = [
    "schema", "command", "task", "began_at", "ended_at", "seconds", "outcome", "error", "clips", "codes", "without",
    "copies", "left_out", "places", "results", "stages",
]  # fmt: skip
OF_A_CODE = ["status", "code", "clips", "named", "meaning", "retryable"]
OF_A_STAGE = ["stage", "of", "took_s", "outcome", "error"]


@dataclass(frozen=True)
class Clip:
    clip_id: str
    status: str
    code: str = ""


CLIPS = [
    Clip("fine", "ok"), Clip("cut", "partial", "truncated"),
    *(Clip(f"gone{number}", "failed", "missing") for number in range(7)), Clip("text", "failed", "not_a_video"),
]  # fmt: skip
COUNTS = {"ok": 1, "partial": 1, "failed": 8}


def ended(workspace: Path, error: BaseException | None = None, **content: object) -> dict:
    command = Command.begin(str(workspace), "BuildVDV")
    with Stage(command, "IngestBatch", "june") as stage:
        stage.measure(clips=10)
    return read_json(Path(end(command, content, error)))


def test_a_summary_has_these_fields_whatever_the_task_and_the_page_names_each(tmp_path: Path) -> None:
    bare = ended(tmp_path)
    full = ended(tmp_path, **clip_counts(COUNTS, CLIPS), copies={"near": 1}, places={"report": "runs/a/report.html"})
    for about in (bare, full):
        assert [field for field in about if not field.startswith("$")] == FIELDS
        assert list(about["stages"][0])[: len(OF_A_STAGE)] == OF_A_STAGE
    assert list(full["codes"][0]) == OF_A_CODE
    page = (ROOT / "docs/progress.md").read_text()
    missing = [field for field in (*FIELDS, *OF_A_CODE, *OF_A_STAGE) if f"`{field}`" not in page]
    assert not missing


def test_clips_are_counted_by_ending_and_code_and_some_are_named(tmp_path: Path) -> None:
    about = ended(tmp_path, **clip_counts(COUNTS, CLIPS))
    assert about["clips"] == COUNTS
    assert [(code["status"], code["code"], code["clips"]) for code in about["codes"]] == [
        ("failed", "missing", 7), ("failed", "not_a_video", 1), ("partial", "truncated", 1),
    ]  # fmt: skip
    missing, no_video, truncated = about["codes"]
    assert missing["named"] == [f"gone{number}" for number in range(NAMED)]
    assert missing["meaning"] == CLIP_CODES["missing"].meaning
    assert [code["retryable"] for code in (missing, no_video, truncated)] == [True, False, False]


def test_a_command_that_failed_or_was_interrupted_says_so_with_the_code_of_its_error(tmp_path: Path) -> None:
    assert ended(tmp_path)["outcome"] == "done"
    failed = ended(tmp_path, TooManyFailed("9 of 10 clips failed"))
    assert failed["outcome"] == "failed"
    assert failed["error"] == {"code": "too_many_failed", "message": "9 of 10 clips failed"}
    assert ended(tmp_path, KeyboardInterrupt())["outcome"] == "interrupted"


def test_what_json_lacks_is_null(tmp_path: Path) -> None:
    results = {
        "ranking": {"spearman": math.nan, "n": np.int64(3)},
        "values": (np.float64(0.5), math.inf),
        "judged": True,
    }
    about = ended(tmp_path, results=results)
    assert about["results"] == {"ranking": {"spearman": None, "n": 3}, "values": [0.5, None], "judged": True}


def test_the_log_ends_when_the_summary_is_there(tmp_path: Path) -> None:
    about = ended(tmp_path)
    log = (tmp_path / COMMANDS / f"{about['command']}.jsonl").read_text().splitlines()
    last = json.loads(log[-1])
    assert (last["event"], last["outcome"], last["error"]) == ("ended", "done", None)


def test_summaries_are_read_newest_first_and_one_that_is_damaged_is_passed_over_and_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for day in (1, 3, 2):
        name = f"2026060{day}T000000Z-BuildVDV-0a1b2c"
        end(Command(str(tmp_path), "BuildVDV", name, "", 0.0, ""), {"results": {"day": day}})
    assert [about["results"]["day"] for about in summaries(str(tmp_path))] == [3, 2, 1]
    cut(tmp_path / COMMANDS / "20260602T000000Z-BuildVDV-0a1b2c.json", 0.5)
    assert [about["results"]["day"] for about in summaries(str(tmp_path))] == [3, 1]
    (message,) = caplog.messages
    assert "20260602T000000Z-BuildVDV-0a1b2c.json is damaged" in message
    assert len(list((tmp_path / COMMANDS).glob("*.json"))) == 3


def test_there_are_no_summaries_where_there_is_no_workspace(tmp_path: Path) -> None:
    assert list(summaries(str(tmp_path / "none"))) == []


def test_after_a_purge_beside_the_command_clips_are_counted_and_none_is_named(tmp_path: Path) -> None:
    command = Command.begin(str(tmp_path), "BuildVDV")
    error = TooManyFailed("9 of 10 clips failed: gone0, gone1")
    with pytest.raises(TooManyFailed), Stage(command, "AssembleDataset", ""):
        raise error
    add_tombstones(str(tmp_path), ["gone0"], [])
    content = {**clip_counts(COUNTS, CLIPS), "results": {"run": "a"}}
    about = read_json(Path(end(command, content, error)))
    assert (about["clips"], about["results"]) == (COUNTS, {"run": "a"})
    assert [(code["code"], code["clips"], code["named"]) for code in about["codes"]] == [
        ("missing", 7, []), ("not_a_video", 1, []), ("truncated", 1, []),
    ]  # fmt: skip
    assert about["error"] == about["stages"][0]["error"] == {"code": "too_many_failed", "message": WITHHELD}
    assert not [path for path in (tmp_path / COMMANDS).iterdir() if "gone" in path.read_text()]


def test_rows_that_were_left_out_are_counted(tmp_path: Path) -> None:
    command = Command.begin(str(tmp_path), "BuildVDV")
    assert read_json(Path(end(command, {})))["left_out"] == 0
    command.note("left_out", rows=2)
    assert read_json(Path(end(command, {})))["left_out"] == 2
