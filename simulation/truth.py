"""Ground truth of a world's clips, as Parquet beside them. Tests and benchmarks read it; the pipeline never does.

`truth/clips.parquet` has a row a clip: scene, skill, every term of the likes, recording, sound. `truth/people/` has a
file a clip with a row a person (the lead first): all labels by frame.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from simulation.filming.visibility import PersonLabels
from simulation.music.timing import heard_interval, synchrony_value, tempo_bpm, true_lag_s
from simulation.script import SCENES
from simulation.world import Upload, content_log_likes, expected_log_likes

CLIPS, PEOPLE = "truth/clips.parquet", "truth/people"
# Arrays of a person with a value a frame: name, shape of the value.
_BY_FRAME = (("keypoints", (17, 3)), ("box", (4,)), ("face_box", (4,)), ("landmarks", (5, 2)), ("yaw_deg", ()))


@dataclass(frozen=True)
class PersonTruth:
    """Labels of one person in all T frames of a clip's file. Pixels are those of the upright frame."""

    track_id: int  # 0: the lead
    creator: int
    keypoints: np.ndarray  # float32 [T, 17, 3] COCO-17: x, y px; 2 visible, 1 occluded, 0 outside the picture
    box: np.ndarray  # float32 [T, 4] x1, y1, x2, y2; zeros: outside the picture
    face_box: np.ndarray  # float32 [T, 4]; zeros: no visible face
    landmarks: np.ndarray  # float32 [T, 5, 2] eyes, nose, corners of the mouth, in MTCNN's order
    yaw_deg: np.ndarray  # float32 [T] of the head against the direction to the camera; 0 frontal


@dataclass(frozen=True)
class ClipTruth:
    """Labels of everybody in one clip."""

    clip_id: str
    timestamp: np.ndarray  # float32 [T] seconds from the first frame
    people: tuple[PersonTruth, ...]  # lead first


def people_path(folder: Path, clip_id: str) -> Path:
    return folder / PEOPLE / f"{clip_id}.parquet"


def write_people(folder: Path, upload: Upload, seconds: np.ndarray, labels: Sequence[Sequence[PersonLabels]]) -> None:
    """Write the labels of one clip: of each of the T frames, every person of the script, in the script's order."""
    rows = []
    for index, person in enumerate(upload.script.people):
        row: dict[str, Any] = {"clip_id": upload.script.clip_id, "track_id": index, "creator": person.creator}
        row["timestamp"] = seconds.astype(np.float32)
        for name, shape in _BY_FRAME:
            values = np.array([getattr(frame[index], name) for frame in labels], np.float32)
            row[name] = values.reshape(len(seconds), *shape)
        rows.append(row)
    scalars = {"clip_id": pa.string(), "track_id": pa.int32(), "creator": pa.int32()}
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in scalars.items()}
    columns |= {name: _lists([row[name] for row in rows], shape) for name, shape in (("timestamp", ()), *_BY_FRAME)}
    path = people_path(folder, upload.script.clip_id)
    with storage.staged(str(path)) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def _lists(arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> pa.Array:
    """One list a row with an entry a frame, each nested fixed-size lists of `shape`."""
    flat = pa.array(np.concatenate([array.reshape(-1) for array in arrays]), pa.float32())
    for size in reversed(shape):
        flat = pa.FixedSizeListArray.from_arrays(flat, size)
    offsets = np.cumsum([0, *(len(array) for array in arrays)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)


def read_people(folder: Path, clip_id: str) -> ClipTruth:
    """Labels of one clip. Raises FileNotFoundError: the clip was not rendered."""
    table = pq.read_table(people_path(folder, clip_id))
    people = []
    for row in range(len(table)):
        arrays = {}
        for name, shape in _BY_FRAME:
            values = table[name][row].values
            for _ in shape:
                values = values.flatten()
            arrays[name] = values.to_numpy(zero_copy_only=False).reshape(-1, *shape)
        people.append(
            PersonTruth(track_id=table["track_id"][row].as_py(), creator=table["creator"][row].as_py(), **arrays)
        )
    timestamp = table["timestamp"][0].values.to_numpy(zero_copy_only=False)
    return ClipTruth(clip_id, timestamp, tuple(people))


def write_clips(folder: Path, uploads: Sequence[Upload]) -> None:
    """Write `clips_table`."""
    os.makedirs(folder / "truth", exist_ok=True)
    with storage.staged(str(folder / CLIPS)) as temporary:
        pq.write_table(pa.Table.from_pandas(clips_table(uploads), preserve_index=False), temporary)


def read_clips_truth(folder: Path) -> pd.DataFrame:
    """`clips_table` as it was written. Raises FileNotFoundError: the world was not rendered."""
    return pq.read_table(folder / CLIPS).to_pandas()


def clips_table(uploads: Sequence[Upload]) -> pd.DataFrame:
    """A row a clip: content, recording, sound as `sound_<name>`, and every term of log(likes + 1) as `likes_<term>`.

    `bpm` is the tempo as heard, NaN without music; `lag_s` the dance's mean delay behind its music, whose
    constant part is `sound_lag_s`; `heard_start_s` and `heard_end_s` are equal where there is no audio stream.

    `expected` is log(likes + 1) without the creator's effect and the noise, `content` the part that the clip shows.
    """
    rows = []
    for upload in uploads:
        script = upload.script
        lead = script.people[0]
        rows.append(
            {
                "clip_id": script.clip_id,
                "creator_id": upload.creator_id,
                "challenge": script.dance,
                "scene": script.scene,
                "scene_index": SCENES.index(script.scene),
                "skill": lead.skill.overall,
                **vars(lead.skill),
                "look": lead.outfit.look,
                "expression": lead.expression,
                **{f"likes_{name}": value for name, value in script.likes.items()},
                "expected": expected_log_likes(upload),
                "content": content_log_likes(upload),
                "people": len(script.people),
                "shots": len(script.shots),
                **vars(script.phone),
                "hidden": " ".join(script.hidden),
                "bpm": tempo_bpm(script.sound),
                "lag_s": true_lag_s(script),
                "synchrony": synchrony_value(script),
                **dict(zip(("heard_start_s", "heard_end_s"), heard_interval(script), strict=True)),
                **{f"sound_{name}": value for name, value in vars(script.sound).items()},
            }
        )
    return pd.DataFrame(rows)
