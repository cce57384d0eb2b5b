"""Feedback on a clip of a run with music: what is said of the beat stands among the findings, and in the film."""

import json
import re
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from benchmarks.synchrony import pose_rows
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import LabelOptions
from pipeline.feedback.clip_feedback import ClipFeedback, write_feedback
from pipeline.feedback.film import HEIGHT, SIDE
from pipeline.runs.run import Run
from pipeline.runs.train import train_fusion
from pipeline.scoring.scores import score_clips
from simulation.filming.keypoints import film_keypoints
from tasks.terminal_text import feedback_text
from tests.pipeline.feedback.dancing_run import DATASET, RUN
from tests.pipeline.runs.test_train import CPU, ONE_EPOCH
from tests.support.danced_music import BEFORE_S, SECONDS, beats_of, script
from tests.support.feature_rows import audio_rows
from tests.support.learnable_world import Clip, make_batch
from tests.support.whole_files import write_table

LAG_S = 0.17
GOOD = tuple(f"good{number}" for number in range(7))


def clip(name: str, number: int, likes: int, lag_s: float = 0.0, silent: bool = False) -> Clip:
    made = script("cross_arms", number)
    seconds = np.arange(0, SECONDS, 0.1)
    seen = film_keypoints(made, seconds + BEFORE_S, np.random.default_rng(number))
    beats = beats_of(made, lag_s).astype(np.float32)
    audio = replace(
        audio_rows(name, windows=int(SECONDS), seed=number),
        beats=beats[:0] if silent else beats,
        beat_confidence=np.full(0 if silent else len(beats), 0.9, np.float32),
    )
    return Clip(
        name,
        "arms",
        creator=f"by-{name}",
        likes=likes,
        frames=len(seen),
        pose=pose_rows(name, seconds, seen),
        audio=audio,
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good dancers on the beat, one of whom is scored low; one as good who is behind it; one without music."""
    folder = tmp_path_factory.mktemp("beat") / "ws"
    clips = [
        *(clip(name, 100 + number, 900 - number) for number, name in enumerate(GOOD)),
        clip("behind", 3, 5, LAG_S),
        clip("unheard", 3, 4, LAG_S, silent=True),
    ]
    dataset, run = DatasetFolder(str(folder), DATASET), Run(str(folder), RUN)
    assemble(dataset, [make_batch(folder, clips, modalities=("pose", "audio"))], LabelOptions(holdout=0.2))
    train_fusion(dataset, run, replace(ONE_EPOCH, modalities=("pose", "audio", "synchrony")), CPU)
    score_clips(dataset, run, CPU)
    path = folder / RUN / "scores.parquet"
    scores = pd.read_parquet(path)
    scores["score_pose"] = scores["clip_id"].isin(GOOD).astype(float)
    write_table(path, scores)
    return folder


def feedback_on(workspace: Path, name: str) -> tuple[ClipFeedback, dict]:
    feedback = write_feedback(Run(str(workspace), RUN), name, CPU)
    return feedback, json.loads(Path(feedback.json_path).read_text())


def test_a_dancer_behind_the_beat_reads_it_and_sees_it(workspace: Path) -> None:
    feedback, content = feedback_on(workspace, "behind")
    (finding,) = (one for one in content["findings"] if one["kind"] == "behind_beat")
    assert re.fullmatch(r"0\.1[5-9] s behind the beat from \d\.\d to \d\.\d s", finding["sentence"])
    assert finding["late_s"] == pytest.approx(LAG_S, abs=0.02)
    assert 0 < finding["late_error_s"] < 0.03
    assert finding["limb"] == "whole_body"
    assert "the top clips keep within" in finding["meaning"]
    strengths = [one["strength"] for one in content["findings"]]
    assert strengths == sorted(strengths, reverse=True)
    assert content["summary"] == content["findings"][0]["sentence"]
    assert f"  {finding['sentence']}" in feedback_text("behind", feedback)

    with av.open(feedback.film_path) as file:
        pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    middle = pictures[len(pictures) // 2][40:HEIGHT, :SIDE].astype(np.int16)
    coloured = middle[..., 0] - middle[..., 2] > 120
    assert coloured.sum() > 2500  # the whole figure: one arm is 1,000 pixels


@pytest.mark.parametrize("name", ["good4", "unheard"])
def test_on_the_beat_or_without_music_nothing_is_said_of_it(workspace: Path, name: str) -> None:
    feedback, content = feedback_on(workspace, name)
    assert feedback.off_beat == ()
    assert not [one for one in content["findings"] if one["kind"].endswith("_beat")]
