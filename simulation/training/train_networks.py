"""Train the five networks of the profile `demo` on made worlds and write them, with their card, to be bundled.

    python -m simulation.training.train_networks                     # all five: an hour or two on two cores
    python -m simulation.training.train_networks --only pose --again --seconds 3600
    python -m simulation.training.train_networks --device cuda --workers 8      # minutes

Frames are rendered once, into `--cache`, and music is synthesised anew; a finished network is trained again only with
`--again`. A network is written several times while it is trained, so that a long training is of use before it ends.
"""

import argparse
import dataclasses
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import cv2
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from models.device import resolve_device
from models.extractors.appearance import OUTFIT_ATTRIBUTES, count_classes
from models.extractors.audio.networks import HOP, SAMPLE_HZ
from models.extractors.face_search.cascade import DetectorOptions
from models.extractors.resnet import Preprocessing, new_trunk
from models.weights.catalogue import BUNDLED_FOLDER
from models.weights.profiles import Profile
from pipeline.modalities.registry import build_extractor, extracted_names, load_profile
from simulation.script import SCENES
from simulation.training import audio_training, face_training, picture_training, pose_training
from simulation.training.fitting import Budget, RandomSamples, fit
from simulation.training.training_frames import FrameSet, frame_set, render_frame_set

# No other world may have one of these seeds.
TRAINING_SEEDS = range(1_000_000, 1_000_100)
HELD_OUT_SEEDS = range(2_000_000, 2_000_004)
_CLIPS, _FRAMES_A_CLIP = 12, 12  # of each world: many people and places
_BUDGETS = {
    "pose": Budget(steps=7_000, batch=16, learning_rate=2e-3),
    "scene": Budget(steps=2_500, batch=32, learning_rate=2e-3),
    "appearance": Budget(steps=4_000, batch=32, learning_rate=2e-3),
    "face": Budget(steps=2_500, batch=32, learning_rate=2e-3),
    "audio": Budget(steps=900, batch=16, learning_rate=3e-3),
}
_SAVES = 4  # on the way
_FACE_FRAMES = 4_000  # of the training set, each with a face or two
_SOUNDS, _SOUNDS_JUDGED = 1_000, 200


@dataclass(frozen=True)
class TrainingSetup:
    """Data, device and folders of every network's training."""

    frames: FrameSet
    held_out: FrameSet
    profile: Profile
    device: torch.device
    output: Path
    workers: int  # processes that load pictures; 0: the training's own
    processes: int  # that render and detect faces
    sounds: int = _SOUNDS  # to train on
    sounds_judged: int = _SOUNDS_JUDGED


@dataclass(frozen=True)
class TrainedNetwork:
    """A network to bundle, and its score for the card."""

    state: dict[str, Tensor]
    score: str
    trained_on: str = ""  # "": the setup's frames


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    options = _options(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
        cv2.setNumThreads(options.threads)
    chosen = [name for name in extracted_names() if name in options.only]
    unfinished = [name for name in chosen if options.again or not is_finished(options.output / f"{name}.safetensors")]
    for name in chosen:
        if name not in unfinished:
            print(f"{name}: finished before; --again trains it anew")
    if unfinished:
        pictures = unfinished != ["audio"]
        render = partial(
            render_frame_set, options.cache, clips=_CLIPS, frames_a_clip=_FRAMES_A_CLIP, processes=options.processes
        )
        setup = TrainingSetup(
            frames=render(seeds=TRAINING_SEEDS[: options.worlds]) if pictures else frame_set((), 0),
            held_out=render(seeds=HELD_OUT_SEEDS) if pictures else frame_set((), 0),
            profile=load_profile("demo"),
            device=resolve_device(options.device),
            output=options.output,
            workers=options.workers,
            processes=options.processes,
        )
        for name in unfinished:
            train(name, setup, _budget(name, options))
    write_card(options.output)
    print(f"card: {options.output / 'README.md'}")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=list(extracted_names()), help="pose,scene,..."
    )
    parser.add_argument("--again", action="store_true", help="train what is finished, too")
    parser.add_argument("--steps", type=int, help="of each network; default: its own number")
    parser.add_argument("--seconds", type=float, help="that each network may take at most; default: no bound")
    parser.add_argument(
        "--worlds", type=int, default=100, help=f"to train on, 1..{len(TRAINING_SEEDS)}; 144 frames each"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as many as it likes")
    parser.add_argument("--workers", type=int, default=0, help="processes that load pictures for the training")
    parser.add_argument("--processes", type=int, default=2, help="that render worlds and find faces")
    parser.add_argument("--cache", type=Path, default=Path("workspace/demo-weights"), help="folder of rendered frames")
    parser.add_argument("--output", type=Path, default=BUNDLED_FOLDER)
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.only) - set(extracted_names())):
        parser.error(f"--only {','.join(unknown)}: the networks are {', '.join(extracted_names())}")
    if not 1 <= options.worlds <= len(TRAINING_SEEDS):
        parser.error(f"--worlds {options.worlds}: give 1 to {len(TRAINING_SEEDS)}")
    return options


def _budget(name: str, options: argparse.Namespace) -> Budget:
    budget = _BUDGETS[name]
    return dataclasses.replace(budget, steps=options.steps or budget.steps, seconds=options.seconds)


def train(name: str, setup: TrainingSetup, budget: Budget) -> None:
    """Train, evaluate and write one of extracted_names()."""
    start = time.monotonic()
    trained = _TRAINERS[name](setup, budget)
    minutes = f"{(time.monotonic() - start) / 60:.0f} minutes on {_machine(setup.device)}"
    worlds = len(setup.frames) // (_CLIPS * _FRAMES_A_CLIP)
    notes = {
        "score": trained.score,
        "trained on": trained.trained_on or f"{len(setup.frames)} frames of {worlds} worlds of {_CLIPS} clips",
        "took": minutes,
        "finished": "yes",
    }
    path = _path(name, setup)
    write_weights(path, trained.state, notes)
    print(f"{name}: {trained.score}; {minutes}; {path.stat().st_size / 1e6:.1f} MB")


def _train_pose(setup: TrainingSetup, budget: Budget) -> TrainedNetwork:
    config = setup.profile.entry("pose").architecture
    target = pose_training.PoseTarget(config)
    samples = pose_training.PoseSamples(setup.frames, target.input_size, seed=0)
    loss = partial(pose_training.pose_loss, target=target, device=setup.device)
    state = state_to_bundle(_fit("pose", pose_training.new_network(config, seed=0), loss, samples, setup, budget))
    score = pose_training.evaluate_pose(_extractor("pose", setup, state), setup.held_out)
    return TrainedNetwork(state, f"{score} on {len(setup.held_out)} frames")


def _train_scene(setup: TrainingSetup, budget: Budget) -> TrainedNetwork:
    entry = setup.profile.entry("scene")
    preprocessing = Preprocessing((entry.resize, entry.resize), entry.input_size)
    pictures = picture_training.scene_pictures(setup.frames, preprocessing, seed=0)
    loss = partial(picture_training.scene_loss, device=setup.device)
    network = new_trunk(entry.architecture, len(SCENES), seed=0)
    state = state_to_bundle(_fit("scene", network, loss, pictures, setup, budget))
    accuracy = picture_training.evaluate_scene(_extractor("scene", setup, state), setup.held_out)
    return TrainedNetwork(state, f"accuracy {accuracy:.3f} on {len(setup.held_out)} frames")


def _train_appearance(setup: TrainingSetup, budget: Budget) -> TrainedNetwork:
    entry = setup.profile.entry("appearance")
    preprocessing = Preprocessing(entry.resize, entry.input_size)
    pictures = picture_training.appearance_pictures(setup.frames, preprocessing, seed=0)
    attributes = picture_training.outfit_targets(pictures.targets)[:, : len(OUTFIT_ATTRIBUTES)]
    mean, deviation = attributes.mean(0), attributes.std(0)
    loss = partial(
        picture_training.appearance_loss,
        device=setup.device,
        mean=torch.from_numpy(mean).to(setup.device),
        deviation=torch.from_numpy(deviation).to(setup.device),
    )
    network = new_trunk(entry.architecture, count_classes(entry.architecture), seed=0)
    state = state_to_bundle(_fit("appearance", network, loss, pictures, setup, budget))
    classifier = nn.Linear(state["fc.weight"].shape[1], state["fc.weight"].shape[0])
    classifier.load_state_dict({"weight": state["fc.weight"], "bias": state["fc.bias"]})
    extractor = _extractor("appearance", setup, state)
    score = picture_training.evaluate_appearance(extractor, classifier, setup.held_out, mean, deviation)
    return TrainedNetwork(state, f"{score}, on {len(setup.held_out)} frames")


def _train_face(setup: TrainingSetup, budget: Budget) -> TrainedNetwork:
    entry = setup.profile.entry("face")
    detector = DetectorOptions(entry.min_face_size, entry.thresholds)
    frames = setup.frames.thinned(_FACE_FRAMES)
    faces = face_training.detect_faces(frames, detector, None, setup.processes)
    pictures, people = face_training.face_pictures(frames, faces, seed=0)
    task = face_training.FaceTask(people, seed=0)
    loss = partial(face_training.face_loss, device=setup.device)
    averaged = _fit("face", task, loss, pictures, setup, budget, bundled=attrgetter("embedding"))
    assert isinstance(averaged, face_training.FaceTask)
    state = state_to_bundle(averaged.embedding)
    detected = face_training.detect_faces(setup.held_out, detector, state, setup.processes)
    score = face_training.evaluate_faces(setup.held_out, detected, averaged.smile.detach().cpu())
    return TrainedNetwork(state, f"{score}; {len(detected.person)} faces of {len(setup.held_out)} frames")


def _train_audio(setup: TrainingSetup, budget: Budget) -> TrainedNetwork:
    entry = setup.profile.entry("audio")
    training = audio_training.TRAINING_SOUNDS[: setup.sounds]
    sounds = audio_training.Sounds(training, round(entry.window_s * SAMPLE_HZ / HOP), seed=0)
    task = audio_training.SoundTask(entry.architecture, seed=0)
    loss = partial(audio_training.sound_loss, device=setup.device)
    averaged = _fit("audio", task, loss, sounds, setup, budget, bundled=attrgetter("embedding"))
    assert isinstance(averaged, audio_training.SoundTask)
    state = state_to_bundle(averaged.embedding)
    read, judged = (
        audio_training.HELD_OUT_SOUNDS[first : first + setup.sounds_judged] for first in (0, setup.sounds_judged)
    )
    score = audio_training.evaluate_sound(_extractor("audio", setup, state), read, judged)
    seconds = f"{audio_training.SECONDS:.0f} s of {len(training)} made sounds"
    return TrainedNetwork(state, f"{score}; of {len(judged)} sounds", seconds)


_TRAINERS: dict[str, Callable[[TrainingSetup, Budget], TrainedNetwork]] = {
    "pose": _train_pose,
    "scene": _train_scene,
    "appearance": _train_appearance,
    "face": _train_face,
    "audio": _train_audio,
}


def _fit(
    name: str,
    network: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    samples: RandomSamples,
    setup: TrainingSetup,
    budget: Budget,
    bundled: Callable[[nn.Module], nn.Module] = lambda network: network,
) -> nn.Module:
    """The averaged network after training; the `bundled` part of it is written several times on the way."""

    def save(averaged: nn.Module) -> None:
        write_weights(_path(name, setup), state_to_bundle(bundled(averaged)), {"finished": "no"})

    network = network.to(setup.device).to(memory_format=torch.channels_last)
    return fit(network, loss, samples.batches(budget.batch, setup.workers), budget, name, save, _SAVES)


def _path(name: str, setup: TrainingSetup) -> Path:
    return setup.output / f"{name}.safetensors"


def _extractor(name: str, setup: TrainingSetup, state: dict[str, Tensor]) -> Any:
    """The extractor of the profile `demo` with these weights, built as a run builds it."""
    path = _path(name, setup)
    write_weights(path, state, {"finished": "no"})
    return build_extractor(name, setup.profile.with_options(name, weights=str(path)), setup.device)


def state_to_bundle(network: nn.Module) -> dict[str, Tensor]:
    """State for a bundled file, on the CPU: kernels and matrices in float16, which halves the file, all else as it is.

    Normalisation keeps float32: a variance may be too small or too large for float16.
    """
    state = {name: value.detach().cpu() for name, value in network.state_dict().items() if ".loss_" not in name}
    return {name: (value.half() if value.ndim > 1 else value).contiguous().clone() for name, value in state.items()}


def write_weights(path: Path, state: dict[str, Tensor], notes: dict[str, str]) -> None:
    """Write a safetensors file with `notes` in its metadata; an old file is replaced whole or kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    safetensors.torch.save_file(state, unfinished, notes)
    unfinished.chmod(0o644)  # safetensors writes for the owner alone
    unfinished.replace(path)


def read_notes(path: Path) -> dict[str, str]:
    """Metadata of a weight file; empty where there is none."""
    if not path.exists():
        return {}
    with safetensors.safe_open(path, "pt") as file:
        return file.metadata() or {}


def is_finished(path: Path) -> bool:
    """Whether a weight file is the result of a finished training."""
    return read_notes(path).get("finished") == "yes"


def write_card(folder: Path) -> None:
    """Write README.md beside the weights: training data and score of each, from their metadata."""
    lines = [
        "# Bundled weights",
        "",
        "The networks of the profile `demo`, trained by this project from random weights on rendered dancers and "
        "synthesised music alone: no",
        "real person, no recording, no other data set and no other network had a part in them. They know the demo "
        "world and nothing",
        "else; real clips need `light` or `full`.",
        "Licence: Apache-2.0, as vdv. Written by `make demo-weights` (`simulation/training/train_networks.py`); scores "
        "are on worlds of",
        "seeds that training never saw, through the extractors as a run uses them, with the weights as they are stored "
        "(float16).",
        "",
        "| file | network | size | trained on | score | took |",
        "|---|---|---|---|---|---|",
    ]
    profile = load_profile("demo")
    total = 0
    for name in extracted_names():
        path = folder / f"{name}.safetensors"
        if not path.exists():
            continue
        notes, size = read_notes(path), path.stat().st_size
        total += size
        cells = [notes.get(key, "(training is not finished)") for key in ("trained on", "score", "took")]
        lines.append(
            f"| `{path.name}` | {profile.entry(name).architecture} | {size / 1e6:.2f} MB | {' | '.join(cells)} |"
        )
    motion = folder / "motion.safetensors"
    if motion.exists():  # by simulation.training.motion_training
        notes, size = read_notes(motion), motion.stat().st_size
        total += size
        cells = [notes.get(key, "") for key in ("trained on", "score", "took")]
        cells = ["PSGCN, of every profile's model", f"{size / 1e6:.2f} MB", *cells]
        lines.append(f"| `{motion.name}` | {' | '.join(cells)} |")
    lines += ["", f"Together {total / 1e6:.1f} MB."]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''} of a CPU ({platform.machine()})"


if __name__ == "__main__":
    main()
