"""How much of the likes can be seen where clips hide a modality: ceilings of benchmarks.models' world `hidden`.

    python -m benchmarks.hidden_ceiling            # seconds: nothing is rendered

Spearman with the adjusted likes, within a challenge, of two predictors that know the world's truth: all that a clip is
(the ceiling that benchmarks.models prints), and all but the terms that the clip hides, of which it expects the mean of
its challenge. What a hidden modality still shows, as a close-up shows arms, is not counted.
"""

import argparse
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common import save, table
from benchmarks.world_checks import HIDES
from pipeline.core.storage import temporary_folder
from simulation.ceiling import adjusted_label, mean_spearman
from simulation.render import manifest_path, write_manifest
from simulation.truth import clips_table
from simulation.world import WorldOptions, make_world

WORLD = Path(__file__).with_name("worlds") / "hidden.toml"


def seen_content(truth: pd.DataFrame) -> pd.Series:
    """The terms of the likes that each clip shows, those that it hides replaced by their challenge's mean.

    truth: from simulation.truth.clips_table.
    """
    seen = truth["content"].copy()
    for effect, (_, term) in HIDES.items():
        likes = truth[f"likes_{term}"]
        hidden = truth["hidden"].str.split().map(lambda effects, effect=effect: effect in effects)
        seen -= np.where(hidden, likes - truth.groupby("challenge")[f"likes_{term}"].transform("mean"), 0.0)
    return seen


def measure(options: WorldOptions) -> dict[str, float]:
    """Both ceilings of one world."""
    uploads = make_world(options)
    with temporary_folder() as folder:
        write_manifest(folder, uploads)
        manifest = pd.read_csv(manifest_path(folder))
    clips = clips_table(uploads).merge(manifest[["clip_id", "likes", "followers", "uploaded_at"]], on="clip_id")
    label = adjusted_label(clips)
    ceilings = {"all": clips["content"], "seen": seen_content(clips)}
    return {name: round(mean_spearman(known, label, clips["challenge"]), 4) for name, known in ceilings.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1000, 1001, 1002, 1003, 1004])
    options = parser.parse_args()
    world = WorldOptions(**tomllib.loads(WORLD.read_text(encoding="utf-8")))
    results = [{"seed": seed, **measure(replace(world, seed=seed))} for seed in options.seeds]
    print(table([list(row.values()) for row in results], ["seed", "who knows all", "who knows what is seen"]))
    save("hidden-ceiling", {"worlds": results})


if __name__ == "__main__":
    main()
