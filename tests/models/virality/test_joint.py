"""A part of the score: nothing till it is fitted, and no clip is so odd that it leaves what training has shown."""

import numpy as np
import pytest
import torch

from models.virality.joint import Part

LIMIT = 4.0
ONE = torch.ones(1, dtype=torch.bool)
NONE = torch.zeros(1)


def part(*coefficients: float, **values: float) -> Part:
    """Of statistics whose mean is 0 and whose deviation is 1."""
    fitted = Part(len(coefficients), LIMIT)
    fitted.set(coefficients=torch.tensor(coefficients), **values)
    return fitted


def value(fitted: Part, *statistics: float, network: float = 0.0, quality: float = 0.0) -> float:
    given = (torch.tensor([statistics]), torch.tensor([[network]]), torch.tensor([quality]))
    return fitted(fitted.read(*given, ONE)).item()


def test_a_part_that_is_not_fitted_adds_nothing_and_has_nothing_for_an_optimiser() -> None:
    fitted = part(0.0, 0.0)
    assert value(fitted, 3.0, -2.0, network=5.0) == 0
    assert not list(fitted.parameters())
    assert set(fitted.state_dict()) >= {"coefficients", "network_coefficients", "slope", "longest"}


def test_a_statistic_counts_in_deviations_from_its_mean_and_an_unknown_one_as_the_mean() -> None:
    fitted = part(1.0, 3.0)
    fitted.set(mean=torch.tensor([10.0, 0.0]), scale=torch.tensor([5.0, 1.0]))
    assert value(fitted, 11.0, 0.0) == pytest.approx(LIMIT * np.tanh(0.2 / LIMIT))
    assert value(fitted, 10.0, torch.nan) == 0
    fitted.set(scale=torch.tensor([torch.inf, 1.0]))
    assert value(fitted, 99.0, 0.0) == 0, "one that never changes says nothing"


@pytest.mark.parametrize("outlier", [1e3, 1e9, float("inf")])
def test_a_single_outlier_counts_for_a_few_deviations(outlier: float) -> None:
    assert value(part(1.0, 3.0), outlier, 0.0) == pytest.approx(LIMIT, rel=1e-3)


def test_a_clip_further_away_than_any_trained_on_is_drawn_in_to_the_furthest() -> None:
    fitted = part(1.0, 1.0, longest=1.0)
    near = LIMIT * np.tanh(0.3 / LIMIT)
    assert value(fitted, 0.3, 0.3) == pytest.approx(2 * near), "nearer ones stay where they are"
    assert value(fitted, 9.0, 9.0) == pytest.approx(np.sqrt(2)), "the direction is kept"
    assert value(fitted, 9.0, -9.0) == pytest.approx(0, abs=1e-6)


def test_waves_give_a_smooth_kernel_of_the_distance_that_two_clips_have() -> None:
    torch.manual_seed(0)
    fitted, standard = Part(30, LIMIT), torch.randn(40, 30)
    fitted.set(width=8.0)
    waves = fitted.waves(standard)
    distance = torch.cdist(standard, standard)
    expected = torch.exp(-(distance**2) / (2 * 8.0**2))
    assert (waves @ waves.T - expected).abs().max() < 0.1, "as far as some hundred waves can tell"
    assert torch.equal(Part(30, LIMIT).directions, fitted.directions), "the same in every model"


def test_waves_add_to_the_part_less_what_they_are_on_average() -> None:
    fitted = part(0.0, 0.0)
    at = torch.tensor([[0.5, -1.0]])
    fitted.set(wave_coefficients=torch.ones_like(fitted.wave_coefficients))
    fitted.set(waves_centre=fitted.waves(torch.zeros(1, 2))[0])
    assert value(fitted, 0.0, 0.0) == pytest.approx(0.0, abs=1e-5)
    expected = (fitted.waves(fitted.limited(at)) - fitted.waves_centre).sum().item()
    assert value(fitted, *at[0].tolist()) == pytest.approx(expected, rel=1e-4)
    assert abs(expected) > 0.1


@pytest.mark.parametrize("score", [1e3, -1e9])
def test_a_network_that_is_beside_itself_counts_for_a_few_deviations(score: float) -> None:
    fitted = part(0.0, network_coefficients=0.5, network_mean=1.0, network_scale=2.0)
    assert value(fitted, 0.0, network=3.0) == pytest.approx(0.5)
    assert abs(value(fitted, 0.0, network=score)) <= 0.5 * LIMIT


def test_quality_fades_the_part_or_lifts_it_within_bounds_and_one_that_never_changes_does_not() -> None:
    fitted = part(1.0, slope=0.5, usual=0.6, varies=0.2)
    usual = value(fitted, 1.0, quality=0.6)
    for quality, deviations in ((0.4, -1), (0.8, 1), (0.0, -3), (-9.0, -3), (9.0, 3)):
        assert value(fitted, 1.0, quality=quality) == pytest.approx(usual * np.exp(0.5 * deviations), rel=1e-5)
    fitted.set(varies=torch.inf)
    assert value(fitted, 1.0, quality=0.1) == pytest.approx(usual)


def test_whatever_an_absent_clip_holds_gives_nothing() -> None:
    fitted = part(1.0, network_coefficients=1.0, slope=0.5)
    unknown = torch.full((1,), torch.nan)
    evidence = fitted.read(unknown[None], unknown[None], unknown, ~ONE)
    assert not any(value.any() for value in evidence)
    assert fitted(evidence).item() == 0
