"""What the report costs as a dataset grows: processor seconds and bytes, without film.

    python -m benchmarks.report [--clips 64 256 1024 5000]

Datasets of benchmarks.made_clips, of the `full` profile's widths (350 kB a clip), and a run of random weights on each,
with folds whose scores are made up: real files all, in which nothing was learned. One process, one thread.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
import torch

from benchmarks.common import save, table
from benchmarks.made_clips import DATASET, make_dataset
from models.virality.config import VdvConfig
from models.virality.vdv import Vdv
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.loading import input_specs
from pipeline.evaluation.evaluate import evaluate_run
from pipeline.evaluation.other_fusions import looks_left_out, only
from pipeline.evaluation.predictors import FUSION
from pipeline.evaluation.protocol import clip_groups
from pipeline.files.tensors import write_tensors
from pipeline.report.page_file import make_page
from pipeline.report.render import FILMS, Sources, build
from pipeline.report.run_contents import read_run_contents
from pipeline.runs.run import FOLDS, FOLDS_ABOUT, HELD_OUT, INTERVAL_LEVEL, MODEL, RUN, RUN_SCHEMA, Run
from pipeline.scoring.embeddings import read_embeddings
from pipeline.scoring.scores import score_clips

RUN_DIR = f"runs/{'0' * 16}"
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[64, 256, 1024, 5000])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measured(count) for count in options.clips]
    print(table([list(row.values()) for row in rows], list(rows[0])))
    save("report", {"rows": rows})


def measured(clips: int) -> dict:
    """Seconds of the processor, megabytes."""
    with tempfile.TemporaryDirectory() as temporary:
        workspace = make_dataset(Path(temporary), clips)
        make_run(workspace, DATASET, RUN_DIR)
        start = process_time()
        read_embeddings(DatasetFolder(workspace, DATASET), Run(workspace, RUN_DIR), CPU)
        embedded = process_time()
        contents = read_run_contents(DatasetFolder(workspace, DATASET), Run(workspace, RUN_DIR))
        payload, media = build(
            DatasetFolder(workspace, DATASET), Run(workspace, RUN_DIR), contents, CPU, "blur", FILMS, Sources()
        )
        built = process_time()
        page = make_page(payload, media)
        ended = process_time()
    return {
        "clips": clips,
        "embeddings s": embedded - start,
        "data s": built - embedded,
        "page s": ended - built,
        "payload MB": megabytes(payload),
        "media MB": sum(megabytes(block) for block in media),
        "file MB": len(page.encode()) / 1e6,
    }


def megabytes(value: dict) -> float:
    return len(json.dumps(value, separators=(",", ":"))) / 1e6


def make_run(workspace: str, dataset_dir: str, run_dir: str, folds: int = 3, **options: object) -> None:
    """A run of random weights on a dataset, with scores, metrics and, unless 0, folds that were made up.

    A fold's score is the label's percentile with as much noise. options: of VdvConfig.
    """
    statistics = DatasetFolder(workspace, dataset_dir).read_statistics()
    clips = DatasetFolder(workspace, dataset_dir).read_clips()
    config = VdvConfig.from_dict({"modalities": tuple(statistics["modalities"]), **options})
    specs = input_specs(statistics, config)
    torch.manual_seed(config.seed)
    model = Vdv(config, specs)
    for name in specs:  # parts that are not fitted are 0
        part = model.part(name)
        part.set(
            network_coefficients=torch.ones_like(part.network_coefficients),
            coefficients=0.1 * torch.randn(len(part.coefficients)),
        )
    run_folder = Run(workspace, run_dir)
    write_tensors(run_folder.file(MODEL), model.state_dict())
    judged = made_up_judgement(clips, list(specs), folds)
    held = ["clip_id", "challenge", "group", "percentile", "score"]
    run_folder.write_table(HELD_OUT, judged[held])
    run = {
        "schema": RUN_SCHEMA, "dataset": dataset_dir.rsplit("/", 1)[-1], "config": asdict(config),
        "features": {name: asdict(spec) for name, spec in specs.items()},
        "data": {"challenges": sorted(clips["challenge"].unique())}, "seed": config.seed,
        "trained_on": int((clips["split"] == "train").sum()), "label": statistics["label"],
        "interval_level": INTERVAL_LEVEL,
        "profiles": statistics["profiles"], "untrained": statistics["untrained"],
        "finished_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    run_folder.write_json(RUN, run)
    if folds:
        about = {"protocol": "kfold", "asked": folds, "folds": folds, "clips": len(judged)}
        if not len(judged):
            about |= {"folds": 0, "reason": "there is no labelled clip"}
        else:
            run_folder.write_table(FOLDS, judged)
        run_folder.write_json(FOLDS_ABOUT, about)
    score_clips(DatasetFolder(workspace, dataset_dir), run_folder, CPU)
    evaluate_run(DatasetFolder(workspace, dataset_dir), run_folder)


def made_up_judgement(clips: pd.DataFrame, modalities: list[str], folds: int) -> pd.DataFrame:
    """As cross_validate gives it, without baselines; of other fusions with those without modalities that show looks."""
    rng = np.random.default_rng(0)
    labelled = clips[clips["label"].notna()]
    judged = labelled[["clip_id", "challenge", "label", "percentile"]].reset_index(drop=True)
    judged.insert(2, "group", clip_groups(clips)[labelled.index])
    judged.insert(3, "fold", judged["group"] % max(folds, 1))
    for name in ("score", *(f"score_{modality}" for modality in modalities)):
        judged[name] = judged["percentile"] + rng.normal(0, 0.3, len(judged))
    for kept in looks_left_out(modalities).values():
        judged[f"{FUSION}{only(kept)}"] = judged["score"] + rng.normal(0, 0.1, len(judged))
    judged["abstained"] = False
    for modality in modalities:
        judged[f"attention_{modality}"] = 1 / len(modalities)
    return judged


if __name__ == "__main__":
    main()
