"""What the score gains from the music: the model with sound and synchrony against itself without them, on equal folds.

    python -m benchmarks.music_gain --folder FOLDER --measured WORLD --measured-workspace WORKSPACE --workers 2

Thin worlds (benchmarks.thin_world), sound whole and skeletons with the pose network's errors, are made where they are
missing and judged: the default one with its own likes, none of which comes from the music, and with those of
benchmarks/worlds/music.toml, which count whether a dance is in time with its music. Folds by creator; a modality that
is left out is left out of the training, too. Trainings are kept beside the workspace: an interrupted benchmark goes on.
"""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.common import save
from benchmarks.pose_errors import measure_errors
from benchmarks.thin_world import add_options, print_progress, thin_world
from benchmarks.world import ExtractedWorld, checkpoint_folder, newest_dataset
from models.device import resolve_device
from models.virality.config import VdvConfig
from pipeline.dataset.folder import DatasetFolder
from pipeline.evaluation import ablations
from pipeline.evaluation.cross_validation import cross_validate
from simulation.render import read_options

MUSIC = Path(__file__).parent / "worlds" / "music.toml"
LEFT_OUT = {
    "no_synchrony": ("synchrony",),
    "no_audio": ("audio", "synchrony"),  # without sound there is no synchrony either
    "no_sound_alone": ("audio",),  # synchrony stays, what is heard beside the beat does not
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the worlds lie or will lie")
    parser.add_argument("--clips", type=int, default=512, help="of each world")
    parser.add_argument("--world-seed", type=int, default=1000)
    parser.add_argument("--measured", type=Path, required=True, help="an extracted world, for the pose's errors")
    parser.add_argument("--measured-workspace", required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1, help="trainings, of the same folds")
    parser.add_argument("--epochs", type=int, default=None, help="of the networks, which take the time")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side")
    options = parser.parse_args()
    errors = measure_errors(options.measured, options.measured_workspace, newest_dataset(options.measured_workspace))
    folder, workspace = options.folder / "default", str(options.folder / "workspace")
    results: dict = {"folds": options.folds, "seeds": options.seeds, "epochs": options.epochs}
    for name, world in (("default", None), ("music", MUSIC)):
        add_options(options.folder / name, options.clips, options.world_seed, world)
        made = thin_world(
            options.folder / name, workspace, errors, options.workers, folder if world else None, print_progress
        )
        print(f"\nthe likes of the world {name}", flush=True)
        results[f"world {name}"] = asdict(read_options(options.folder / name))
        results[name] = compare(made, options)
    save("music-gain", results)


def compare(world: ExtractedWorld, options: argparse.Namespace) -> list[dict]:
    """Rows of ablations.ablation_table of the primary metric; prints the table."""
    dataset = DatasetFolder(world.workspace, world.dataset)
    config = VdvConfig(epochs=options.epochs)
    kept = {name: tuple(m for m in config.modalities if m not in out) for name, out in LEFT_OUT.items()}
    configs = {ablations.DEFAULT: config} | {name: replace(config, modalities=left) for name, left in kept.items()}
    trainings = {}
    for name, config in configs.items():

        def step(done: int, of: int, name: str = name) -> None:
            print(f"{name}: fold {done} of {of}", flush=True)

        trainings[name] = [
            cross_validate(
                dataset, replace(config, seed=seed), resolve_device(options.device), options.folds, options.workers,
                step, checkpoints=checkpoint_folder(world.workspace), split_seed=0,
            )
            for seed in range(options.seeds)
        ]  # fmt: skip
    chosen = [
        ablations.Variant(name, f"without {' and '.join(LEFT_OUT[name])}", configs[name], ()) for name in LEFT_OUT
    ]
    table = ablations.ablation_table(chosen, trainings)
    print(ablations.as_text(table).markdown())
    return table.astype(object).where(table.notna(), None).to_dict("records")


if __name__ == "__main__":
    main()
