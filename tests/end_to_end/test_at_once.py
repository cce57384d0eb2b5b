"""Two commands at once on one workspace: one does the work, the other waits for it and finds it done."""

import json
import threading
from pathlib import Path

from benchmarks.tiny_clips import tiny_world
from pipeline.commands.command import COMMANDS
from tests.end_to_end.workspaces import Finished, contents, run
from tests.support.whole_files import read_json

OPTIONS = (
    *("--manifest", "tiny.csv", "--shard-clips", "2", "--report-films", "0", "--folds", "2"),
    *("--modalities", "pose,face,scene"),
)
# The same work in other words: what is made depends on neither.
OTHERWISE = ("--manifest", "./tiny.csv", "--max-failed", "0.1", *OPTIONS[2:])


def test_both_end_well_and_nothing_is_done_twice(tmp_path: Path) -> None:
    for name in ("alone", "together"):
        tiny_world(tmp_path / name, 8)
    assert run("BuildVDV", tmp_path / "alone", *OPTIONS).code == 0
    ends: list[Finished] = []
    threads = [
        threading.Thread(target=lambda options=options: ends.append(run("BuildVDV", tmp_path / "together", *options)))
        for options in (OPTIONS, OTHERWISE)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ended.code for ended in ends] == [0, 0], [ended.output for ended in ends]
    output = "".join(ended.output for ended in ends)
    assert "damaged" not in output
    assert output.count("ingest tiny:") <= 1
    alone, together = (contents(tmp_path / name / "workspace/features") for name in ("alone", "together"))
    assert together == alone
    alone, together = (_losses(tmp_path / name / "workspace/runs") for name in ("alone", "together"))
    assert together == alone != {}
    assert read_json(tmp_path / "together/workspace/latest.json")["run"]
    _assert_each_has_a_log_of_its_own(tmp_path / "together/workspace" / COMMANDS)


def _assert_each_has_a_log_of_its_own(folder: Path) -> None:
    summaries = [read_json(path) for path in folder.glob("*.json")]
    logs = {path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in folder.glob("*.jsonl")}
    assert {about["command"] for about in summaries} == set(logs)
    for about in summaries:
        log = logs[about["command"]]
        assert {line["command"] for line in log} == {about["command"]}
        assert [log[0]["event"], log[-1]["event"]] == ["began", "ended"]
        ended = [line["stage"] for line in log if line["event"] == "stage_ended"]
        assert ended == [stage["stage"] for stage in about["stages"]]
        assert about["outcome"] == "done"


def _losses(runs: Path) -> dict[str, str]:
    """Logs of the trainings: of two at once, each would write into the other's."""
    return {name: held for name, held in contents(runs).items() if "/logs/csv/" in name}
