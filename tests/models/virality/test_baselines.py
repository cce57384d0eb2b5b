"""Networks to be compared with stand in for PSGCN and RTCN in every respect; each switch changes what it names."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from models.virality.baselines import FixedGraphBlock, Lstm, MeanMlp, StGcn, StGcnPlus, matched_width, parameter_count
from models.virality.config import VdvConfig
from models.virality.inputs import InputSpec
from models.virality.masked import AttentionPool, Encoded, MaskedBatchNorm, MeanPool
from models.virality.psgcn import Psgcn
from models.virality.rtcn import Rtcn
from models.virality.skeleton import COCO17, pyramid
from models.virality.vdv import build_encoder, encode, pose_network
from tests.models.virality.test_vdv import batch

SKELETONS = (StGcn, StGcnPlus)
SEQUENCES = (Lstm, MeanMlp)
FEATURES = 10
LARGER = VdvConfig(joint_channels=64, part_channels=96, body_channels=128, refined_channels=64, blocks=2)


def built(network: type) -> nn.Module:
    """In eval mode and past its neutral start: statistics and weights that would show a leak."""
    torch.manual_seed(0)
    net: nn.Module = network(8) if network in SKELETONS else network(FEATURES, 16)
    for module in net.modules():
        if isinstance(module, MaskedBatchNorm):
            assert module.running_mean is not None
            module.running_mean.normal_()
            nn.init.normal_(module.bias)
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.5)
    return net.eval()


def inputs(network: type, clips: int, frames: int) -> tuple[Tensor, ...]:
    """Arguments of the network; no frame is masked. The frames are dimension 2 of a skeleton's, 1 of others."""
    if network in SKELETONS:
        return torch.randn(clips, 9, frames, 17), torch.ones(clips, frames, 17, dtype=torch.bool)
    return torch.randn(clips, frames, FEATURES), torch.ones(clips, frames, dtype=torch.bool)


def padded(network: type, given: tuple[Tensor, ...], frames: int) -> tuple[Tensor, ...]:
    """The same clips, followed by frames that are masked and hold NaN."""
    values, mask = given
    at = 2 if network in SKELETONS else 1
    size = list(values.shape)
    size[at] = frames
    longer = torch.cat([values, torch.full(size, float("nan"))], at)
    hidden = torch.cat([mask, torch.zeros(len(mask), frames, *mask.shape[2:], dtype=torch.bool)], 1)
    return longer, hidden


def assert_same(one: Encoded, other: Encoded) -> None:
    for name in ("score", "levels", "embedding"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("network", [*SKELETONS, *SEQUENCES])
def test_any_length_gives_a_score_and_attention_over_what_is_there(network: type, frames: int) -> None:
    values, mask = inputs(network, 3, frames)
    mask[0, frames // 2 :] = False
    mask[0, 0] = True
    encoded = built(network)(values, mask)
    assert encoded.score.shape == (3,)
    assert torch.equal(encoded.levels[:, 0], encoded.score)
    assert encoded.score.all()
    assert encoded.attention.shape == mask.shape
    torch.testing.assert_close(encoded.attention.flatten(1).sum(1), torch.ones(3))
    assert not encoded.attention[~mask].any()


@pytest.mark.parametrize("frames", [1, 2, 5, 8, 13])
@pytest.mark.parametrize("network", [*SKELETONS, *SEQUENCES])
def test_a_padded_clip_scores_as_the_unpadded_one(network: type, frames: int) -> None:
    given, net = inputs(network, 2, frames), built(network)
    given[1][0, frames // 2 :] = False
    given[1][0, 0] = True
    short, long = net(*given), net(*padded(network, given, 11))
    assert_same(short, long)
    torch.testing.assert_close(short.attention, long.attention[:, :frames], atol=1e-6, rtol=0)


@pytest.mark.parametrize("network", [*SKELETONS, *SEQUENCES])
def test_what_lies_in_a_gap_has_no_influence(network: type) -> None:
    values, mask = inputs(network, 1, 20)
    mask[0, 5:9] = False
    changed = values.clone()
    changed[(slice(None),) * (2 if network in SKELETONS else 1) + (slice(5, 9),)] = float("nan")
    net = built(network)
    assert_same(net(values, mask), net(changed, mask))


def test_an_lstm_skips_a_gap() -> None:
    values, mask = inputs(Lstm, 1, 20)
    mask[0, 5:9] = False
    kept, net = mask[0], built(Lstm)
    assert_same(net(values, mask), net(values[:, kept], mask[:, kept]))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("network", SKELETONS)
def test_what_an_unseen_joint_holds_has_no_influence(network: type, training: bool) -> None:
    values, mask = inputs(network, 2, 20)
    mask &= torch.rand(mask.shape) > 0.3
    nets = [built(network).train(training) for _ in range(2)]
    assert_same(nets[0](values, mask), nets[1](torch.where(mask[:, None], values, torch.nan), mask))
    for one, other in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("network", [*SKELETONS, *SEQUENCES])
def test_an_absent_clip_is_zero_and_leaves_the_others_and_the_norms_alone(network: type, training: bool) -> None:
    given = inputs(network, 3, 8)
    given[1][1] = False
    present = given[1].flatten(1).any(1)
    nets = [built(network).train(training) for _ in range(2)]
    for net in nets:
        for module in net.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
    together, alone = nets[0](*given), nets[1](*(one[present] for one in given))
    torch.testing.assert_close(together.score[present], alone.score)
    assert together.present.tolist() == [True, False, True]
    assert together.score[1] == 0
    assert not together.embedding[1].any()
    for one, other in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    nobody = nets[0](given[0], torch.zeros_like(given[1]))
    assert not nobody.present.any()
    for name in ("score", "levels", "embedding", "attention"):
        assert getattr(nobody, name).shape == getattr(together, name).shape
        assert not getattr(nobody, name).any()


@pytest.mark.parametrize("network", SKELETONS)
def test_padded_frames_do_not_enter_the_norms_statistics(network: type) -> None:
    given = inputs(network, 2, 8)
    nets = [built(network).train() for _ in range(2)]
    assert_same(nets[0](*given), nets[1](*padded(network, given, 8)))
    for one, other in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("network", [*SKELETONS, *SEQUENCES])
def test_gradients_are_finite_and_reach_everything_with_gaps_absent_clips_and_single_frames(network: type) -> None:
    values, mask = inputs(network, 4, 8)
    mask &= torch.rand(mask.shape) > 0.4
    mask[1], mask[2] = False, False
    mask[2].view(8, -1)[3, 0] = True
    net = built(network).train()
    encoded = net(values, mask)
    (encoded.score.sum() + encoded.embedding.square().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters())
    reached = [name for name, parameter in net.named_parameters() if cast(torch.Tensor, parameter.grad).any()]
    assert len(reached) > 0.8 * len(list(net.parameters()))


@pytest.mark.parametrize("network", [*SKELETONS, *SEQUENCES])
def test_a_batch_of_one_clip_trains(network: type) -> None:
    encoded = built(network).train()(*inputs(network, 1, 4))
    assert encoded.score.isfinite().all()
    encoded.score.sum().backward()


@pytest.mark.parametrize("network", [*SKELETONS, *SEQUENCES])
def test_a_baseline_learns_what_shifts_its_input(network: type) -> None:
    net, (values, mask) = built(network), inputs(network, 16, 10)
    target = torch.tensor([1.0, -1.0]).repeat(8)
    shifted = values[:, :2] if network in SKELETONS else values[..., :2]
    shifted += target.view(-1, *(1,) * (values.ndim - 1))
    optimiser = torch.optim.AdamW(net.train().parameters(), lr=5e-3)
    for _ in range(20):
        optimiser.zero_grad()
        nn.functional.soft_margin_loss(net(values, mask).score, target).backward()
        optimiser.step()
    assert (net.eval()(values, mask).score.sign() == target).all()


def test_st_gcn_hears_along_the_layouts_edges_only() -> None:
    torch.manual_seed(0)
    adjacency = torch.from_numpy(pyramid(COCO17).adjacency[0])
    block, mask = FixedGraphBlock(4, 4, adjacency).eval(), torch.ones(1, 1, 12, 1, dtype=torch.bool)
    still, moved = torch.zeros(1, 4, 12, 17), torch.zeros(1, 4, 12, 17)
    moved[:, :, 6, 9] = 5.0  # the left wrist in one frame
    changed = (block(still, mask, mask) != block(moved, mask, mask)).any(1)[0]  # [T, V]
    assert changed.any(0).nonzero().flatten().tolist() == [7, 9]  # elbow and wrist
    assert changed.any(1).nonzero().flatten().tolist() == list(range(2, 11))  # four frames each way
    assert {name for name, _ in block.named_parameters()} >= {"importance"}
    assert "partition" not in dict(block.named_parameters())


def test_a_mean_is_blind_to_order_and_an_lstm_is_not() -> None:
    values, mask = inputs(MeanMlp, 1, 12)
    for network, blind in ((MeanMlp, True), (Lstm, False)):
        net = built(network)
        forth, back = net(values, mask).score, net(values.flip(1), mask).score
        assert torch.allclose(forth, back, atol=1e-6) == blind


@pytest.mark.parametrize("network", SKELETONS)
def test_a_skeleton_baseline_takes_three_coordinates(network: type) -> None:
    net = network(8, coordinates=3).eval()
    encoded = net(torch.randn(2, 13, 6, 17), torch.ones(2, 6, 17, dtype=torch.bool))
    assert encoded.score.isfinite().all()


@pytest.mark.parametrize("network", SKELETONS)
def test_flat_networks_have_as_many_parameters_as_psgcn(network: type) -> None:
    assert parameter_count(network()) == pytest.approx(parameter_count(Psgcn()), rel=0.05)


@pytest.mark.parametrize("config", [VdvConfig(), LARGER])
@pytest.mark.parametrize("changes", [{"pose_network": "st_gcn"}, {"pose_network": "st_gcn_plus"}, {"pyramid": False}])
def test_networks_in_the_pyramids_place_are_as_large_whatever_its_size(config: VdvConfig, changes: dict) -> None:
    size = parameter_count(pose_network(config))
    assert parameter_count(pose_network(replace(config, **changes))) == pytest.approx(size, rel=0.05)


def test_a_width_is_found_without_drawing_random_numbers() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    width = matched_width(StGcn, 10_000)
    assert torch.equal(torch.get_rng_state(), before)
    missed = {near: abs(parameter_count(StGcn(near)) - 10_000) for near in (width - 1, width, width + 1)}
    assert min(missed, key=missed.__getitem__) == width
    assert matched_width(StGcn, 1) == 4


def encoder(modality: str, **changes: Any) -> nn.Module:
    torch.manual_seed(0)
    spec = InputSpec(9, is_skeleton=True) if modality == "pose" else InputSpec(12)
    return build_encoder(replace(VdvConfig(frames=8, width=16), **changes), spec)


def parts(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def gone_and_come(modality: str, **changes: Any) -> tuple[set[str], set[str]]:
    """First names of what the switch takes from the network and of what it brings."""
    usual, switched = parts(encoder(modality)), parts(encoder(modality, **changes))
    assert all(usual[name] == switched[name] for name in usual.keys() & switched.keys())
    gone, come = usual.keys() - switched.keys(), switched.keys() - usual.keys()
    return {name.split(".")[0] for name in gone}, {name.split(".")[0] for name in come}


@pytest.mark.parametrize(
    ("modality", "changes", "gone"),
    [
        ("pose", {"refine": False}, {"refine"}),
        ("pose", {"attention_pool": False}, {"pool"}),
        ("appearance", {"relations_after": ()}, {"relations"}),
        ("appearance", {"attention_pool": False}, {"pool"}),
        ("pose", {"sequence_network": "lstm"}, set()),
        ("pose", {"statistics": False}, set()),
        ("appearance", {"refine": False}, set()),
        ("appearance", {"pyramid": False}, set()),
        ("appearance", {"pose_network": "st_gcn"}, set()),
    ],
)
def test_a_switch_takes_out_what_it_names_and_nothing_else(modality: str, changes: dict, gone: set[str]) -> None:
    assert gone_and_come(modality, **changes) == (gone, set())


SWITCHED: list[tuple[str, dict, Callable[[Any], bool], int]] = [
    ("pose", {}, lambda net: len(net.levels) == 3, 3),
    ("pose", {"refine": False}, lambda net: len(net.refine) == 0, 3),
    ("pose", {"pyramid": False}, lambda net: [len(level) for level in net.levels] == [5], 1),
    ("pose", {"attention_pool": False}, lambda net: isinstance(net.pool[0], MeanPool), 3),
    ("pose", {"pose_network": "st_gcn"}, lambda net: isinstance(net, StGcn), 1),
    ("pose", {"pose_network": "st_gcn_plus"}, lambda net: isinstance(net, StGcnPlus), 1),
    ("appearance", {"relations_after": ()}, lambda net: isinstance(net, Rtcn), 1),
    ("appearance", {"attention_pool": False}, lambda net: isinstance(net.pool, MeanPool), 1),
    ("appearance", {"sequence_network": "lstm"}, lambda net: isinstance(net, Lstm), 1),
    ("appearance", {"sequence_network": "mean_mlp"}, lambda net: isinstance(net, MeanMlp), 1),
]


@pytest.mark.parametrize(("modality", "changes", "is_so", "levels"), SWITCHED)
def test_a_switched_network_is_what_was_asked_for_and_trains(
    modality: str, changes: dict, is_so: Callable[..., Any], levels: int
) -> None:
    net = encoder(modality, **changes).train()
    assert is_so(net)
    encoded = encode(net, batch()[modality])
    assert encoded.score.shape == (4,)
    assert encoded.levels.shape == (4, levels)
    (encoded.score.sum() + encoded.levels.square().sum() + encoded.embedding.square().sum()).backward()
    assert encoded.score.isfinite().all()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in net.parameters())


def test_the_score_is_the_mean_of_the_levels() -> None:
    for modality in ("pose", "appearance"):
        encoded = encode(encoder(modality).eval(), batch()[modality])
        torch.testing.assert_close(encoded.score, encoded.levels.mean(1))


def test_without_refinement_a_finer_level_hears_nothing_from_a_coarser_one() -> None:
    torch.manual_seed(0)
    streams, seen = torch.randn(2, 9, 8, 17), torch.ones(2, 8, 17, dtype=torch.bool)
    for refine, depends in ((True, True), (False, False)):
        net = Psgcn(refine=refine).eval()
        before = net(streams, seen).levels
        nn.init.normal_(cast(Any, net.levels[2])[0].space.mix.weight)
        after = net(streams, seen).levels
        assert not torch.equal(before[:, 0], after[:, 0])
        assert torch.equal(before[:, 2], after[:, 2]) != depends


def test_the_mean_pool_is_where_the_attention_pool_starts() -> None:
    torch.manual_seed(0)
    x, mask = torch.randn(3, 6, 4), torch.rand(3, 6) > 0.4
    mask[2] = False
    for mean, start in zip(MeanPool()(x, mask), AttentionPool(4)(x, mask), strict=True):
        torch.testing.assert_close(mean, start)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pose_network": "gcn"}, "pose_network 'gcn' is none of psgcn, st_gcn, st_gcn_plus"),
        ({"sequence_network": "tcn"}, "sequence_network 'tcn' is none of rtcn, lstm, mean_mlp"),
        ({"pose_network": "st_gcn", "refine": False}, "are psgcn's"),
    ],
)
def test_a_choice_that_there_is_not_is_refused_with_those_that_there_are(changes: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        VdvConfig(**changes)


def test_a_pyramid_has_one_to_three_levels() -> None:
    with pytest.raises(ValueError, match="1 to 3 levels"):
        Psgcn((8, 8, 8, 8))
