"""Other readings of the same evidence: which modalities and which kinds have a say, and by how much."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import rankdata

from models.virality.config import VdvConfig
from models.virality.inputs import InputSpec
from models.virality.joint import Evidence
from models.virality.vdv import Vdv
from pipeline.evaluation.other_fusions import looks_left_out, other_fusion_scores, subsets
from pipeline.metrics.ranking import ranking_metrics
from pipeline.training.fit import Fitted
from pipeline.training.joint import TrainingClips, fit_joint

MODALITIES = ("pose", "face", "scene")
SPECS = {"pose": InputSpec(9, is_skeleton=True), "face": InputSpec(4), "scene": InputSpec(4)}
CLIPS = 120


@dataclass(frozen=True)
class World:
    """Statistics of the pose tell most of the label, those of the face some, of the scene nothing; each modality's
    network tells half as much, and something of its own.
    """

    percentile: np.ndarray
    evidence: dict[str, Evidence]


def world(seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    label = rng.normal(size=CLIPS)
    hidden = rng.normal(size=CLIPS)  # what networks alone tell
    evidence = {}
    for modality, share in zip(MODALITIES, (1.5, 0.6, 0.0), strict=True):
        present = rng.random(CLIPS) > 0.1
        told = share * label + rng.normal(size=CLIPS)
        statistics = np.column_stack([told, rng.normal(size=(CLIPS, 5))]) * present[:, None]
        network = (0.5 * told + 0.8 * share * hidden + 0.5 * rng.normal(size=CLIPS)) * present
        numbers = statistics, np.zeros((CLIPS, 0)), network[:, None], np.zeros(CLIPS), present
        evidence[modality] = Evidence(*(torch.from_numpy(values) for values in numbers))
    return World((rankdata(label + 0.7 * hidden) - 0.5) / CLIPS, evidence)


def fitted(modalities: tuple[str, ...] = MODALITIES) -> Fitted:
    of = world()
    rows = np.arange(CLIPS)
    clips = TrainingClips(rows, np.full(CLIPS, "dance"), rows, of.percentile)
    evidence = {name: of.evidence[name] for name in modalities}
    joint = fit_joint(evidence, clips)
    model = Vdv(VdvConfig(modalities=modalities), SPECS)
    for name in modalities:
        part = joint.parts(evidence)[name][evidence[name].present.numpy()]
        model.part(name).set(spread=float(part.std()))
    return Fitted(model, clips, evidence, joint, {})


@pytest.fixture(scope="module")
def learned() -> Fitted:
    return fitted()


@pytest.fixture(scope="module")
def fused(learned: Fitted) -> pd.DataFrame:
    return other_fusion_scores(learned, world(1).evidence, list(range(CLIPS)))


def skill(fused: pd.DataFrame, name: str) -> float:
    known = fused[name].notna().to_numpy()
    return ranking_metrics(fused[name].to_numpy(float)[known], world(1).percentile[known])["spearman"]


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, []), (2, []), (3, 3 * [2]), (4, 6 * [2] + 4 * [3]), (6, 15 * [2] + 6 * [5])]
)
def test_each_two_modalities_and_all_but_one_are_fitted_anew(count: int, sizes: list[int]) -> None:
    found = subsets("abcdef"[:count])
    assert [len(chosen) for chosen in found] == sizes
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("modalities", "left"),
    [
        ("pose appearance face scene audio",
         {"appearance": "pose face scene audio", "face": "pose appearance scene audio",
          "scene": "pose appearance face audio", "appearance face scene": "pose audio"}),
        ("pose face", {"face": "pose"}),
        ("face scene", {"face": "scene", "scene": "face"}),
        ("pose audio", {}),
        ("face", {}),
    ],
)  # fmt: skip
def test_what_shows_looks_is_left_out_one_by_one_and_all_at_once_as_long_as_something_is_left(
    modalities: str, left: dict[str, str]
) -> None:
    found = {" ".join(names): " ".join(kept) for names, kept in looks_left_out(modalities.split()).items()}
    assert found == left


def test_every_set_of_modalities_is_fitted_anew_and_each_modality_and_kind_is_left_out(fused: pd.DataFrame) -> None:
    assert list(fused) == [
        "networks", "statistics", "no_gates", "mean", "best_single", "only_pose+face", "only_pose+scene",
        "only_face+scene", "only_pose", "without_pose", "without_face", "without_scene",
    ]  # fmt: skip


def test_what_tells_most_is_worth_most(learned: Fitted, fused: pd.DataFrame) -> None:
    assert skill(fused, "no_gates") > skill(fused, "mean")
    assert skill(fused, "only_pose+face") > skill(fused, "only_face+scene") + 0.2
    assert skill(fused, "without_scene") > skill(fused, "without_pose") + 0.2
    pose = learned.joint.parts(world(1).evidence)["pose"]
    present = world(1).evidence["pose"].present.numpy()
    np.testing.assert_allclose(fused["best_single"][present], pose[present])


def test_networks_and_statistics_alone_each_lack_what_the_other_kind_tells(fused: pd.DataFrame) -> None:
    assert skill(fused, "no_gates") > max(skill(fused, "networks"), skill(fused, "statistics"))
    evidence = world(1).evidence
    no_networks = {name: one._replace(networks=torch.zeros(CLIPS, 1)) for name, one in evidence.items()}
    no_statistics = {name: one._replace(statistics=torch.zeros(CLIPS, 6)) for name, one in evidence.items()}
    for kind, changed in (("statistics", no_networks), ("networks", no_statistics)):
        again = other_fusion_scores(fitted(), changed, list(range(CLIPS)))
        pd.testing.assert_series_equal(fused[kind], again[kind])
        assert not fused["mean"].equals(again["mean"])


def test_a_modality_left_out_has_no_say(learned: Fitted, fused: pd.DataFrame) -> None:
    evidence = dict(world(1).evidence)
    evidence["scene"] = evidence["scene"]._replace(statistics=evidence["scene"].statistics * -7)
    again = other_fusion_scores(learned, evidence, list(range(CLIPS)))
    for name in ("only_pose+face", "without_scene", "best_single"):
        pd.testing.assert_series_equal(fused[name], again[name])
    assert not fused["mean"].equals(again["mean"])


def test_a_fusion_that_is_given_nothing_says_nothing(learned: Fitted) -> None:
    evidence = {
        name: one if name == "pose" else Evidence(*(torch.zeros_like(values) for values in one))
        for name, one in world(1).evidence.items()
    }
    of_pose = other_fusion_scores(learned, evidence, list(range(CLIPS)))
    assert of_pose[["only_face+scene", "without_pose"]].isna().all().all()
    present = evidence["pose"].present.numpy()
    for name in ("networks", "mean", "best_single", "without_face"):
        assert (of_pose[name].notna() == present).all()


def test_the_model_itself_is_left_as_it_was(learned: Fitted) -> None:
    before = {name: value.clone() for name, value in learned.model.state_dict().items()}
    other_fusion_scores(learned, world(1).evidence, list(range(CLIPS)))
    assert all(torch.equal(value, before[name]) for name, value in learned.model.state_dict().items())


def test_one_modality_leaves_only_its_kinds_to_choose_from() -> None:
    alone = fitted(("pose",))
    scores = other_fusion_scores(alone, {"pose": world(1).evidence["pose"]}, list(range(CLIPS)))
    assert list(scores) == ["networks", "statistics", "no_gates"]
