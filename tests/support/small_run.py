"""A small run to recommend from: trained, judged by folds, scored, with whatever a clip can lack."""

from dataclasses import replace
from pathlib import Path

from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import LabelOptions
from pipeline.evaluation.evaluate import cross_validate_run
from pipeline.runs.run import Run
from pipeline.runs.train import train_fusion
from pipeline.scoring.scores import score_clips
from tests.pipeline.runs.test_train import CPU, ONE_EPOCH
from tests.support.learnable_world import Clip, make_batch, speed_decides

RUN = "runs/" + "a" * 16
# New ones are without likes; the first two are one file, uploaded by two creators.
ODD = (
    Clip("twin0", creator="ann", likes=400, speed=1.4, content="twins", uploaded_at="2024-06-01"),
    Clip("twin1", creator="bob", likes=300, speed=1.4, content="twins", uploaded_at="2024-06-02"),
    Clip("new0", creator="zoe", speed=1.3, uploaded_at="2024-07-01"),
    Clip("new1", creator="zoe", speed=1.2, uploaded_at="2024-07-02T12:00:00+00:00"),
    Clip("new2", "wave", creator="yan", speed=0.3, uploaded_at="2024-07-03"),
    Clip("nobody", "wave", creator="yan", likes=9, nobody=True, uploaded_at="2024-05-01"),
    Clip("anonymous", "wave", likes=90, speed=1.0),
    Clip("broken", "wave", creator="xia", likes=9, fails="corrupt"),
)


def make_run(workspace: Path) -> Path:
    """Of poses and scenes, in two challenges; old clips have two creators' worth of clips each."""
    old = [replace(clip, creator=f"creator{place // 4}") for place, clip in enumerate(speed_decides(32, seed=1))]
    files = make_batch(workspace, [*old, *ODD], modalities=("pose", "scene"))
    dataset = "datasets/one"
    assemble(DatasetFolder(str(workspace), dataset), [files], LabelOptions(holdout=0.2))
    train_fusion(DatasetFolder(str(workspace), dataset), Run(str(workspace), RUN), ONE_EPOCH, CPU)
    cross_validate_run(DatasetFolder(str(workspace), dataset), Run(str(workspace), RUN), CPU, folds=2)
    score_clips(DatasetFolder(str(workspace), dataset), Run(str(workspace), RUN), CPU)
    return workspace
