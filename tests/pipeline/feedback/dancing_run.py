"""A small finished run whose clips show simulated dancers: good ones, one with a late arm, nobody, another dance."""

from pathlib import Path

import numpy as np

from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import LabelOptions
from pipeline.runs.run import Run
from pipeline.runs.train import train_fusion
from pipeline.scoring.scores import score_clips
from tests.pipeline.feedback.simulated_dancers import LATE, keypoints, pose_rows
from tests.pipeline.runs.test_train import CPU, ONE_EPOCH
from tests.support.learnable_world import Clip, make_batch

RUN = "runs/" + "a" * 16
DATASET = "datasets/one"
GOOD = tuple(f"good{number}" for number in range(7))


def dancing_clips() -> list[Clip]:
    """Of challenge `arms`: GOOD by as many creators, good0 a copy of good1; `late`, of good2's creator; `short`; `odd`,
    which shows another dance; `nobody`. Of challenge `few`: three clips.
    """
    good = [clip(name, keypoints("arms_up", 100 + number, 0.9), likes=900 - number)
            for number, name in enumerate(GOOD)]  # fmt: skip
    good[0] = clip("good0", keypoints("arms_up", 100, 0.9), likes=900, content="same")
    good[1] = clip("good1", keypoints("arms_up", 101, 0.9), likes=899, content="same")
    return [
        *good,
        clip("late", keypoints("arms_up", 0, 1.0, LATE), likes=5, creator="by-good2"),
        clip("short", keypoints("arms_up", 1)[:20], likes=4),
        clip("odd", keypoints("kick", 2), likes=3),
        Clip("nobody", "arms", creator="by-nobody", likes=2, nobody=True),
        *(clip(f"few{number}", keypoints("kick", 10 + number), likes=number, challenge="few") for number in range(3)),
    ]


def clip(
    name: str, seen: np.ndarray, likes: int, challenge: str = "arms", creator: str = "", content: str = ""
) -> Clip:
    return Clip(name, challenge, creator=creator or f"by-{name}", likes=likes, frames=len(seen), content=content,
                pose=pose_rows(name, seen))  # fmt: skip


def make_dancing_run(workspace: Path, modalities: tuple[str, ...] = ("pose",)) -> Path:
    files = make_batch(workspace, dancing_clips(), modalities=modalities)
    assemble(DatasetFolder(str(workspace), DATASET), [files], LabelOptions(holdout=0.2))
    train_fusion(DatasetFolder(str(workspace), DATASET), Run(str(workspace), RUN), ONE_EPOCH, CPU)
    score_clips(DatasetFolder(str(workspace), DATASET), Run(str(workspace), RUN), CPU)
    return workspace
