"""Trains the four networks of the profile `demo` on worlds of their own and writes them, with their card, to bundle.

    python -m simulation.training.train_networks                     # all four: an hour or two on two cores
    python -m simulation.training.train_networks --only pose --again --seconds 3600
    python -m simulation.training.train_networks --device cuda --workers 8      # minutes

Frames are rendered once, into `--cache`; a network that is finished is not trained again unless asked. While a network
is trained, what there is of it is written several times, so that a long training can be used before it ends.
"""

import argparse
import dataclasses
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import cv2
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from models.device import resolve_device
from models.extractors.appearance import OUTFIT_ATTRIBUTES, classes_of
from models.extractors.face_cascade import DetectorOptions
from models.extractors.resnet import Preprocessing, new_trunk
from models.weights.catalogue import BUNDLED_FOLDER
from models.weights.profiles import Profile
from pipeline.modalities.registry import build_extractor, load_profile, modality_names
from simulation.script import SCENES
from simulation.training import face_training, picture_training, pose_training
from simulation.training.fitting import Budget, fit
from simulation.training.training_frames import FrameSet, rendered

# No world that anybody is shown may have one of these seeds.
TRAINING_SEEDS = range(1_000_000, 1_000_100)
HELD_OUT_SEEDS = range(2_000_000, 2_000_004)
_CLIPS, _FRAMES_A_CLIP = 12, 12  # of each world: many people and places
_BUDGETS = {
    "pose": Budget(steps=7_000, batch=16, learning_rate=2e-3),
    "scene": Budget(steps=2_500, batch=32, learning_rate=2e-3),
    "appearance": Budget(steps=4_000, batch=32, learning_rate=2e-3),
    "face": Budget(steps=2_500, batch=32, learning_rate=2e-3),
}
_SAVES = 4  # on the way
_FACE_FRAMES = 4_000  # of the training set; every one has a face or two


@dataclass(frozen=True)
class Run:
    """What every network's training is given."""

    frames: FrameSet
    held_out: FrameSet
    profile: Profile
    device: torch.device
    output: Path
    workers: int  # that load pictures; 0: in the training's own process
    processes: int  # that render and find faces


@dataclass(frozen=True)
class Trained:
    state: dict[str, Tensor]  # as it is bundled
    notes: dict[str, str]  # for the card


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
        cv2.setNumThreads(options.threads)
    asked = [name for name in modality_names() if name in options.only]
    wanted = [name for name in asked if options.again or not is_finished(options.output / f"{name}.safetensors")]
    for name in asked:
        if name not in wanted:
            print(f"{name}: finished before; --again trains it anew")
    if wanted:
        render = partial(
            rendered, options.cache, clips=_CLIPS, frames_a_clip=_FRAMES_A_CLIP, processes=options.processes
        )
        run = Run(
            frames=render(seeds=TRAINING_SEEDS[: options.worlds]),
            held_out=render(seeds=HELD_OUT_SEEDS),
            profile=load_profile("demo"),
            device=resolve_device(options.device),
            output=options.output,
            workers=options.workers,
            processes=options.processes,
        )
        for name in wanted:
            train(name, run, _budget(name, options))
    write_card(options.output)
    print(f"card: {options.output / 'README.md'}")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=list(modality_names()), help="pose,scene,..."
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
    if unknown := sorted(set(options.only) - set(modality_names())):
        parser.error(f"--only {','.join(unknown)}: the networks are {', '.join(modality_names())}")
    if not 1 <= options.worlds <= len(TRAINING_SEEDS):
        parser.error(f"--worlds {options.worlds}: give 1 to {len(TRAINING_SEEDS)}")
    return options


def _budget(name: str, options: argparse.Namespace) -> Budget:
    own = _BUDGETS[name]
    return dataclasses.replace(own, steps=options.steps or own.steps, seconds=options.seconds)


def train(name: str, run: Run, budget: Budget) -> None:
    """Trains, judges and writes one of modality_names()."""
    begun = time.monotonic()
    trained = _TRAINERS[name](run, budget)
    minutes = f"{(time.monotonic() - begun) / 60:.0f} minutes on {_machine(run.device)}"
    path = run.output / f"{name}.safetensors"
    write_weights(path, trained.state, {**trained.notes, "took": minutes, "finished": "yes"})
    print(f"{name}: {trained.notes['score']}; {minutes}; {path.stat().st_size / 1e6:.1f} MB")


def _train_pose(run: Run, budget: Budget) -> Trained:
    config = run.profile.entry("pose").architecture
    target = pose_training.PoseTarget(config)
    samples = pose_training.PoseSamples(run.frames, target.input_size, seed=0)
    network = pose_training.new_network(config, seed=0).to(run.device)
    loss = partial(pose_training.pose_loss, target=target, device=run.device)
    batches = pose_training.batches(samples, budget.batch, run.workers)
    averaged = fit(network, loss, batches, budget, "pose", _saver("pose", run), _SAVES)
    state = stored(averaged)
    score = pose_training.judge_pose(_extractor("pose", run, state), run.held_out)
    return Trained(state, _notes(run, f"{score} on {len(run.held_out)} frames"))


def _train_scene(run: Run, budget: Budget) -> Trained:
    entry = run.profile.entry("scene")
    preprocessing = Preprocessing((entry.resize, entry.resize), entry.input_size)
    pictures = picture_training.scene_pictures(run.frames, preprocessing, seed=0)
    network = new_trunk(entry.architecture, len(SCENES), seed=0).to(run.device).to(memory_format=torch.channels_last)
    loss = partial(picture_training.scene_loss, device=run.device)
    batches = pictures.batches(budget.batch, run.workers)
    averaged = fit(network, loss, batches, budget, "scene", _saver("scene", run), _SAVES)
    state = stored(averaged)
    right = picture_training.judge_scene(_extractor("scene", run, state), run.held_out)
    return Trained(state, _notes(run, f"accuracy {right:.3f} on {len(run.held_out)} frames"))


def _train_appearance(run: Run, budget: Budget) -> Trained:
    entry = run.profile.entry("appearance")
    pictures = picture_training.appearance_pictures(run.frames, Preprocessing(entry.resize, entry.input_size), seed=0)
    attributes = picture_training.outfit_targets(pictures.targets)[:, : len(OUTFIT_ATTRIBUTES)]
    mean, deviation = attributes.mean(0), attributes.std(0)
    network = new_trunk(entry.architecture, classes_of(entry.architecture), seed=0)
    network = network.to(run.device).to(memory_format=torch.channels_last)
    loss = partial(
        picture_training.appearance_loss,
        device=run.device,
        mean=torch.from_numpy(mean).to(run.device),
        deviation=torch.from_numpy(deviation).to(run.device),
    )
    batches = pictures.batches(budget.batch, run.workers)
    averaged = fit(network, loss, batches, budget, "appearance", _saver("appearance", run), _SAVES)
    state = stored(averaged)
    classifier = nn.Linear(state["fc.weight"].shape[1], state["fc.weight"].shape[0])
    classifier.load_state_dict({"weight": state["fc.weight"], "bias": state["fc.bias"]})
    extractor = _extractor("appearance", run, state)
    score = picture_training.judge_appearance(extractor, classifier, run.held_out, mean, deviation)
    return Trained(state, _notes(run, f"{score}, on {len(run.held_out)} frames"))


def _train_face(run: Run, budget: Budget) -> Trained:
    entry = run.profile.entry("face")
    detector = DetectorOptions(entry.min_face_size, entry.thresholds)
    shown = run.frames.thinned(_FACE_FRAMES)
    faces = face_training.find_faces(shown, detector, None, run.processes)
    pictures, people = face_training.face_pictures(shown, faces, seed=0)
    task = face_training.FaceTask(people, seed=0).to(run.device).to(memory_format=torch.channels_last)
    loss = partial(face_training.face_loss, device=run.device)
    batches = pictures.batches(budget.batch, run.workers)
    saver = _saver("face", run)
    averaged = fit(
        task, loss, batches, budget, "face", lambda made: saver(cast(face_training.FaceTask, made).embedding), _SAVES
    )
    assert isinstance(averaged, face_training.FaceTask)
    state = stored(averaged.embedding)
    found = face_training.find_faces(run.held_out, detector, state, run.processes)
    score = face_training.judge_faces(run.held_out, found, averaged.smile.detach().cpu())
    return Trained(state, _notes(run, f"{score}; {len(found.person)} faces of {len(run.held_out)} frames"))


_TRAINERS: dict[str, Callable[[Run, Budget], Trained]] = {
    "pose": _train_pose,
    "scene": _train_scene,
    "appearance": _train_appearance,
    "face": _train_face,
}


def _extractor(name: str, run: Run, state: dict[str, Tensor]) -> Any:
    """The extractor of the profile `demo` with these weights, by the way that a run takes."""
    path = run.output / f"{name}.safetensors"
    write_weights(path, state, {"finished": "no"})
    entry: Any = dataclasses.replace(run.profile.entry(name), weights=str(path))
    return build_extractor(name, dataclasses.replace(run.profile, **{name: entry}), run.device)


def _saver(name: str, run: Run) -> Callable[[nn.Module], None]:
    return lambda network: write_weights(run.output / f"{name}.safetensors", stored(network), {"finished": "no"})


def _notes(run: Run, score: str) -> dict[str, str]:
    worlds = len(run.frames) // (_CLIPS * _FRAMES_A_CLIP)
    return {"score": score, "trained on": f"{len(run.frames)} frames of {worlds} worlds of {_CLIPS} clips"}


def stored(network: nn.Module) -> dict[str, Tensor]:
    """The state to bundle, on the CPU: kernels and matrices in float16, which halves the file, all else as it is.

    Normalisation keeps float32: a variance may be too small or too large for float16.
    """
    state = {name: value.detach().cpu() for name, value in network.state_dict().items() if ".loss_" not in name}
    return {name: (value.half() if value.ndim > 1 else value).contiguous().clone() for name, value in state.items()}


def write_weights(path: Path, state: dict[str, Tensor], notes: dict[str, str]) -> None:
    """A safetensors file with `notes` in its metadata; there whole or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    safetensors.torch.save_file(state, unfinished, notes)
    unfinished.chmod(0o644)  # safetensors writes for the owner alone
    unfinished.replace(path)


def read_notes(path: Path) -> dict[str, str]:
    """The metadata of a weight file; empty where there is none."""
    if not path.exists():
        return {}
    with safetensors.safe_open(path, "pt") as file:
        return file.metadata() or {}


def is_finished(path: Path) -> bool:
    return read_notes(path).get("finished") == "yes"


def write_card(folder: Path) -> None:
    """README.md beside the weights: what each was trained on and what it scores, as their own metadata say."""
    lines = [
        "# Bundled weights",
        "",
        "The networks of the profile `demo`, trained by this project from random weights on rendered dancers alone: no "
        "real person, no",
        "other data set and no other network had a part in them. They know the demo world and nothing else; real clips "
        "need `light` or `full`.",
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
    for name in modality_names():
        path = folder / f"{name}.safetensors"
        if not path.exists():
            continue
        notes, size = read_notes(path), path.stat().st_size
        total += size
        said = [notes.get(key, "(training is not finished)") for key in ("trained on", "score", "took")]
        lines.append(
            f"| `{path.name}` | {profile.entry(name).architecture} | {size / 1e6:.2f} MB | {' | '.join(said)} |"
        )
    lines += ["", f"Together {total / 1e6:.1f} MB."]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''} of a CPU ({platform.machine()})"


if __name__ == "__main__":
    main()
