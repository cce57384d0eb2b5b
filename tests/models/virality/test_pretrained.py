"""The bundled network of poses stands beside the trained one, knows dancing, and no label changes it."""

from dataclasses import replace

import numpy as np
import torch
from scipy.stats import spearmanr

from models.virality.config import VdvConfig
from models.virality.inputs import InputSpec, pad
from models.virality.pose_sampling import sample_pose
from models.virality.pretrained import start_pretrained
from models.virality.vdv import Vdv, encode, pose_network
from simulation.training.motion_training import Dances, spearman_with_skill

SPECS = {"pose": InputSpec(9, is_skeleton=True), "face": InputSpec(4)}


def test_the_bundled_network_tells_skill_in_a_world_that_it_never_saw() -> None:
    network = pose_network(VdvConfig())
    start_pretrained(network)
    assert spearman_with_skill(network.eval(), Dances(4321, 96)) > 0.85
    torch.manual_seed(0)
    assert spearman_with_skill(pose_network(VdvConfig()).eval(), Dances(4321, 96)) < 0.7


def test_how_sure_the_pose_network_was_of_a_clip_does_not_change_what_is_said_of_its_dancer() -> None:
    """A constant score in all of its training once made it useless on films, whose scores differ."""
    network = pose_network(VdvConfig())
    start_pretrained(network)
    dances = Dances(4321, 96)
    given = pad([sample_pose(pose, VdvConfig(), None) for pose in dances.poses])
    least, rng = VdvConfig().min_joint_score, np.random.default_rng(0)
    usual = torch.from_numpy(rng.uniform(least, 1, (96, 1, 1, 1))).float()
    values = given.values.clone()
    values[:, :, -1] = torch.where(given.mask, usual, values[:, :, -1])
    with torch.inference_mode():
        before, after = (encode(network.eval(), given._replace(values=of)).score for of in (given.values, values))
    assert np.mean([spearmanr(before[rows], after[rows]).statistic for rows in by_dance(dances)]) > 0.95


def by_dance(dances: Dances) -> list[np.ndarray]:
    return [np.flatnonzero(dances.dance == dance) for dance in np.unique(dances.dance)]


def test_it_stands_beside_poses_alone_and_only_if_asked() -> None:
    config = VdvConfig(modalities=("pose", "face"))
    model = Vdv(config, SPECS)
    assert list(model.pretrained) == ["pose"]
    assert not any(parameter.requires_grad for parameter in model.pretrained.parameters())
    assert [len(model.part(name).network_coefficients) for name in model.modalities] == [2, 1]
    without = Vdv(replace(config, pretrained=False), SPECS)
    assert not without.pretrained
    assert len(without.part("pose").network_coefficients) == 1


def test_dances_are_the_same_each_time_and_ranked_within_the_dance() -> None:
    first, again = Dances(1, 24), Dances(1, 24)
    np.testing.assert_array_equal(first.percentile, again.percentile)
    for rows in by_dance(first):
        assert sorted(first.percentile[rows, 0]) == [(place + 0.5) / len(rows) for place in range(len(rows))]
