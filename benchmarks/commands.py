"""Tasks that work on a finished run, each alone from the command line: seconds of the whole process.

    python -m benchmarks.commands --workspace WORKSPACE --run NAME

Beside them the seconds in which Python imports luigi and torch, without which few of them can start. The workspace is
copied first. CompareRuns is left out, for it takes two runs. RenderReport is made anew; ScoreClips and EvaluateRun find
that nothing is to be done; feedback is on the clips of the highest and the lowest skeleton score that the best of their
challenges fit.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter

import tasks
from benchmarks.common import save, table
from pipeline.files.folder import read_table
from pipeline.runs.run import REPORT, SCORES, Run
from pipeline.runs.runs import find_run

LIMIT_S = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--run", required=True, help="name or id of a run of the demo world")
    options = parser.parse_args()
    rows = [("import luigi, torch", seconds_of([sys.executable, "-c", "import luigi, torch"]))]
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder, "workspace")
        shutil.copytree(options.workspace, workspace)
        run_id = find_run(str(workspace), options.run)
        run = workspace / Run.of("", run_id).place
        scoring = tasks.ScoreClips(workspace=str(workspace))
        if not scoring.complete() or scoring.run_folder().id != run_id:
            raise SystemExit(f"{options.run} is not the finished build of the demo world there: run BuildVDV first")
        scores = read_table(str(run / SCORES)).dropna(subset="score_pose").sort_values("score_pose")
        worst_first = scores["clip_id"].tolist()
        (run / REPORT).unlink()
        commands = [
            ["Recommend", "--run", run_id],
            ["Recommend", "--run", run_id, "--weights", "pose=2,scene=1", "--top", "5"],
            ["ScoreClips"],
            ["EvaluateRun"],
            ["RenderReport"],
        ]
        luigi = [sys.executable, "-m", "luigi", "--module", "tasks"]
        for task, *words in commands:
            seconds = seconds_of([*luigi, task, *words, "--workspace", str(workspace)])
            rows.append((" ".join([task, *words]).replace(run_id, "RUN"), seconds))
        line = [*luigi, "ActionFeedback", "--run", run_id, "--workspace", str(workspace)]
        for what, clip_ids in (("best", reversed(worst_first)), ("worst", worst_first)):
            rows.append((f"ActionFeedback, the {what} clip", feedback_s(line, clip_ids)))
    helped = [seconds_of([*luigi, task, "--help"]) for task in tasks.__all__]
    rows.append((f"--help of the slowest of {len(helped)} tasks", max(helped)))
    print(table(rows, ["command", "s"]))
    print(f"limit: {LIMIT_S} s for a clip; a report is of all clips of the run")
    save("commands", {"limit_s": LIMIT_S, "seconds": {name: round(value, 2) for name, value in rows}})


def feedback_s(line: Sequence[str], clip_ids: Iterable[str]) -> float:
    """Of the first of the clips that the challenge's best can be held against."""
    for clip_id in clip_ids:
        start = perf_counter()
        done = subprocess.run([*line, "--clip", clip_id], capture_output=True, text=True)
        if not done.returncode:
            return perf_counter() - start
        if "feedback needs" not in done.stderr + done.stdout:
            raise SystemExit(f"ActionFeedback ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    raise SystemExit("no clip of the run can be held against the best of its challenge")


def seconds_of(command: Sequence[str]) -> float:
    """Ends the benchmark where the command fails."""
    start = perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return perf_counter() - start


if __name__ == "__main__":
    main()
