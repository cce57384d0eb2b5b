"""Feedback on a clip of a finished run: whom it is held against, what is written, what is refused."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.core.errors import DataError, OptionError
from pipeline.feedback.clip_feedback import ClipFeedback, write_feedback
from pipeline.feedback.film import CAPTION, HEIGHT, SIDE
from pipeline.feedback.motion import RATE_HZ
from pipeline.feedback.references import choose_references
from pipeline.runs.run import Run
from tests.pipeline.feedback.dancing_run import GOOD, RUN, make_dancing_run
from tests.pipeline.feedback.simulated_dancers import LATE
from tests.support.made_once import Workspaces
from tests.support.whole_files import write_table

CPU = torch.device("cpu")
RUN_ID = RUN.removeprefix("runs/")


@pytest.fixture(scope="module")
def workspace(workspaces: Workspaces) -> Path:
    return workspaces.copy(make_dancing_run)


@contextmanager
def scoring(workspace: Path) -> Iterator[Callable[[dict[str, float]], None]]:
    """Sets the skeleton's scores of clips, and puts the run's own back."""
    path = workspace / RUN / "scores.parquet"
    before = path.read_bytes()

    def set_scores(scores: dict[str, float]) -> None:
        table = pd.read_parquet(path)
        table["score_pose"] = table["clip_id"].map(scores).fillna(table["score_pose"])
        write_table(path, table)

    try:
        yield set_scores
    finally:
        path.write_bytes(before)


@pytest.fixture
def scored(workspace: Path) -> Iterator[Callable[[dict[str, float]], None]]:
    with scoring(workspace) as set_scores:
        yield set_scores


SCORES = dict.fromkeys(GOOD, 5.0) | {"odd": -9.0, "short": -9.0}


@pytest.fixture(scope="module")
def late(workspace: Path) -> ClipFeedback:
    """Feedback on the clip with the late arm, against good ones."""
    with scoring(workspace) as set_scores:
        set_scores(SCORES)
        return write_feedback(Run.of(str(workspace), RUN_ID), "late", CPU)


def chosen_for(workspace: Path, clip: str) -> list[str]:
    chosen = choose_references(Run(str(workspace), RUN), clip)
    return [str(chosen.clips["clip_id"].iloc[row]) for row in chosen.references]


def test_references_are_the_best_of_the_challenge_by_others(
    workspace: Path, scored: Callable[[dict[str, float]], None]
) -> None:
    scored({name: 5.0 - number for number, name in enumerate(GOOD)} | {"late": 9.0, "odd": -9.0, "short": -9.0})
    # Not good2, by the same creator; five of those left, best first.
    assert chosen_for(workspace, "late") == ["good0", "good1", "good3", "good4", "good5"]
    # Neither itself nor the copy of it.
    assert chosen_for(workspace, "good0") == ["late", "good3", "good4", "good5", "good6"]


def test_a_creator_is_a_reference_twice_only_where_there_are_too_few(
    workspace: Path, scored: Callable[[dict[str, float]], None]
) -> None:
    scored({name: 5.0 - number for number, name in enumerate(GOOD)} | {"late": 9.0, "odd": -9.0, "short": -8.0})
    assert chosen_for(workspace, "good3") == ["late", "good0", "good1", "good4", "good5"]
    scored({"good2": 8.0})
    chosen = chosen_for(workspace, "good3")
    assert "good2" not in chosen  # her other clip, `late`, stands before it


def test_the_fault_is_said_with_its_sentence_and_what_the_model_makes_of_it(late: ClipFeedback) -> None:
    content = json.loads(Path(late.json_path).read_text())
    assert (content["clip"], content["run"], content["challenge"]) == ("late", RUN_ID, "arms")
    assert len(content["references"]) == 5
    assert set(content["references"]) <= set(GOOD)
    first = content["findings"][0]
    assert (first["limb"], first["kind"]) == ("left_arm", "late")
    assert first["start_s"] < LATE.end_s
    assert first["end_s"] > LATE.start_s
    assert first["late_s"] == pytest.approx(LATE.size, abs=0.15)
    assert re.match(r"left arm, \d\.\d-\d\.\d s: 0\.[345] s late against the rest of the body", first["sentence"])
    assert content["summary"] == first["sentence"]
    assert first["edit"]["references"] == content["fitting"] == 5
    assert 0 <= first["edit"]["agreement"] <= 1
    assert -1 <= first["integrated_gradients_share"] <= 1
    assert "associated" in content["caution"]
    # An association and no promise, and only where the edits gain.
    gains = first["edit"]["gain"] > 0.01 and first["edit"]["agreement"] > 0.5
    assert first["meaning"].startswith("associated with a lower score" if gains else "this run's model does not")


def test_a_good_clip_gets_no_words(workspace: Path, scored: Callable[[dict[str, float]], None]) -> None:
    scored({"odd": -9.0, "short": -9.0, "late": -9.0})
    feedback = write_feedback(Run.of(str(workspace), RUN_ID), "good4", CPU)
    content = json.loads(Path(feedback.json_path).read_text())
    assert content["findings"] == []
    assert content["summary"] == "nothing stands out"


def test_the_film_shows_both_and_colours_what_differs_while_it_does(late: ClipFeedback) -> None:
    first = late.comparison.findings[0].finding
    with av.open(late.film_path) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (2 * SIDE, HEIGHT + CAPTION)
        pictures = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in file.decode(stream)]
    assert late.comparison.motion is not None
    assert len(pictures) == len(late.comparison.motion.seconds)
    start = late.comparison.motion.seconds[0]

    def coloured(picture: np.ndarray, left: int) -> tuple[int, int]:
        """Pixels of orange and of blue in a figure's field."""
        field = picture[40:HEIGHT, left : left + SIDE].astype(np.int16)
        red, blue = field[..., 0], field[..., 2]
        return int((red - blue > 120).sum()), int((blue - red > 100).sum())

    findings = [explained.finding for explained in late.comparison.findings]
    for time, picture in pictures[:: RATE_HZ // 2]:
        orange, blue = coloured(picture, 0)[0], coloured(picture, SIDE)[1]
        if any(finding.start_s <= start + time <= finding.end_s for finding in findings):
            assert orange > 600, time  # bones and joints
        else:
            assert (orange, blue) == (0, 0), time
    middle = min(pictures, key=lambda timed: abs(start + timed[0] - (first.start_s + first.end_s) / 2))[1]
    assert coloured(middle, SIDE)[1] > 600


def test_made_again_it_is_the_same(
    workspace: Path, late: ClipFeedback, scored: Callable[[dict[str, float]], None]
) -> None:
    path = Path(late.json_path)
    first = path.read_bytes()
    path.unlink()
    scored(SCORES)
    assert Path(write_feedback(Run.of(str(workspace), RUN_ID), "late", CPU).json_path).read_bytes() == first


@pytest.mark.parametrize(
    ("clip", "error", "words"),
    [
        ("nowhere", OptionError, r"--clip 'nowhere': run runs/a+ has no such clip; its 14 clips are good0, .*"),
        ("nobody", DataError, r"clip nobody has no skeleton: nobody was found in it"),
        (
            "few0",
            DataError,
            r"challenge 'few' has 2 clips with a skeleton by others than few0's creator",
        ),
        ("short", DataError, r"clip short shows the dancer for less than 2 seconds"),
        ("odd", DataError, r"0 of the 5 best clips of the challenge fit clip odd; feedback needs 4"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_reason(
    workspace: Path, scored: Callable[[dict[str, float]], None], clip: str, error: type[Exception], words: str
) -> None:
    scored(dict.fromkeys(GOOD, 5.0) | {"late": 4.0})
    with pytest.raises(error, match=words):
        write_feedback(Run.of(str(workspace), RUN_ID), clip, CPU)
    assert not (workspace / RUN / f"feedback/{clip}.json").exists()
    assert not (workspace / RUN / f"feedback/{clip}.mp4").exists()


def test_a_run_without_poses_is_refused(tmp_path: Path) -> None:
    workspace = make_dancing_run(tmp_path / "ws", modalities=("scene",))
    with pytest.raises(OptionError, match="made without the pose modality: feedback needs skeletons"):
        write_feedback(Run.of(str(workspace), RUN_ID), "late", CPU)
