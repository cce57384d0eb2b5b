"""The whole model on clips that lack this or that: what is there decides, by parts that add up to the score."""

import dataclasses
import itertools
import json

import pytest
import torch

from models.virality.config import VdvConfig
from models.virality.inputs import InputSpec, ModalityInput
from models.virality.vdv import Vdv
from tests.support.small_networks import wake

SPECS = {
    "pose": InputSpec(9, is_skeleton=True),
    "appearance": InputSpec(12),
    "face": InputSpec(10),
    "scene": InputSpec(6 + 4, 4),
}
SMALL = VdvConfig(
    modalities=tuple(SPECS), frames=8, joint_channels=8, part_channels=8, body_channels=8, refined_channels=8,
    blocks=1, width=16, dilations=(1, 2), relations_after=(2,),
)  # fmt: skip
USUAL = 0.5  # quality


def model() -> Vdv:
    """Everything that may move the score does."""
    torch.manual_seed(0)
    whole = Vdv(SMALL, SPECS)
    wake(whole.encoders)
    for name in whole.modalities:
        part = whole.part(name)
        part.set(coefficients=0.1 * torch.randn(len(part.coefficients)), network_coefficients=0.5)
        part.set(wave_coefficients=0.1 * torch.randn(len(part.wave_coefficients)))
        part.set(usual=USUAL, varies=0.3, slope=torch.rand(()), spread=torch.rand(()))
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


def test_every_subset_of_modalities_gives_a_finite_score_of_parts_of_what_is_there() -> None:
    whole, modalities = model(), batch()
    usual = whole(modalities)
    for count in range(4):
        for names in itertools.combinations(modalities, count):
            prediction = whole(without(modalities, names, clip=2))
            assert prediction.score.isfinite().all()
            assert not prediction.abstained.any()
            torch.testing.assert_close(prediction.parts.sum(1), prediction.score)
            torch.testing.assert_close(prediction.attention.sum(1), torch.ones(4))
            gone = torch.tensor([name in names for name in whole.modalities])
            assert not prediction.parts[2, gone].any()
            assert not prediction.attention[2, gone].any()
            torch.testing.assert_close(prediction.parts[2, ~gone], usual.parts[2, ~gone])


def test_a_clip_with_nothing_is_abstained_on_and_changes_no_other() -> None:
    whole, modalities = model(), batch()
    prediction, usual = whole(without(modalities, tuple(modalities), clip=2)), whole(modalities)
    assert prediction.abstained.tolist() == [False, False, True, False]
    assert prediction.score[2] == 0
    assert not prediction.attention[2].any()
    torch.testing.assert_close(prediction.score[[0, 1, 3]], usual.score[[0, 1, 3]])


@pytest.mark.parametrize("modality", SPECS)
def test_what_an_absent_modality_holds_has_no_influence(modality: str) -> None:
    whole, modalities = model(), without(batch(), (modality,), clip=2)
    quality = modalities[modality].quality.clone()
    values = modalities[modality].values.clone()
    quality[2], values[2] = torch.nan, torch.nan
    other = {**modalities, modality: modalities[modality]._replace(values=values, quality=quality)}
    for name in ("score", "parts", "attention"):
        torch.testing.assert_close(getattr(whole(other), name), getattr(whole(modalities), name))


def test_what_an_unseen_joint_holds_in_a_frame_that_shows_others_has_no_influence() -> None:
    whole, modalities = model(), batch()
    pose = modalities["pose"]
    seen = pose.mask & (torch.rand(pose.mask.shape, generator=torch.Generator().manual_seed(2)) > 0.3)
    hidden = torch.where(seen[:, :, None], pose.values, torch.nan)
    scores = [whole({**modalities, "pose": pose._replace(values=values, mask=seen)}).score
              for values in (pose.values, hidden)]  # fmt: skip
    torch.testing.assert_close(scores[0], scores[1])
    assert not torch.allclose(scores[0], whole(modalities).score), "whether it is seen does count"


def test_a_modality_seen_worse_than_usual_has_less_attention_and_a_smaller_part() -> None:
    whole, modalities = model(), batch()
    usual, worse, worst = (
        whole({**modalities, "face": modalities["face"]._replace(quality=torch.full((4,), quality))})
        for quality in (USUAL, 0.2, 0.05)
    )
    face = whole.modalities.index("face")
    for less, more in ((worse, usual), (worst, worse)):
        assert (less.attention[:, face] < more.attention[:, face]).all()
        assert (less.parts[:, face].abs() < more.parts[:, face].abs()).all()
        torch.testing.assert_close(less.attention.sum(1), torch.ones(4))
    part = whole.part_at_usual_quality("face", modalities["face"].values, modalities["face"].mask)
    torch.testing.assert_close(part, usual.parts[:, face])
    fade = (whole.part("face").slope * (0.2 - USUAL) / 0.3).exp()
    torch.testing.assert_close(worse.parts[:, face], fade * part)


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


def test_a_config_survives_json_and_refuses_what_it_does_not_know() -> None:
    assert VdvConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(SMALL)))) == SMALL
    with pytest.raises(ValueError, match="epoch_count"):
        VdvConfig.from_dict({"epoch_count": 3})
    with pytest.raises(ValueError, match="at least 1"):
        VdvConfig(ensemble=0)
