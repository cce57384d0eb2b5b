"""Clips with one planted fault, clips without any, and good clips to hold them against, rendered and extracted.

Skill of judged clips is perfect but for the fault; that of references 0.85 to 1 in each component. Bodies, clothes,
scenes, phones, cameras, tempo and the beat that a clip starts at vary as in any world; a clip shows one person, in one
shot. A fault is drawn anew where it can hardly be seen: where, from the front, it moves the limb less than SEEN_M.
"""

import csv
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipeline.core.child_processes import called_in_processes
from simulation.dancers.body import draw_body
from simulation.dancers.looks import draw_face, draw_outfit
from simulation.dancers.performance import perform
from simulation.filming.phone_look import draw_phone
from simulation.filming.shots import draw_shots
from simulation.geometry import JOINT
from simulation.render import render_clip
from simulation.script import DANCES, SCENES, ClipScript, Fault, Person, Skill
from simulation.world import Upload

PERFECT = Skill(1.0, 1.0, 1.0, 1.0)
SEEN_M = {"arm": 0.08, "leg": 0.06, "trunk": 0.03}  # root of the mean square over the fault's time
ENDS = {"left_arm": ("left_wrist",), "right_arm": ("right_wrist",), "left_leg": ("left_ankle", "left_knee"),
        "right_leg": ("right_ankle", "right_knee"), "trunk": ("pelvis", "neck")}  # fmt: skip
KINDS = (("late", ("left_arm", "right_arm")), ("small", ("left_arm", "right_arm", "left_leg", "right_leg")),
         ("unsteady", ("trunk",)))  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """A clip and what is planted in it; None: nothing."""

    clip_id: str
    dance: str
    fault: Fault | None


def references_of(seed: int, each: int) -> list[ClipScript]:
    """So many good clips of every dance, by as many people."""
    scripts = []
    for place, dance in enumerate(DANCES * each):
        rng = np.random.default_rng((seed, 0, place))
        skill = Skill(*(float(value) for value in rng.uniform(0.85, 1.0, 4)))
        scripts.append(_script(f"ref{place:03d}", dance, place, skill, float(rng.uniform(7, 9)), rng))
    return scripts


def judged_of(seed: int, faulty: int, perfect: int) -> list[tuple[ClipScript, Judged]]:
    """Clips with a fault, its kinds in turn, and clips with none."""
    made = []
    for place in range(faulty + perfect):
        rng = np.random.default_rng((seed, 1, place))
        dance = str(rng.choice(DANCES))
        script = _script(f"clip{place:03d}", dance, 1000 + place, PERFECT, float(rng.uniform(6, 8)), rng)
        fault = _seen_fault(script, KINDS[place % len(KINDS)], rng) if place < faulty else None
        lead = replace(script.people[0], faults=(fault,) if fault else ())
        made.append((replace(script, people=(lead,)), Judged(script.clip_id, dance, fault)))
    return made


def _script(
    clip_id: str, dance: str, creator: int, skill: Skill, duration_s: float, rng: np.random.Generator
) -> ClipScript:
    phone = draw_phone(rng)
    lead = Person(
        creator=creator, body=draw_body(rng), face=draw_face(rng), outfit=draw_outfit(float(rng.random()), rng),
        skill=skill, expression=float(rng.random()), x_m=float(rng.uniform(-0.15, 0.15)), z_m=0.0,
        turn=float(rng.normal(0, 0.06)), seed=int(rng.integers(1 << 31)),
    )  # fmt: skip
    shots = draw_shots(rng, duration_s, phone.width, phone.height)[:1]
    scene = str(rng.choice(SCENES))
    return ClipScript(clip_id, dance, scene, int(rng.integers(1 << 31)), round(duration_s, 2), (lead,), shots, phone)


def _seen_fault(script: ClipScript, kind: tuple[str, tuple[str, ...]], rng: np.random.Generator) -> Fault:
    name, limbs = kind
    low, high = {"late": (0.25, 0.45), "small": (0.5, 0.8), "unsteady": (0.06, 0.10)}[name]
    person, seconds = script.people[0], np.arange(0, script.duration_s, 0.05)
    right = perform(script.dance, person, seconds).points
    for _ in range(200):
        lasts = float(rng.uniform(2.5, 3.5))
        start = float(rng.uniform(0.5, script.duration_s - lasts - 0.5))
        limb = str(rng.choice(limbs))
        fault = Fault(name, limb, round(start, 2), round(start + lasts, 2), float(rng.uniform(low, high)))
        wrong = perform(script.dance, replace(person, faults=(fault,)), seconds).points
        during = (seconds >= fault.start_s) & (seconds <= fault.end_s)
        away = (wrong - right)[during][:, [JOINT[end] for end in ENDS[limb]], :2]
        if np.sqrt((away**2).sum(2).mean(0)).max() >= SEEN_M[limb.rsplit("_", maxsplit=1)[-1]]:
            return fault
    raise SystemExit(f"{script.clip_id}: no {name} fault of {script.dance} can be seen")


def render(folder: Path, scripts: list[ClipScript], workers: int) -> Path:
    """Renders what is missing and returns the manifest. Likes are invented: nothing learns from them."""
    uploads = [
        Upload(script, f"u{script.people[0].creator}", 1000, datetime(2024, 1, 1, tzinfo=UTC), 100)
        for script in scripts
    ]
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    (folder / "truth/people").mkdir(parents=True, exist_ok=True)
    missing = [upload for upload in uploads if not (folder / f"truth/people/{upload.script.clip_id}.parquet").exists()]
    calls = [(folder, upload) for upload in missing]
    for done, _ in enumerate(called_in_processes(workers, render_clip, calls), 1):
        print(f"\rrendered {done} of {len(missing)}", end="", flush=True)
    manifest = folder / f"{folder.name}.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["clip_id", "uri", "challenge", "creator_id", "likes"])
        writer.writerows([u.script.clip_id, u.uri, u.script.dance, u.creator_id, u.likes] for u in uploads)
    return manifest


def extract_poses(manifest: Path, workspace: str, profile: str) -> str:
    """The real extraction; the dataset's folder relative to the workspace. Ends the benchmark where it fails."""
    options = ["--manifest", str(manifest), "--workspace", workspace, "--profile", profile, "--modalities", "pose",
               "--decode-workers", "1"]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "luigi", "--module", "tasks", "AssembleDataset", *options])
    if done.returncode:
        raise SystemExit(f"AssembleDataset ended with {done.returncode}")
    (found,) = Path(workspace).glob("datasets/*/statistics.json")
    return f"datasets/{found.parent.name}"
