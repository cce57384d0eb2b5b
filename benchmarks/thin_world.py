"""Simulated worlds of thousands of clips without whole films: a few pictures a clip, skeletons from the truth.

    python -m benchmarks.thin_world --folder F --clips 1024 --seed 1000 --measured WORLD --measured-workspace WORKSPACE
    python -m benchmarks.thin_world --folder F2 --clips 1024 --world benchmarks/worlds/unequal.toml --pictures-of F ...

The world is the one that `RenderWorld` would render from the same options: the same dancers, places, phones, likes. But

* of each clip PICTURES frames are drawn, spread evenly from the first to the last, and encoded as the clip's phone
  does; face, appearance and scene are extracted of all of them, by the product, where a whole film gives 20, 40, 8;
* the skeletons are the truth's, at all moments of the sampling grid, with errors that the pose network makes on an
  extracted world (benchmarks.pose_errors), linked and given a lead by the product;
* the sound is whole, and extracted of the film by the product;
* near-duplicates are not looked for: sketches so rare cannot be compared. The worlds have none.

Ingest, shards and dataset are the product's, so whatever reads a workspace reads this one. A world that differs from
another in its likes alone (unequal.toml) shares that one's pictures and features: `--pictures-of`. An interrupted run
is resumed.
"""

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.pose_errors import PROFILE, PoseErrors, error_table, measure_errors
from benchmarks.world import ExtractedWorld, newest_dataset
from models.weights.profiles import Profile
from pipeline.core import storage
from pipeline.core.child_processes import called_in_processes
from pipeline.core.environment import decoder_versions
from pipeline.core.fingerprint import fingerprint
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import STATISTICS, BatchFiles, DatasetFolder
from pipeline.dataset.labels import LabelOptions
from pipeline.decode.clips import Ending
from pipeline.decode.sampling import sample
from pipeline.extraction.extract import extract_shards
from pipeline.features.endings import read_endings
from pipeline.features.plan import (
    FeatureSpec,
    ShardPlan,
    endings_folder,
    feature_spec,
    features_folder,
    plan_shards,
    shard_path,
)
from pipeline.features.reader import ShardReader
from pipeline.features.shards import ShardWriter, provenance
from pipeline.ingest.clip_table import newest_file, read_ingest
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import Batch, read_manifests
from pipeline.modalities.record import Decoded, Grid, ModalityRows
from pipeline.modalities.registry import (
    build_extractor,
    extracted_names,
    find_extracted,
    load_profile,
    modality_identity,
)
from simulation.filming.film import film, frame_times, label_frames
from simulation.filming.recording import record
from simulation.music.clip_sound import clip_sound
from simulation.render import OPTIONS, manifest_path, read_options, write_manifest, write_options
from simulation.script import ClipScript
from simulation.truth import PEOPLE, clips_table, people_path, read_people, write_clips, write_people
from simulation.world import Upload, WorldOptions, make_world

# A clip. By the means of 6 frames a ridge tells expression and look as by those of all (Spearman .981
# and .983, by all .983 and .983; 192 extracted clips of seed 1000).
PICTURES = 6
THIN_VERSION = 1  # raised when the same options give other features
POSE = "pose"
SEEN = tuple(name for name in extracted_names() if name != POSE)  # extracted from thin films

ONE_THREAD = partial(torch.set_num_threads, 1)
Progress = Callable[[str, int, int], None]  # stage, done, of


def thin_world(
    folder: Path,
    workspace: str,
    errors: PoseErrors,
    processes: int = 2,
    pictures_of: Path | None = None,
    progress: Progress = lambda *_: None,
) -> ExtractedWorld:
    """The world of a folder's world.toml with features and dataset, made as far as they are missing.

    Args:
        errors: of the pose network on an extracted world.
        processes: that draw and extract.
        pictures_of: folder of a thin world in the same workspace that differs in the likes alone and lends its pictures
            and features.
    """
    start = time.perf_counter()
    options = read_options(folder)
    uploads = make_world(options)
    source = pictures_of or folder
    if pictures_of and replace(read_options(pictures_of), likes=options.likes) != options:
        raise SystemExit(f"{pictures_of} and {folder} differ in more than the likes")
    if options.hidden and not any(one.close_up for one in errors.people):
        raise SystemExit(
            "the world has close-ups, and there are none to take errors from: measure them on such a world"
        )
    write_labels(folder, uploads)
    seen = extracted_pictures(source, workspace, processes, progress)
    drawn = time.perf_counter()
    specs = write_features(source, seen, uploads, errors, progress)
    (batch,) = read_manifests(str(manifest_path(folder)))
    files = BatchFiles(batch, seen.table(), seen.endings(), {spec.modality: seen.features(spec) for spec in specs})
    made_of = [batch.content_hash, read_ingest(seen.table()).content, *(spec.fingerprint for spec in specs)]
    dataset = DatasetFolder.of(workspace, fingerprint({"thin": made_of}))
    if not dataset.has(STATISTICS):
        assemble(dataset, [files], LabelOptions("adjusted"))
    seconds = {"pictures": drawn - start, "features": time.perf_counter() - drawn}
    return ExtractedWorld(folder, workspace, dataset.place, seconds)


def write_labels(folder: Path, uploads: Sequence[Upload]) -> None:
    """Write the manifest and the truth of the likes, which need no picture; those of before are replaced."""
    manifest_path(folder).unlink(missing_ok=True)
    write_manifest(folder, tuple(uploads))
    write_clips(folder, uploads)


@dataclass(frozen=True)
class Seen:
    """What is extracted of a world's pictures."""

    workspace: str
    profile: Profile
    sampling: SamplingOptions
    specs: tuple[FeatureSpec, ...]
    batch: Batch

    @classmethod
    def of(cls, folder: Path, workspace: str) -> "Seen":
        profile = load_profile(PROFILE)
        sampling = SamplingOptions(**profile.sampling)
        specs = tuple(feature_spec(name, sampling, 1, modality_identity(name, profile)) for name in SEEN)
        (batch,) = read_manifests(str(manifest_path(folder)))
        return cls(workspace, profile, sampling, specs, batch)

    def table(self) -> str:
        """Path of the clips' table."""
        newest = newest_file(self.workspace, self.batch.name)
        assert newest is not None
        return newest.path

    def plans(self) -> list[ShardPlan]:
        """Shards that are not extracted."""
        ingest = read_ingest(self.table())
        return list(plan_shards(self.workspace, self.batch.name, ingest, self.specs, self.sampling).shards)

    def extract(self, plan: ShardPlan) -> None:
        """Extract a shard in this process."""
        device = torch.device("cpu")
        extract_shards(
            self.workspace, self.batch.name, [plan], lambda name: build_extractor(name, self.profile, device),
            self.sampling, DecodeLimits(), workers=1, device=device, profile=PROFILE,
        )  # fmt: skip

    def endings(self) -> str:
        """Folder of the clips' endings."""
        return endings_folder(self.workspace, self.batch.name, self.sampling)

    def features(self, spec: FeatureSpec) -> str:
        """Folder of a modality's shards."""
        return features_folder(self.workspace, self.batch.name, spec)


def extracted_pictures(folder: Path, workspace: str, processes: int, progress: Progress) -> Seen:
    """Draw the pictures that are missing and extract what is to be seen in them."""
    uploads = make_world(read_options(folder))
    if not manifest_path(folder).exists():
        write_labels(folder, uploads)
    for name in ("clips", PEOPLE):
        (folder / name).mkdir(parents=True, exist_ok=True)
    films, people = (storage.listing(str(folder / name), recursive=False) for name in ("clips", PEOPLE))
    missing = [
        upload
        for upload in uploads
        if Path(upload.uri).name not in films or people_path(folder, upload.script.clip_id).name not in people
    ]
    calls = [(folder, upload) for upload in missing]
    for done, _ in enumerate(called_in_processes(processes, render_thinly, calls), 1):
        progress("drawn", len(uploads) - len(missing) + done, len(uploads))
    seen = Seen.of(folder, workspace)
    run_ingest(workspace, seen.batch, processes, DecodeLimits())
    plans = seen.plans()
    extractions = [(seen, plan) for plan in plans]
    for done, _ in enumerate(called_in_processes(processes, Seen.extract, extractions, ONE_THREAD), 1):
        progress("extracted", done, len(plans))
    return seen


def film_grid(script: ClipScript, sampling: SamplingOptions) -> Grid:
    """The frames that the sampling takes of the clip's whole film."""
    times = frame_times(script)
    taken = list(sample(((second, None) for second in times), sampling, lambda _: 1 / script.phone.fps))
    return Grid(
        np.array([frame.frame_index for frame in taken], np.int32),
        np.array([frame.timestamp for frame in taken], np.float32),
    )


def chosen(frames: int) -> np.ndarray:
    """Positions of the drawn frames among those sampled, int64: the first, the last, and evenly in between."""
    return np.unique(np.linspace(0, frames - 1, PICTURES).round().astype(np.int64))


def render_thinly(folder: Path, upload: Upload) -> None:
    """Write a film of a clip's drawn frames, at their times, and the labels of all sampled ones."""
    import cv2

    cv2.setNumThreads(1)  # clips are drawn side by side
    grid = film_grid(upload.script, SamplingOptions(**load_profile(PROFILE).sampling))
    seconds = frame_times(upload.script)[grid.frame_index]
    shown = seconds[chosen(len(seconds))]
    pictures = (picture for picture, _ in film(upload.script, shown))
    record(folder / upload.uri, pictures, shown, upload.script.phone, clip_sound(upload.script))
    labels = [] if upload.script.phone.damage else list(label_frames(upload.script, seconds))
    write_people(folder, upload, seconds[: len(labels)], labels)


def write_features(
    folder: Path, seen: Seen, uploads: Sequence[Upload], errors: PoseErrors, progress: Progress
) -> list[FeatureSpec]:
    """Write shards of what was seen, its frames numbered as in whole films, and of skeletons; return their specs."""
    specs = [_thin_spec(name, seen, errors) for name in extracted_names()]
    raw = {spec.modality: seen.features(spec) for spec in seen.specs}
    clips = _Clips(folder, uploads, seen.sampling)
    shards = read_ingest(seen.table()).shards
    for done, (shard, members) in enumerate(shards.items(), 1):
        of_clip = {ending.clip_id: ending for ending in read_endings(shard_path(seen.endings(), shard))}
        endings = [of_clip[clip_id] for clip_id, _ in members]
        for spec in specs:
            path = shard_path(seen.features(spec), shard)
            if storage.exists(path):
                continue
            weights = {key: value for key, value in spec.identity["extractor"].items() if key.endswith("weights")}
            metadata = provenance(profile=PROFILE, weights=weights, decoder=decoder_versions(), options=spec.identity)
            with ShardWriter(path, spec.modality, [ending.clip_id for ending in endings], metadata) as writer:
                used = [ending for ending in endings if ending.status != "failed"]
                if spec.modality == POSE:
                    for ending in used:
                        writer.add(clips.skeletons(ending, errors))
                else:
                    clips.copy(shard_path(raw[spec.modality], shard), used, writer)
                for ending in endings:
                    if ending.status == "failed":
                        writer.skip(ending.clip_id, ending.code)
        progress("written", done, len(shards))
    return specs


def _thin_spec(name: str, seen: Seen, errors: PoseErrors) -> FeatureSpec:
    about = {"thin": THIN_VERSION, "pictures": PICTURES} | ({"errors": errors.identity} if name == POSE else {})
    return feature_spec(name, seen.sampling, 1, {**modality_identity(name, seen.profile), **about})


class _Clips:
    """Rows of a thin world's clips."""

    def __init__(self, folder: Path, uploads: Sequence[Upload], sampling: SamplingOptions):
        self._folder, self._sampling = folder, sampling
        self._scripts = {upload.script.clip_id: upload.script for upload in uploads}
        self._table = clips_table(uploads).set_index("clip_id", drop=False)

    def copy(self, path: str, endings: Sequence[Ending], writer: ShardWriter) -> None:
        """Write a shard that was extracted of thin films, frames numbered as in the whole films; sound is whole."""
        reader = ShardReader(path)
        of_frames = find_extracted(reader.modality).reads == "frames"
        for ending in endings:
            if ending.clip_id in reader.skipped:  # no sound
                writer.skip(ending.clip_id, reader.skipped[ending.clip_id])
                continue
            rows = reader.read(ending.clip_id)
            if of_frames:
                whole = film_grid(self._scripts[ending.clip_id], self._sampling).frame_index
                frame_index = whole[chosen(len(whole))][rows.grid.frame_index]
                rows = replace(rows, grid=Grid(frame_index, rows.grid.timestamp))
            writer.add(rows)
        reader.close()

    def skeletons(self, ending: Ending, errors: PoseErrors) -> ModalityRows:
        """The truth's skeletons with errors, linked, one of them the lead."""
        grid = film_grid(self._scripts[ending.clip_id], self._sampling)
        clip = self._table.loc[ending.clip_id].to_dict()
        people = errors.detect(clip, read_people(self._folder, ending.clip_id))
        frame = np.arange(len(people), dtype=np.int32)
        return find_extracted(POSE).assemble(Decoded(ending), grid, frame, people)


def add_options(folder: Path, clips: int, seed: int, world: Path | None) -> None:
    """Write the folder's world.toml where there is none: that of `world` or the default, with so many clips.

    There are three creators to eight clips, as in every world of RenderWorld.
    """
    if (folder / OPTIONS).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if world:
        shutil.copy(world, folder / OPTIONS)
    options = read_options(folder) if world else WorldOptions()
    write_options(folder, replace(options, seed=seed, clips=clips, creators=max(1, clips * 3 // 8)))


def print_progress(stage: str, done: int, of: int) -> None:
    if done % 16 == 0 or done == of or stage != "drawn":
        print(f"{stage}: {done} of {of}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the world lies or will lie")
    parser.add_argument("--workspace", default="", help="default: FOLDER-workspace")
    parser.add_argument("--clips", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--world", type=Path, help="a world.toml; --seed and --clips take the place of its own")
    parser.add_argument("--pictures-of", type=Path, help="a thin world in the same workspace, other in its likes")
    parser.add_argument("--measured", type=Path, help="an extracted world (benchmarks.world); none: pictures only")
    parser.add_argument("--measured-workspace", help="default: MEASURED-workspace")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    folder, workspace = options.folder, options.workspace or f"{options.pictures_of or options.folder}-workspace"
    add_options(folder, options.clips, options.seed, options.world)
    if not options.measured:
        extracted_pictures(options.pictures_of or folder, workspace, options.processes, print_progress)
        return
    measured_workspace = options.measured_workspace or f"{options.measured}-workspace"
    errors = measure_errors(options.measured, measured_workspace, newest_dataset(measured_workspace))
    print(error_table(errors.people).round(3).to_string(index=False))
    world = thin_world(folder, workspace, errors, options.processes, options.pictures_of, print_progress)
    print(f"dataset: {world.workspace}/{world.dataset}; seconds: {world.seconds}")


if __name__ == "__main__":
    main()
