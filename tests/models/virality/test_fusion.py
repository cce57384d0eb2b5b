"""Fusion of predictions, the loss, and the whole model on clips that lack this or that."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from models.virality.config import FUSIONS, VdvConfig
from models.virality.fusion import AttentiveFusion
from models.virality.inputs import InputSpec, ModalityInput
from models.virality.losses import percentile_huber, ranknet
from models.virality.vdv import Vdv

SMALL = VdvConfig(
    frames=8, joint_channels=8, part_channels=8, body_channels=8, refined_channels=8, blocks=1, width=16,
    dilations=(1, 2), relations_after=(2,),
)  # fmt: skip
SPECS = {
    "pose": InputSpec(9, is_skeleton=True),
    "appearance": InputSpec(12),
    "face": InputSpec(10),
    "scene": InputSpec(6 + 4, 4),
}


def model() -> Vdv:
    torch.manual_seed(0)
    whole = Vdv(SMALL, SPECS)
    whole.fusion.calibrate(usual=torch.full((4,), 0.5), varies=torch.full((4,), 0.3), steepness=torch.rand(4))
    return whole.eval()


def batch(clips: int = 4, frames: int = 5) -> dict[str, ModalityInput]:
    torch.manual_seed(1)
    seen = torch.ones(clips, 2, 8, 17, dtype=torch.bool)
    modalities = {"pose": ModalityInput(torch.randn(clips, 2, 9, 8, 17), seen, torch.rand(clips))}
    for name, width in ((name, spec.width) for name, spec in SPECS.items() if not spec.is_skeleton):
        mask = torch.ones(clips, frames, dtype=torch.bool)
        modalities[name] = ModalityInput(torch.randn(clips, frames, width), mask, torch.rand(clips))
    return modalities


def without(modalities: dict[str, ModalityInput], names: tuple[str, ...], clip: int) -> dict[str, ModalityInput]:
    changed = dict(modalities)
    for name in names:
        mask = modalities[name].mask.clone()
        mask[clip] = False
        changed[name] = modalities[name]._replace(mask=mask)
    return changed


def test_every_subset_of_modalities_gives_a_finite_score_and_attention_on_what_is_there() -> None:
    whole, modalities = model(), batch()
    for count in range(4):
        for names in itertools.combinations(modalities, count):
            prediction = whole(without(modalities, names, clip=2))
            assert prediction.score.isfinite().all()
            assert not prediction.abstained.any()
            torch.testing.assert_close(prediction.attention.sum(1), torch.ones(4))
            assert all(prediction.attention[2, whole.modalities.index(name)] == 0 for name in names)


def test_a_clip_with_nothing_is_abstained_on_and_changes_no_other() -> None:
    whole, modalities = model(), batch()
    prediction, usual = whole(without(modalities, tuple(modalities), clip=2)), whole(modalities)
    assert prediction.abstained.tolist() == [False, False, True, False]
    assert prediction.score[2] == 0
    assert not prediction.attention[2].any()
    torch.testing.assert_close(prediction.score[[0, 1, 3]], usual.score[[0, 1, 3]])


def test_the_fused_score_lies_between_the_modalities() -> None:
    whole, modalities = model(), batch()
    prediction = whole(
        {name: modality._replace(quality=torch.full((4,), 0.5)) for name, modality in modalities.items()}
    )
    alone = torch.stack([one.score for one in prediction.encoded.values()], 1)
    assert (prediction.score <= alone.amax(1) + 1e-6).all()
    assert (prediction.score >= alone.amin(1) - 1e-6).all()


def test_a_modality_seen_worse_than_usual_has_less_weight_and_the_score_is_nearer_the_middle() -> None:
    fusion = AttentiveFusion(2)
    fusion.calibrate(usual=torch.full((2,), 0.6), varies=torch.full((2,), 0.2), steepness=torch.tensor([1.0, 0.0]))
    scores, present = torch.ones(3, 2), torch.ones(3, 2, dtype=torch.bool)
    quality = torch.tensor([[0.6, 0.6], [0.4, 0.6], [-9.0, 0.6]])
    fused, attention = fusion(scores, quality, present)
    worse, worst = math.exp(-1), math.exp(-3)
    torch.testing.assert_close(attention[:, 0], torch.tensor([0.5, worse / (1 + worse), worst / (1 + worst)]))
    torch.testing.assert_close(fused, torch.tensor([1.0, (1 + worse) / 2, (1 + worst) / 2]))


def test_an_untrained_fusion_is_the_mean_drawn_to_the_middle_by_what_is_missing() -> None:
    torch.manual_seed(0)
    fusion = AttentiveFusion(3).eval()
    scores, present = torch.randn(2, 3), torch.tensor([[True, True, True], [True, False, True]])
    fused, _ = fusion(scores, torch.rand(2, 3), present)
    torch.testing.assert_close(fused, torch.stack([scores[0].mean(), scores[1, [0, 2]].mean() * 2 / 3]))


def test_scores_are_summed_in_units_of_their_spread_by_their_reliability() -> None:
    fusion = AttentiveFusion(2).eval()
    fusion.calibrate(
        centre=torch.tensor([10.0, 0.0]), spread=torch.tensor([30.0, 1.0]), reliability=torch.tensor([0.6, 0.2])
    )
    fused, attention = fusion(torch.tensor([[40.0, -1.0]]), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(attention, torch.tensor([[0.75, 0.25]]))
    torch.testing.assert_close(fused, torch.tensor([0.75 * 1 - 0.25 * 1]))


def test_a_modality_without_reliability_has_a_say_only_where_it_is_alone() -> None:
    fusion = AttentiveFusion(2).eval()
    fusion.calibrate(reliability=torch.tensor([0.5, 0.0]))
    present = torch.tensor([[True, True], [False, True]])
    fused, attention = fusion(torch.tensor([[1.0, 5.0], [1.0, 5.0]]), torch.ones(2, 2), present)
    assert attention[0, 1] < 0.002
    assert attention[1].tolist() == [0, 1]
    assert 0 < fused[1] < 0.01


def test_fusion_by_reliability_is_the_attention_before_it_moves_and_by_mean_knows_no_reliability() -> None:
    torch.manual_seed(0)
    scores, quality, present = torch.randn(6, 3), torch.rand(6, 3), torch.rand(6, 3) > 0.2
    outputs = {}
    for mode in FUSIONS:
        fusion = AttentiveFusion(3, mode=mode).eval()
        fusion.calibrate(reliability=torch.tensor([0.6, 0.3, 0.1]))
        outputs[mode] = fusion(scores, quality, present)
    for still, plain in zip(outputs["attention"], outputs["reliability"], strict=True):
        torch.testing.assert_close(still, plain)
    torch.testing.assert_close(outputs["mean"][0], (scores * present).mean(1))
    torch.testing.assert_close(outputs["mean"][1], present / present.sum(1, keepdim=True).clamp(min=1))
    with pytest.raises(ValueError, match="none of attention, reliability, mean"):
        AttentiveFusion(3, mode="median")


@pytest.mark.parametrize("mode", FUSIONS)
def test_a_model_fuses_as_its_config_says(mode: str) -> None:
    assert Vdv(replace(SMALL, fusion=mode), SPECS).fusion.mode == mode


def test_what_an_absent_modality_scored_has_no_influence() -> None:
    fusion = AttentiveFusion(2).eval()
    present = torch.tensor([[True, False]])
    fused = [fusion(torch.tensor([[1.0, other]]), torch.ones(1, 2), present)[0] for other in (0.0, float("nan"))]
    assert fused[0] == fused[1]


def test_the_fused_score_teaches_no_encoder() -> None:
    whole = model().train()
    assert not whole(batch()).score.requires_grad


def test_samplings_of_a_clip_are_averaged() -> None:
    whole, modalities = model(), batch()
    both = whole(modalities).encoded["pose"].score
    each = [
        whole({**modalities, "pose": modalities["pose"]._replace(
            values=modalities["pose"].values[:, [turn]], mask=modalities["pose"].mask[:, [turn]]
        )}).encoded["pose"].score
        for turn in (0, 1)
    ]  # fmt: skip
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)


def test_a_model_needs_a_modality() -> None:
    with pytest.raises(ValueError, match="at least one modality"):
        Vdv(VdvConfig(modalities=()), {})


@pytest.mark.parametrize("tau", [0.0, 0.3])
def test_ranknet_equals_two_loops(tau: float) -> None:
    torch.manual_seed(0)
    score, target = torch.randn(12, dtype=torch.float64), torch.rand(12, dtype=torch.float64).round(decimals=1)
    challenge, counted = torch.randint(0, 3, (12,)), torch.rand(12) > 0.2
    total, pairs = 0.0, 0
    for i in range(12):
        for j in range(12):
            same = challenge[i] == challenge[j] and counted[i] and counted[j]
            if same and target[i] - target[j] > tau:
                total += math.log(1 + math.exp(-(score[i] - score[j])))
                pairs += 1
    assert pairs > 3
    assert ranknet(score, target, challenge, counted, tau).item() == pytest.approx(total / pairs, abs=1e-12)


def test_ranknet_without_a_pair_is_zero_with_zero_gradients() -> None:
    score = torch.randn(3, requires_grad=True)
    loss = ranknet(score, torch.rand(3), torch.arange(3), torch.ones(3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert score.grad is not None
    assert not score.grad.any()


def test_clips_without_labels_enter_no_loss() -> None:
    score, target, counted = torch.randn(4), torch.rand(4), torch.tensor([True, True, False, False])
    other = torch.where(counted, score, 99.0)
    same = torch.zeros(4, dtype=torch.int64)
    assert ranknet(score, target, same, counted) == ranknet(other, target, same, counted)
    assert percentile_huber(score, target, counted) == percentile_huber(other, target, counted)


def test_a_config_survives_json_and_refuses_what_it_does_not_know() -> None:
    import dataclasses
    import json

    assert VdvConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(SMALL)))) == SMALL
    with pytest.raises(ValueError, match="epoch_count"):
        VdvConfig.from_dict({"epoch_count": 3})
    with pytest.raises(ValueError, match="at least 2"):
        VdvConfig(inner_folds=1)
