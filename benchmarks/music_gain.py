"""What the score gains from the music: the model with sound and synchrony against itself without them, on equal folds.

    python -m benchmarks.music_gain --folder FOLDER --workers 2

Renders and extracts the default world of 256 clips where it is missing, and judges it twice: with its own likes, none
of which comes from the music, and with those of benchmarks/worlds/music.toml, which count whether a dance is in time
with its music. Five folds by creator; a modality that is left out is left out of the training, too. Trainings are kept
beside the workspace: an interrupted benchmark goes on.
"""

import argparse
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.common import save
from benchmarks.world import add_world_options, checkpoint_folder, extracted_world
from models.device import resolve_device
from models.virality.config import VdvConfig
from pipeline.core.errors import DataError
from pipeline.dataset.folder import DatasetFolder
from pipeline.evaluation import ablations
from pipeline.evaluation.cross_validation import cross_validate
from simulation.render import read_options, write_manifest
from simulation.world import LikesOptions, Upload, make_world

MUSIC = Path(__file__).parent / "worlds" / "music.toml"
LEFT_OUT = {
    "no_synchrony": ("synchrony",),
    "no_audio": ("audio", "synchrony"),  # without sound there is no synchrony either
    "no_sound_alone": ("audio",),  # synchrony stays, what is heard beside the beat does not
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_world_options(parser)
    parser.add_argument("--seeds", type=int, default=2, help="trainings, of the same folds")
    options = parser.parse_args()
    results: dict = {"folds": options.folds, "seeds": options.seeds}
    own = extracted_world(options).folder
    world = read_options(own)
    results["world"] = asdict(world)
    music = LikesOptions(**tomllib.loads(MUSIC.read_text())["likes"])
    for name, likes in (("music", music), ("default", world.likes)):  # the world's own come last, and stay
        uploads = make_world(replace(world, likes=likes))
        manifest = own / f"{own.resolve().name}.csv"
        manifest.unlink()
        write_manifest(own, uploads)
        workspace = extracted_world(options).workspace
        print(f"\nthe likes of the world {name}", flush=True)
        results[name] = compare(DatasetFolder(workspace, dataset_of(workspace, uploads)), options)
    save("music-gain", results)


def dataset_of(workspace: str, uploads: Sequence[Upload]) -> str:
    """The dataset whose clips have these likes, relative to the workspace.

    Raises:
        DataError: there is none.
    """
    likes = {upload.script.clip_id: upload.likes for upload in uploads}
    for statistics in sorted(Path(workspace).glob("datasets/*/statistics.json")):
        dataset = f"datasets/{statistics.parent.name}"
        clips = DatasetFolder(workspace, dataset).read_clips()
        if dict(zip(clips["clip_id"], clips["likes"], strict=True)) == likes:
            return dataset
    raise DataError(f"{workspace} has no dataset with the likes of the manifest")


def compare(dataset: DatasetFolder, options: argparse.Namespace) -> list[dict]:
    """Rows of ablations.ablation_table of the primary metric; prints the table."""
    workspace = options.workspace or f"{options.folder}-workspace"
    modalities = VdvConfig().modalities
    kept = {name: tuple(m for m in modalities if m not in out) for name, out in LEFT_OUT.items()}
    configs = {ablations.DEFAULT: VdvConfig()} | {name: VdvConfig(modalities=left) for name, left in kept.items()}
    trainings = {}
    for name, config in configs.items():

        def step(done: int, of: int, name: str = name) -> None:
            print(f"{name}: fold {done} of {of}", flush=True)

        trainings[name] = [
            cross_validate(
                dataset, replace(config, seed=seed), resolve_device(options.device), options.folds, options.workers,
                step, checkpoints=checkpoint_folder(workspace), split_seed=0,
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
