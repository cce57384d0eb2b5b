"""The joint model's fit: it finds what decides, shares out what is said twice, and equals what it is by definition."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr
from torch import Tensor

import pipeline.training.joint as joint_module
from models.virality.config import CONTEXT
from models.virality.joint import Evidence, Part
from pipeline.training.joint import KINDS, NETWORK, NETWORKS, STATISTICS, Joint, TrainingClips, calibrate, fit_joint

WIDTH = 12


class World:
    """Two modalities whose first statistic decides half of the label each, the rest is noise; three clips a creator."""

    def __init__(self, clips: int = 240, seed: int = 0, creator: float = 0.0):
        rng = np.random.default_rng(seed)
        self.statistics = rng.normal(size=(2, clips, WIDTH))
        self.part = 0.7 * self.statistics[:, :, 0]
        self.challenge = np.array([f"dance{n % 4}" for n in range(clips)])
        self.group = np.arange(clips) // 3
        effect = creator * rng.normal(size=clips)[self.group]
        label = self.part.sum(0) + effect + 0.5 * rng.normal(size=clips)
        ranks = np.empty(clips)
        for name in np.unique(self.challenge):
            rows = self.challenge == name
            ranks[rows] = (label[rows].argsort().argsort() + 0.5) / rows.sum()
        self.percentile = ranks
        self.network = rng.normal(size=(2, clips))
        self.clarity = np.zeros((2, clips))
        self.present = np.ones((2, clips), bool)

    @property
    def clips(self) -> TrainingClips:
        return TrainingClips(np.arange(len(self.group)), self.challenge, self.group, self.percentile)

    def evidence(self) -> dict[str, Evidence]:
        return {
            f"modality{n}": Evidence(
                torch.from_numpy(self.statistics[n] * self.present[n][:, None]),
                torch.zeros(len(self.group), 0),
                torch.from_numpy(self.network[n] * self.present[n])[:, None],
                torch.from_numpy(self.clarity[n]),
                torch.from_numpy(self.present[n]),
            )
            for n in range(2)
        }


def score(joint: Joint, world: World) -> np.ndarray:
    return np.sum(list(joint.parts(world.evidence()).values()), 0)


def test_what_decides_is_found_and_each_modality_has_its_own_part() -> None:
    world, fresh = World(), World(seed=1)
    joint = fit_joint(world.evidence(), world.clips)
    parts = joint.parts(fresh.evidence())
    for n, part in enumerate(parts.values()):
        assert spearmanr(part, fresh.part[n]).statistic > 0.95
        assert abs(spearmanr(part, fresh.part[1 - n]).statistic) < 0.3
    assert spearmanr(score(joint, fresh), fresh.part.sum(0)).statistic > 0.97


def test_more_statistics_than_clips_are_learned_and_noise_predicts_next_to_nothing() -> None:
    world = World(120)
    rng = np.random.default_rng(3)
    world.statistics = np.concatenate([world.statistics, rng.normal(size=(2, 120, 300))], 2)
    joint = fit_joint(world.evidence(), world.clips)
    assert all(np.abs(values).argmax() == 0 for (_, kind), values in joint.coefficients.items() if kind == STATISTICS)
    world.statistics = rng.normal(size=(2, 120, 300))
    assert score(fit_joint(world.evidence(), world.clips), world).std() < 0.3


def test_a_network_that_says_what_the_statistics_say_counts_once_and_one_that_says_more_is_heard() -> None:
    world = World()
    usual = fit_joint(world.evidence(), world.clips).coefficients["modality0", STATISTICS][0]
    world.network[0] = world.statistics[0, :, 0] + 0.3 * world.network[0]  # the same again, less clearly
    hidden = world.part[1] / 0.7
    world.statistics[1] = np.random.default_rng(9).normal(size=world.statistics[1].shape)
    world.network[1] = hidden + 0.5 * world.network[1]  # what no statistic tells
    joint = fit_joint(world.evidence(), world.clips)
    both = joint.coefficients["modality0", STATISTICS][0] + joint.coefficients["modality0", NETWORK][0]
    assert both == pytest.approx(usual, rel=0.3)
    assert joint.coefficients["modality1", NETWORK][0] > 0.3


def test_what_does_not_grow_evenly_is_found_by_curves_and_a_line_stays_a_line() -> None:
    rng = np.random.default_rng(8)
    ones, quality = torch.ones(400, dtype=torch.bool), torch.ones(400)
    given, fresh = torch.from_numpy(rng.normal(size=(2, 400, 2))).float()
    clips = TrainingClips(np.arange(400), np.full(400, "one"), np.arange(400), np.zeros(400))

    def found(truth: Callable[[Tensor], Tensor], kinds: Sequence[str]) -> float:
        label = truth(given).numpy() + 0.3 * rng.normal(size=400)
        part = Part(2, 4.0, networks=0)
        evidence = {"pose": calibrate(part, given, torch.zeros(400, 0), quality, ones)}
        joint = fit_joint(evidence, replace(clips, percentile=(rankdata(label) - 0.5) / 400), kinds=kinds)
        parts = joint.parts({"pose": part.read(fresh, torch.zeros(400, 0), quality, ones)})
        return float(spearmanr(parts["pose"], truth(fresh)).statistic)

    assert found(lambda of: -of.norm(dim=1), (STATISTICS,)) < 0.3, "best in the middle: no line tells"
    assert found(lambda of: -of.norm(dim=1), KINDS) > 0.95
    assert found(lambda of: of.sum(1), KINDS) > 0.99


def test_a_network_is_never_turned_round() -> None:
    world = World()
    world.network[:] = -world.part
    joint = fit_joint(world.evidence(), world.clips)
    assert all(kind not in NETWORKS for _, kind in joint.coefficients)


def test_a_modality_seen_badly_counts_less_and_only_where_that_is_so() -> None:
    world = World(320)
    rng = np.random.default_rng(4)
    world.clarity[:] = rng.normal(size=world.clarity.shape).clip(-3, 3)
    fades = np.exp(0.5 * world.clarity[0])
    world.statistics[0, :, 0] = world.part[0] / 0.7 / fades  # the worse it is seen, the more is noise
    joint = fit_joint(world.evidence(), world.clips)
    assert joint.slopes["modality0"] > 0.25
    assert joint.slopes["modality1"] < 0.1
    assert not any(fit_joint(world.evidence(), world.clips, gates=False).slopes.values())


def test_what_creators_have_in_common_is_not_learned_as_content() -> None:
    """Statistics that only say who dances predict clips of creators seen, and nobody else's."""
    world = World(creator=1.5)
    rng = np.random.default_rng(5)
    world.statistics = np.repeat(rng.normal(size=(2, 80, WIDTH)), 3, 1)
    joint = fit_joint(world.evidence(), world.clips)
    assert joint.creator > 0.3
    assert abs(spearmanr(joint.held_out, world.percentile).statistic) < 0.2


def test_a_creators_record_is_not_left_to_the_effect_that_nobody_new_has() -> None:
    """A record of earlier clips says what the creator's effect says, and the effect would win among clips seen."""
    world, fresh = World(creator=1.5), World(seed=1)
    target = joint_module.normal_score(world.percentile)
    earlier = np.array([target[(world.group == one)][:place].mean() if place else 0.0
                        for one, place in zip(world.group, np.arange(240) % 3, strict=True)])  # fmt: skip
    ones, clarity = torch.ones(240, dtype=torch.bool), torch.zeros(240)
    none = torch.zeros(240, 0)
    record = {CONTEXT: Evidence(torch.from_numpy(earlier)[:, None], none, none, clarity, ones)}
    joint = fit_joint(world.evidence() | record, world.clips)
    assert joint.coefficients[CONTEXT, STATISTICS][0] > 0.3
    assert joint.creator < 1e-3
    parts = joint.parts(fresh.evidence() | record)
    for n in range(2):
        assert spearmanr(parts[f"modality{n}"], fresh.part[n]).statistic > 0.8
    networks = fit_joint(world.evidence() | record, world.clips, kinds=(NETWORK,))
    assert (CONTEXT, STATISTICS) in networks.coefficients, "whatever else is left out"


def test_scores_held_out_are_of_the_model_fitted_without_the_creator() -> None:
    world = World(60, creator=1.0)
    target = joint_module.normal_score(world.percentile)
    design = world.statistics[0] * 0.4
    held_out, _ = joint_module._posterior(design, target, world.challenge, world.group, 0.2, 0.5)
    for group in (0, 7):
        others = world.group != group
        kernel = design @ design.T + joint_module._INTERCEPT * (world.challenge[:, None] == world.challenge)
        noisy = kernel + 0.2 * (world.group[:, None] == world.group) + 0.5 * np.eye(60)
        expected = kernel[~others][:, others] @ np.linalg.solve(noisy[np.ix_(others, others)], target[others])
        np.testing.assert_allclose(held_out[~others], expected, atol=1e-9)


@pytest.mark.parametrize("columns", [20, 200])
def test_weights_are_those_of_the_dense_gaussian_process(columns: int) -> None:
    """Fewer columns than clips and more: both ways equal the textbook's formula."""
    rng = np.random.default_rng(6)
    design, target = rng.normal(size=(90, columns)), rng.normal(size=90)
    challenge, group = np.array([f"d{n % 3}" for n in range(90)]), np.arange(90) // 2
    _, weights = joint_module._posterior(design, target, challenge, group, 0.3, 0.6)
    covariance = (
        design @ design.T
        + joint_module._INTERCEPT * (challenge[:, None] == challenge)
        + 0.3 * (group[:, None] == group)
        + 0.6 * np.eye(90)
    )
    np.testing.assert_allclose(weights, design.T @ np.linalg.solve(covariance, target), atol=1e-9)


def test_a_part_of_the_clips_gives_nearly_the_variances_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(320)
    whole = fit_joint(world.evidence(), world.clips)
    monkeypatch.setattr(joint_module, "CLIPS", 200)
    part = fit_joint(world.evidence(), world.clips)
    assert part.variances != whole.variances
    assert spearmanr(score(part, world), score(whole, world)).statistic > 0.98


def test_missing_modalities_empty_ones_and_a_single_clip_do_no_harm() -> None:
    world = World()
    world.present[0, ::2] = False
    joint = fit_joint(world.evidence(), world.clips)
    assert (joint.parts(world.evidence())["modality0"][::2] == 0).all()
    world.present[0] = False
    joint = fit_joint(world.evidence(), world.clips)
    assert all(name == "modality1" for name, _ in joint.coefficients)
    world.present[:] = False
    assert not score(fit_joint(world.evidence(), world.clips), world).any()
    lonely = World(3)
    assert np.isfinite(score(fit_joint(lonely.evidence(), lonely.clips), lonely)).all()
