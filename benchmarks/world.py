"""Accuracy of the pipeline on a simulated world that nothing was trained on, by its truth.

    python -m benchmarks.world --folder FOLDER      # renders 256 clips there, extracts, trains five folds by creator

Prints the accuracy of the extractors, of the ranking of clips by creators never seen beside that of the best possible
predictor, and of each modality's score as each term of the likes. An interrupted run is resumed.
"""

import argparse
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from benchmarks.common import save, table
from benchmarks.world_checks import OWN_TERM, check_world, term_matrix
from models.device import resolve_device
from models.extractors.places365 import category_set
from models.virality.config import VdvConfig
from pipeline.dataset.folder import DatasetFolder
from pipeline.evaluation.cross_validation import cross_validate
from pipeline.evaluation.evaluate import fold_metrics
from pipeline.modalities.registry import load_profile
from simulation.ceiling import ceilings, mean_spearman
from simulation.render import OPTIONS, manifest_path, read_options
from simulation.truth import read_clips_truth

FLOORS = {"pck": 0.95, "lead_right": 0.98, "scene": 0.97, "faces_matched": 0.98, "faces_found": 0.98}  # aims


def luigi(task: str, *options: str) -> float:
    """Run a task by the `luigi` command and return its wall seconds; a failure ends the benchmark."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "luigi", "--module", "tasks", task, *options])
    if done.returncode:
        raise SystemExit(f"luigi {task} ended with {done.returncode}")
    return time.perf_counter() - start


def add_world_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a world, its extraction and its folds."""
    parser.add_argument("--folder", type=Path, required=True, help="where the world lies or will lie")
    parser.add_argument("--workspace", default="", help="default: FOLDER-workspace")
    parser.add_argument("--seed", type=int, default=1000, help="of the world")
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--world", type=Path, help="a world.toml to render in place of --seed and --clips")
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="folds trained side by side")


@dataclass(frozen=True)
class ExtractedWorld:
    """A rendered world with its assembled dataset, labels adjusted for followers."""

    folder: Path
    workspace: str
    dataset: str  # relative to the workspace
    seconds: dict[str, float]  # wall, by stage; near 0 where it was done before


def extracted_world(options: argparse.Namespace) -> ExtractedWorld:
    """Render and extract the world of `add_world_options`, as far as it is missing."""
    folder, workspace = options.folder, options.workspace or f"{options.folder}-workspace"
    if options.world and not (folder / OPTIONS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(options.world, folder / OPTIONS)
    seconds = {"render": luigi("RenderWorld", "--folder", str(folder), "--seed", str(options.seed), "--clips",
                               str(options.clips))}  # fmt: skip
    common = ["--manifest", str(folder), "--workspace", workspace, "--profile", options.profile]
    seconds["extract"] = luigi("AssembleDataset", *common, "--device", options.device, "--label", "adjusted")
    return ExtractedWorld(folder, workspace, newest_dataset(workspace), seconds)


def newest_dataset(workspace: str) -> str:
    """The dataset that was written last, relative to the workspace: an earlier version's may lie beside it."""
    newest = max(Path(workspace).glob("datasets/*/statistics.json"), key=lambda path: path.stat().st_mtime)
    return f"datasets/{newest.parent.name}"


def checkpoint_folder(workspace: str) -> str:
    """Folder beside a workspace that keeps the trainings of its benchmarks."""
    return f"{workspace}-trainings"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_world_options(parser)
    options = parser.parse_args()
    world = extracted_world(options)
    folder, workspace, dataset, seconds = world.folder, world.workspace, world.dataset, world.seconds

    results: dict = {"world": asdict(read_options(folder)), "profile": options.profile}
    categories, _ = category_set(load_profile(options.profile).entry("scene").categories)
    checks = check_world(folder, workspace, dataset, categories)
    results["extractors"] = checks
    print_checks(checks)

    start = time.perf_counter()
    config = VdvConfig()
    device = resolve_device(options.device)
    scores = cross_validate(
        DatasetFolder(workspace, dataset),
        config,
        device,
        options.folds,
        options.workers,
        checkpoints=checkpoint_folder(workspace),
    )
    seconds["folds"] = time.perf_counter() - start
    results["ranking"] = ranking(scores, folder, workspace, dataset)
    results["seconds"] = {name: round(value, 1) for name, value in seconds.items()}
    print_ranking(results["ranking"])
    save("world", results)


def print_checks(checks: dict) -> None:
    rows = [
        ["pose PCK@0.2, visible joints of the lead", checks["pck"]["all"], FLOORS["pck"]],
        *[[f"  {kind} ({checks['pck_joints'][kind]} joints)", share, ""]
          for kind, share in checks["pck"].items() if kind != "all"],
        *[[f"pose OKS-{name}", value, ""] for name, value in checks["oks_ap"].items()],
        ["frames in which the lead was found", checks["lead_found"], ""],
        [f"lead chosen right ({checks['lead_clips']} clips with several people)", checks["lead_right"],
         FLOORS["lead_right"]],
        ["track switches a ten clips", checks["switches_a_ten_clips"], "under 1"],
        ["scene", checks["scene"], FLOORS["scene"]],
        [f"frontal, bare faces over 40 px ({checks['faces_frontal']}) found", checks["faces_found"],
         FLOORS["faces_found"]],
        ["faces matched to the right dancer", checks["faces_matched"], FLOORS["faces_matched"]],
        ["largest error of a timestamp, ms", checks["worst_time_ms"], ""],
    ]  # fmt: skip
    print(table(rows, ["what", "share right", "at least"]))


def ranking(scores: pd.DataFrame, folder: Path, workspace: str, dataset: str) -> dict:
    """Out-of-fold Spearman within challenge, of all clips with features, beside the best possible predictor's."""
    usable = DatasetFolder(workspace, dataset).read_clips().query("status != 'failed'")["clip_id"]
    scores = scores[scores["clip_id"].isin(usable)]
    judged = fold_metrics(scores)
    truth = read_clips_truth(folder)
    truth = truth[truth["clip_id"].isin(scores["clip_id"])]
    world = ceilings(truth, pd.read_csv(manifest_path(folder)))
    joined = scores.merge(truth[["clip_id", "content"]], on="clip_id")
    best = mean_spearman(joined["content"], joined["label"], joined["challenge"])
    spearman = {name: metrics["mean"]["spearman"] for name, metrics in judged.items()}
    matrix = term_matrix(scores, truth)
    return {
        "clips": len(scores),
        "ceilings": {name: round(value, 4) for name, value in asdict(world).items()},
        "best_possible": round(best, 4),
        "spearman": {name: round(value, 4) for name, value in spearman.items()},
        "fused_95": [round(end, 4) for end in judged["fused"]["mean"]["spearman_95"]],
        "fused_of_best": round(spearman["fused"] / best, 4),
        "matrix": {modality: {term: round(value, 3) for term, value in row.items()} for modality, row in
                   matrix.to_dict("index").items()},
    }  # fmt: skip


def print_ranking(result: dict) -> None:
    rows = [[name, value, value / result["best_possible"]] for name, value in result["spearman"].items()]
    rows.append(["best possible", result["best_possible"], 1.0])
    print(table(rows, ["adjusted likes, creators never seen", "Spearman", "of the ceiling"]))
    terms = list(next(iter(result["matrix"].values())))
    print(
        table(
            [[modality, *row.values()] for modality, row in result["matrix"].items()],
            ["modality by term of the likes", *terms],
        )
    )
    clear = all(
        max(row, key=lambda term: abs(row[term])) == OWN_TERM[modality] for modality, row in result["matrix"].items()
    )
    print(f"each modality recovers its own term best: {'yes' if clear else 'NO'}")
    print(f"fused, of the best possible: {result['fused_of_best']:.3f} (at least 0.85)")


if __name__ == "__main__":
    main()
