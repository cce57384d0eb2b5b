"""The fusion trusts a modality by its scores of clips that it had not seen, and by nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from models.virality.config import VdvConfig
from models.virality.fusion import AttentiveFusion
from pipeline.training.fusion import HeldOut, modality_coefficients, train_attention
from pipeline.training.ridge import normal_score

CONFIG = VdvConfig(seed=3)


def held_out(clips: int = 200, weights: tuple[float, ...] = (1.0, 0.0), noise: float = 0.5, seed: int = 0) -> HeldOut:
    """Scores of a modality a weight; the label is their weighted sum and noise. Spreads differ widely."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(clips, len(weights)))
    label = values @ np.array(weights) + rng.normal(0, noise, clips)
    challenge = np.arange(clips) % 4
    percentile = np.empty(clips)
    for name in range(4):
        rows = challenge == name
        percentile[rows] = (label[rows].argsort().argsort() + 0.5) / rows.sum()
    scores = 3 + values * np.array([5.0, 20.0, 0.1, 1.0])[: len(weights)]
    present = torch.ones(clips, len(weights), dtype=torch.bool)
    return HeldOut(
        torch.arange(clips),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(rng.uniform(0.5, 1, values.shape), dtype=torch.float32),
        present,
        torch.tensor(challenge),
        torch.arange(clips) // 3,
        torch.tensor(percentile, dtype=torch.float32),
    )


def trained(held: HeldOut, config: VdvConfig = CONFIG) -> AttentiveFusion:
    fusion = AttentiveFusion(held.score.shape[1], config.fusion)
    train_attention(fusion, held, config)
    return fusion


def agreement(score: torch.Tensor, held: HeldOut) -> float:
    by_challenge = [held.challenge == name for name in held.challenge.unique()]
    correlations = [
        spearmanr(score[rows].detach().numpy(), held.percentile[rows].numpy()).statistic for rows in by_challenge
    ]
    return float(np.mean(correlations))


@pytest.mark.parametrize("seed", range(4))
def test_a_modality_of_noise_gets_next_to_no_weight_and_costs_nothing(seed: int) -> None:
    fusion, unseen = trained(held_out(seed=seed)), held_out(seed=100 + seed)
    score, attention = fusion(unseen.score, unseen.quality, unseen.present)
    assert attention[:, 1].mean() < 0.15
    assert agreement(score, unseen) > agreement(unseen.score[:, 0], unseen) - 0.02


def test_few_clips_do_not_tell_apart_modalities_that_are_nearly_equal_and_many_do() -> None:
    """Weights fitted to few clips differ by luck; those of modalities that do differ are kept."""

    def apart(clips: int, weights: tuple[float, ...], seed: int) -> float:
        fitted = trained(
            held_out(clips, weights, noise=2.0, seed=seed), replace(CONFIG, fusion="reliability")
        ).reliability
        return float(fitted.std() / fitted.mean())

    plain = [modality_coefficients(held_out(120, (1.0, 1.0, 1.0), noise=2.0, seed=seed)) for seed in range(8)]
    luck = np.mean([slopes.std(ddof=1) / slopes.mean() for slopes in plain])
    assert np.mean([apart(120, (1.0, 1.0, 1.0), seed) for seed in range(8)]) < 0.5 * luck
    true = np.std([1.5, 1.0, 0.5], ddof=1)
    assert apart(4000, (1.5, 1.0, 0.5), 0) == pytest.approx(true, rel=0.25)


def test_modalities_that_each_hold_a_part_are_better_together() -> None:
    fusion, unseen = trained(held_out(weights=(1.0, 0.6, 0.6))), held_out(weights=(1.0, 0.6, 0.6), seed=100)
    score, attention = fusion(unseen.score, unseen.quality, unseen.present)
    best = max(agreement(unseen.score[:, modality], unseen) for modality in range(3))
    assert agreement(score, unseen) > best + 0.05
    by_hand = (unseen.score - 3) / torch.tensor([5.0, 20.0, 0.1]) @ torch.tensor([1.0, 0.6, 0.6])
    assert agreement(score, unseen) > agreement(by_hand, unseen) - 0.03
    assert attention.mean(0).argmax() == 0


def test_a_modality_that_is_poor_where_its_quality_is_low_is_weighed_clip_by_clip() -> None:
    def muddied(seed: int) -> HeldOut:
        held = held_out(240, weights=(1.0, 1.0), seed=seed)
        rng = torch.Generator().manual_seed(seed)
        poor = torch.rand(len(held.score), generator=rng) < 0.5
        score, quality = held.score.clone(), torch.where(poor, 0.1, 0.9)[:, None].repeat(1, 2)
        score[poor, 0] = 3 + 5 * torch.randn(int(poor.sum()), generator=rng)
        quality[:, 1] = 0.9
        return replace(held, score=score, quality=quality)

    fusion, unseen = trained(muddied(0)), muddied(1)
    score, attention = fusion(unseen.score, unseen.quality, unseen.present)
    poor = unseen.quality[:, 0] < 0.5
    assert attention[poor, 0].mean() < attention[~poor, 0].mean() - 0.2
    assert score[poor].abs().mean() < score[~poor].abs().mean()
    weights = fusion.reliability / fusion.reliability.sum()
    constant = (unseen.score - fusion.centre) / fusion.spread @ weights
    assert agreement(score, unseen) > agreement(constant, unseen) + 0.05


def test_where_no_clip_calls_for_other_weights_attention_costs_nothing() -> None:
    unseen, lost = held_out(3000, weights=(1.0, 0.5, 0.5), noise=1.0, seed=100), []
    for seed in range(6):
        held = held_out(200, weights=(1.0, 0.5, 0.5), noise=1.0, seed=seed)
        attentive, constant = (trained(held, replace(CONFIG, fusion=mode)) for mode in ("attention", "reliability"))
        fused = [fusion(unseen.score, unseen.quality, unseen.present)[0] for fusion in (attentive, constant)]
        lost.append(agreement(fused[1], unseen) - agreement(fused[0], unseen))
    assert np.mean(lost) < 0.003
    assert max(lost) < 0.02


def test_the_scale_in_which_an_encoder_scores_does_not_matter() -> None:
    held = held_out(weights=(1.0, 0.6))
    stretched = replace(held, score=held.score * torch.tensor([40.0, 0.01]) - 7)
    plain, _ = trained(held)(held.score, held.quality, held.present)
    other, _ = trained(stretched)(stretched.score, stretched.quality, stretched.present)
    torch.testing.assert_close(plain, other, atol=1e-2, rtol=0)


def test_a_clip_known_by_a_poor_modality_alone_is_placed_near_the_middle() -> None:
    held = held_out(weights=(1.0, 0.3))
    fusion = trained(held)
    with_both, _ = fusion(held.score, held.quality, held.present)
    poor_only = held.present & torch.tensor([False, True])
    alone, attention = fusion(held.score, held.quality, poor_only)
    assert (attention[:, 1] == 1).all()
    assert alone.std() < 0.6 * with_both.std()
    assert spearmanr(alone.detach(), held.score[:, 1]).statistic > 0.99


def test_with_nothing_held_out_the_fusion_stays_the_mean() -> None:
    nothing = HeldOut(*(value[:0] for value in vars(held_out()).values()))
    fusion = trained(nothing)
    score, attention = fusion(torch.tensor([[1.0, 3.0]]), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(score, torch.tensor([2.0]))
    torch.testing.assert_close(attention, torch.full((1, 2), 0.5))


@pytest.mark.parametrize("clips", [1, 2, 3, 6])
def test_few_clips_held_out_give_finite_weights(clips: int) -> None:
    held = HeldOut(*(value[:clips] for value in vars(held_out(seed=5)).values()))
    score, attention = trained(held)(held.score, held.quality, held.present)
    assert score.isfinite().all()
    torch.testing.assert_close(attention.sum(1), torch.ones(clips))


def test_the_seed_decides_the_weights() -> None:
    held = held_out()
    first, again = trained(held).state_dict(), trained(held).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_fused_score_is_on_the_labels_own_scale() -> None:
    fusion, unseen = trained(held_out(weights=(1.0, 0.7))), held_out(weights=(1.0, 0.7), seed=100)
    score, _ = fusion(unseen.score, unseen.quality, unseen.present)
    normal = normal_score(unseen.percentile.numpy())
    slope = np.polyfit(score.detach().numpy(), normal, 1)[0]
    assert 0.8 < slope < 1.25


def test_a_modality_is_never_trusted_less_for_being_seen_better() -> None:
    """Where chance has it that the label goes with the worse seen, as here by construction, quality decides nothing."""
    held = held_out(240, weights=(1.0, 1.0))
    order = (held.percentile - 0.5).abs().argsort()
    quality = torch.full_like(held.quality, 0.5)
    quality[order[:120], 0] = 0.9
    held = replace(held, quality=quality)
    score = held.score.clone()
    score[order[:120], 0] = 3.0 + 5.0 * torch.randn(120, generator=torch.Generator().manual_seed(0))
    fusion = trained(replace(held, score=score))
    assert (fusion.steepness >= 0).all()
    assert fusion.steepness[0] < 0.02


def test_a_quality_that_never_changes_moves_nothing() -> None:
    held = held_out(weights=(1.0, 1.0))
    fusion = trained(replace(held, quality=torch.full_like(held.quality, 0.7)))
    some, other = (fusion(held.score, torch.full_like(held.quality, at), held.present)[0] for at in (0.7, 0.1))
    torch.testing.assert_close(some, other)
