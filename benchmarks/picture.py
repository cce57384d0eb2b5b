"""The README's picture: rendered dancers of the demo, with what the pipeline saw and how it ranked them.

    python -m benchmarks.picture --workspace workspace      # after `make demo`; writes docs/demo.jpg

Shows simulated dancers only: it refuses a workspace whose clips have no truth beside them.
"""

import argparse
import json
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd

from models.virality.skeleton import COCO17
from pipeline.dataset.folder import DatasetFolder
from pipeline.decode.orientation import orientation_of
from pipeline.features.reader import ShardReader
from pipeline.files.folder import read_table
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from simulation.truth import people_path

HEIGHT, WIDTH, GAP = 640, 360, 14  # px of a card
MARGIN, TEXT = 74, (236, 238, 242)
GROUND, LEFT, RIGHT, HEAD, BOX = (24, 26, 32), (255, 159, 64), (64, 196, 255), (245, 245, 245), (120, 255, 150)
SHOWN = 5
MIN_SCORE = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--world", type=Path, default=Path("data_manifest/demo"))
    parser.add_argument("--challenge", default="", help="default: that with the largest range of scores")
    parser.add_argument("--second", type=float, default=3.0, help="moment of every clip")
    parser.add_argument("--out", type=Path, default=Path("docs/demo.jpg"))
    options = parser.parse_args()
    latest = json.loads((options.workspace / "latest.json").read_text())
    clips = DatasetFolder(str(options.workspace), latest["dataset"]).read_clips().set_index("clip_id")
    # Of folds: what a training without the clip's creator says of it.
    scores = read_table(str(options.workspace / latest["run"] / "folds.parquet")).dropna(subset=["score"])
    by_fold = scores.groupby("fold")["score"]
    scores["score"] = (scores["score"] - by_fold.transform("mean")) / by_fold.transform("std")
    portrait = clips.index[clips["height"] * 9 == clips["width"] * 16]
    scores = scores[scores["clip_id"].isin(portrait)]
    spans = scores.groupby("challenge")["score"].agg(lambda values: values.max() - values.min())
    challenge = options.challenge or str(spans.idxmax())
    ranked = scores[scores["challenge"] == challenge].sort_values("score", ascending=False).reset_index(drop=True)
    chosen = np.unique(np.linspace(0, len(ranked) - 1, SHOWN).round().astype(int))
    cards = [card(options, clips.loc[ranked["clip_id"][place]], ranked, int(place)) for place in chosen]
    gap = np.full((cards[0].shape[0], GAP, 3), GROUND, np.uint8)
    row = np.concatenate([part for one in cards for part in (gap, one)] + [gap], 1)
    title = np.full((MARGIN, row.shape[1], 3), GROUND, np.uint8)
    write(
        title,
        f"challenge {challenge}: {len(ranked)} clips as predicted without having seen their creators",
        (GAP, 48),
        0.95,
    )
    picture = np.concatenate([title, row, np.full((GAP, row.shape[1], 3), GROUND, np.uint8)])
    cv2.imwrite(str(options.out), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 84])
    print(f"written: {options.out} ({options.out.stat().st_size // 1024} KB)")


def card(options: argparse.Namespace, clip: pd.Series, ranked: pd.DataFrame, place: int) -> np.ndarray:
    clip_id = str(clip.name)
    if not people_path(options.world, clip_id).exists():
        raise SystemExit(
            f"{clip_id} is no clip of the world in {options.world}: this picture is of rendered dancers only"
        )
    pose = ShardReader(str(options.workspace / clip["shard_pose"])).read(clip_id)
    face = ShardReader(str(options.workspace / clip["shard_face"])).read(clip_id, crops=False)
    assert isinstance(pose, PoseRows)
    assert isinstance(face, FaceRows)
    at = int(np.abs(face.grid.timestamp - options.second).argmin())
    frame = int(face.grid.frame_index[at])
    picture = upright_frame(
        options.world / clip["uri"] if "uri" in clip else options.world / f"clips/{clip_id}.mp4", frame
    )
    scale = WIDTH / picture.shape[1]
    picture = cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    position = int(np.flatnonzero(pose.grid.frame_index == frame)[0])
    for track in sorted(pose.tracks, key=lambda one: one.is_lead):
        if track.valid[position]:
            draw_skeleton(picture, track.keypoints[position] * [scale, scale, 1], 3 if track.is_lead else 1)
    for box in face.box[face.frame == at]:
        corners = (box * scale).round().astype(int)
        cv2.rectangle(picture, tuple(corners[:2].tolist()), tuple(corners[2:].tolist()), BOX, 2, cv2.LINE_AA)
    foot = np.full((MARGIN, WIDTH, 3), GROUND, np.uint8)
    actual = int((ranked["label"] > ranked["label"][place]).sum()) + 1
    write(foot, f"#{place + 1}  score {ranked['score'][place]:+.2f}", (4, 30), 0.8)
    write(foot, f"by likes, followers taken out: #{actual}", (4, 60), 0.56)
    return np.concatenate([picture, foot])


def upright_frame(path: Path, index: int) -> np.ndarray:
    with av.open(str(path)) as file:
        for place, frame in enumerate(file.decode(video=0)):
            if place == index:
                return np.ascontiguousarray(orientation_of(frame).apply(frame.to_ndarray(format="rgb24")))
    raise SystemExit(f"{path} has no frame {index}")


def draw_skeleton(picture: np.ndarray, keypoints: np.ndarray, thickness: int) -> None:
    """keypoints [17, 3]; the dancer's left in orange, right in blue."""
    for joint, parent in COCO17.edges:
        if min(keypoints[joint, 2], keypoints[parent, 2]) >= MIN_SCORE:
            ends = [tuple((keypoints[end, :2] * 16).round().astype(int).tolist()) for end in (joint, parent)]
            name = COCO17.joints[joint]
            colour = HEAD if joint < 5 else LEFT if name.startswith("left") else RIGHT
            cv2.line(picture, ends[0], ends[1], colour, 1 if joint < 5 else thickness, cv2.LINE_AA, 4)
    for joint, (x, y, score) in enumerate(keypoints):
        if score >= MIN_SCORE:
            radius = 24 if joint < 5 else 16 * thickness  # of 1/16 px
            cv2.circle(picture, (round(x * 16), round(y * 16)), radius, (255, 255, 255), -1, cv2.LINE_AA, 4)


def write(picture: np.ndarray, text: str, at: tuple[int, int], size: float) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_DUPLEX, size, TEXT, 1, cv2.LINE_AA)


if __name__ == "__main__":
    main()
