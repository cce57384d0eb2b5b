"""Other fusions of the same scores: which modalities have a say, and by how much."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from models.virality.config import VdvConfig
from models.virality.inputs import InputSpec
from models.virality.vdv import Vdv
from pipeline.evaluation.other_fusions import other_fusion_scores
from pipeline.metrics.ranking import ranking_metrics
from pipeline.training.fusion import HeldOut, train_attention

CONFIG = VdvConfig(modalities=("pose", "face", "scene"))
POSE = InputSpec(9, is_skeleton=True)
MODALITIES = ("pose", "face", "scene")
Judged = tuple[Vdv, HeldOut, pd.DataFrame, pd.DataFrame, np.ndarray]


def held_out(count: int = 120, seed: int = 0) -> HeldOut:
    """The skeleton tells most of the label, the face some, the scene nothing."""
    rng = np.random.default_rng(seed)
    place = rng.permutation(count) / count
    noise = rng.normal(size=(count, 3))
    score = (place[:, None] - 0.5) * np.array([4.0, 1.5, 0]) + noise * np.array([0.5, 1, 1])
    present = rng.random((count, 3)) > 0.1
    return HeldOut(
        torch.arange(count), torch.tensor(score).float(), torch.full((count, 3), 0.9), torch.tensor(present),
        torch.zeros(count, dtype=torch.int64), torch.arange(count), torch.tensor(place).float(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def judged() -> Judged:
    """A model whose fusion learned from some clips, the scores of others, their table and percentiles."""
    model = Vdv(CONFIG, {"pose": POSE, "face": InputSpec(4), "scene": InputSpec(4)})
    train_attention(model.fusion, held_out(), CONFIG)
    test = held_out(seed=1)
    scores = pd.DataFrame(
        torch.where(test.present, test.score, torch.nan).numpy(),
        columns=[f"score_{modality}" for modality in MODALITIES],
    )
    fused, _ = model.eval().fusion(test.score, test.quality, test.present)
    scores["score"] = fused.detach().numpy()
    clips = pd.DataFrame({f"quality_{modality}": 0.9 for modality in CONFIG.modalities}, index=scores.index)
    return model, held_out(), scores, clips, test.percentile.numpy()


@pytest.fixture(scope="module")
def fused(judged: Judged) -> pd.DataFrame:
    model, held, scores, clips, _ = judged
    return other_fusion_scores(model, held, scores, clips)


def skill(fused: pd.DataFrame, name: str, percentile: np.ndarray) -> float:
    return ranking_metrics(fused[name].to_numpy(float), percentile)["spearman"]


def test_every_set_of_two_and_more_modalities_is_fused_and_each_modality_removed(fused: pd.DataFrame) -> None:
    assert list(fused) == [
        "mean", "reliability", "best_single", "only_pose+face", "only_pose+scene", "only_face+scene",
        "without_pose", "without_face", "without_scene",
    ]  # fmt: skip


def test_what_tells_most_is_worth_most(judged: Judged, fused: pd.DataFrame) -> None:
    _, _, scores, _, percentile = judged
    assert skill(fused, "reliability", percentile) > skill(fused, "mean", percentile)
    assert skill(fused, "only_pose+face", percentile) > skill(fused, "only_face+scene", percentile) + 0.2
    assert skill(fused, "without_scene", percentile) > skill(fused, "without_pose", percentile) + 0.2
    np.testing.assert_allclose(fused["best_single"].corr(scores["score_pose"]), 1)


def test_a_modality_left_out_has_no_say(judged: Judged, fused: pd.DataFrame) -> None:
    model, held, scores, clips, _ = judged
    other = scores.assign(score_scene=scores["score_scene"] * -7 + 3)
    again = other_fusion_scores(model, held, other, clips)
    for name in ("only_pose+face", "without_scene", "best_single"):
        pd.testing.assert_series_equal(fused[name], again[name])
    assert not fused["mean"].equals(again["mean"])


def test_a_fusion_that_is_given_nothing_says_nothing(judged: Judged) -> None:
    model, held, scores, clips, _ = judged
    alone = scores.assign(score_face=np.nan, score_scene=np.nan)
    of_pose = other_fusion_scores(model, held, alone, clips)
    assert of_pose[["only_face+scene", "without_pose"]].isna().all().all()
    present = scores["score_pose"].notna()
    assert (of_pose["mean"].notna() == present).all()


def test_the_model_itself_is_left_as_it_was(judged: Judged) -> None:
    model, held, scores, clips, _ = judged
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other_fusion_scores(model, held, scores, clips)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_one_modality_leaves_nothing_to_fuse(judged: Judged) -> None:
    _, held, scores, clips, _ = judged
    alone = Vdv(replace(CONFIG, modalities=("pose",)), {"pose": POSE})
    assert other_fusion_scores(alone, held, scores, clips).empty
