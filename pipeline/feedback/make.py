"""Feedback on one clip of a run, as files.

runs/<id>/feedback/<clip>.json    what differs, where the references come from, what it can't say
runs/<id>/feedback/<clip>.mp4     the two dances side by side
"""

import json
import math
from dataclasses import dataclass

import pandas as pd
import torch

from models.virality.config import VdvConfig
from models.virality.skeleton import Posture
from pipeline.core import storage
from pipeline.core.errors import DataError
from pipeline.dataset.loading import Dancer, read_input
from pipeline.features.reader import ShardReader
from pipeline.feedback.compare import LEAST_FITTING, Compared, Said, compare_clip, meaning
from pipeline.feedback.film import draw_film
from pipeline.feedback.measure import WINDOW_S
from pipeline.feedback.references import choose
from pipeline.runs.files import FEEDBACK
from pipeline.runs.runs import run_dir
from pipeline.runs.train import load_run

FEEDBACK_SCHEMA = 1
_CAUTION = (
    "What differs from the top clips is associated with the model's score; that changing it would bring likes is not"
    " known."
)


@dataclass(frozen=True)
class Made:
    compared: Compared
    references: tuple[str, ...]  # clip ids
    json: str  # paths
    film: str


def make_feedback(workspace: str, run_id: str, clip_id: str, device: torch.device) -> Made:
    """Writes both files.

    Raises:
        OptionError, DataError: as references.choose; and DataError where the dancer is seen for too short a time, or
            where too few of the references dance what the clip does.
    """
    folder = run_dir(run_id)
    chosen = choose(workspace, folder, clip_id)
    model, run = load_run(workspace, folder, device)
    posture, *references = (
        read_posture(workspace, chosen.clips, row, model.config) for row in (chosen.row, *chosen.references)
    )
    compared = compare_clip(posture, references, model.encoders["pose"], model.config, device)
    if compared.ours is None:
        raise DataError(f"clip {clip_id} shows the dancer for less than {WINDOW_S:.0f} seconds, too short to compare")
    if not compared.comparable:
        raise DataError(
            f"{compared.fitting} of the {len(references)} best clips of the challenge fit clip {clip_id}; feedback"
            f" needs {LEAST_FITTING}. It may show another dance than they do, or too little of it"
        )
    names = tuple(chosen.clips["clip_id"].iloc[row] for row in chosen.references)
    base = storage.join(workspace, folder, FEEDBACK, clip_id)
    said = {
        "schema": FEEDBACK_SCHEMA,
        "clip": clip_id,
        "run": run_id,
        "challenge": chosen.clips["challenge"].iloc[chosen.row],
        "references": list(names),
        "fitting": compared.fitting,
        "untrained": bool(run["untrained"]),
        "findings": [_entry(one) for one in compared.said],
        "summary": compared.said[0].sentence if compared.said else "nothing stands out",
        "caution": _CAUTION,
    }
    with storage.staged(f"{base}.mp4") as path:
        draw_film(path, compared.ours, compared.views, compared.said)
    storage.write_bytes(f"{base}.json", (json.dumps(said, indent=1, ensure_ascii=False) + "\n").encode())
    return Made(compared, names, f"{base}.json", f"{base}.mp4")


def read_posture(workspace: str, clips: pd.DataFrame, row: int, config: VdvConfig) -> Posture:
    """The lead dancer of a clip of the dataset in which somebody was found."""
    reader = ShardReader(storage.join(workspace, str(clips["shard_pose"].iloc[row])))
    dancer = read_input("pose", reader.read(str(clips["clip_id"].iloc[row])), config, 0)
    reader.close()
    assert isinstance(dancer, Dancer)
    if dancer.posture is None:
        raise DataError(f"clip {clips['clip_id'].iloc[row]} has no skeleton: nobody was found in it")
    return dancer.posture


def _entry(one: Said) -> dict:
    found, gain = one.finding, one.gain
    return {
        "sentence": one.sentence,
        "meaning": meaning(gain),
        "limb": found.limb,
        "kind": found.kind,
        "start_s": round(found.start_s, 2),
        "end_s": round(found.end_s, 2),
        "strength": round(found.strength, 2),
        "late_s": round(found.lag_s, 2),
        "amplitude": round(found.amplitude, 2),
        "sway": _number(found.sway),
        "edit": {"gain": _number(gain.gain), "agreement": _number(gain.agreement), "references": gain.references},
        "integrated_gradients_share": _number(one.gradients),
    }


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
