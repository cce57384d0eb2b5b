"""PSGCN and RTCN: any length, any mask; what is masked has no influence, and gradients are finite."""

import numpy as np
import pytest
import torch

from models.masked import Line, MaskedBatchNorm, Mix, masked_softmax
from models.psgcn import GraphConv, JointNorm, Pointwise, Psgcn, largest, motion_statistics, statistics_count
from models.rtcn import Rtcn, TemporalRelation


def psgcn(trained: bool = True) -> Psgcn:
    torch.manual_seed(0)
    net = Psgcn((16, 16, 24), 16, 1)
    if trained:  # past its neutral start: statistics and attention that would show a leak
        for module in net.modules():
            if isinstance(module, MaskedBatchNorm):
                module.running_mean.normal_()
                module.bias.data.normal_()
            if isinstance(module, JointNorm):
                module.mean.normal_()
                module.bias.data.normal_()
        _wake(net)
    return net.eval()


def rtcn(width: int = 10) -> Rtcn:
    torch.manual_seed(0)
    net = Rtcn(width, width=16)
    _wake(net)
    return net.eval()


def _wake(net: torch.nn.Module) -> None:
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.5)


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 32])
def test_psgcn_takes_any_length(frames):
    said = psgcn()(torch.randn(2, 9, frames, 17), torch.ones(2, frames, 17, dtype=torch.bool))
    assert said.score.shape == (2,)
    assert said.levels.shape == (2, 4)
    assert said.embedding.shape == (2, 96)  # of three levels mean and largest
    torch.testing.assert_close(said.attention.sum((1, 2)), torch.ones(2))


@pytest.mark.parametrize("outputs", [6, 4])
def test_a_graph_convolution_mixes_each_subset_of_neighbours_by_its_own_weights_and_adds_them_up(outputs):
    torch.manual_seed(0)
    conv = GraphConv(4, outputs, torch.rand(3, 5, 5)).eval()
    x, there = torch.randn(2, 4, 7, 5), torch.ones(2, 1, 7, 1, dtype=torch.bool)
    there[1, :, 4:] = False
    weights = conv.mix.weight.view(3, outputs, 4)
    heard = sum(
        torch.einsum("oc,bctv,wv->botw", one, x, links) for one, links in zip(weights, conv.adjacency, strict=True)
    )
    residual = x if outputs == 4 else torch.einsum("oc,bctv->botv", conv.residual.weight[:, :, 0, 0], x)
    torch.testing.assert_close(conv(x, there), (conv.norm(heard, there) + residual).relu() * there)


def test_a_pointwise_convolution_is_torchs():
    torch.manual_seed(0)
    conv, x = Pointwise(4, 6, bias=True), torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(conv(x), torch.nn.functional.conv2d(x, conv.weight, conv.bias))


@pytest.mark.parametrize("frames", [1, 2, 40])
def test_rtcn_takes_any_length(frames):
    said = rtcn()(torch.randn(2, frames, 10), torch.ones(2, frames, dtype=torch.bool), torch.zeros(2, frames))
    assert said.score.shape == (2,)
    assert said.embedding.shape == (2, 16)
    torch.testing.assert_close(said.attention.sum(1), torch.ones(2))


@pytest.mark.parametrize("frames", [1, 5, 8, 13])
def test_a_padded_clip_scores_as_the_unpadded_one_in_psgcn(frames):
    streams, seen = torch.randn(1, 9, frames, 17), torch.rand(1, frames, 17) > 0.3
    seen[0, 0, 0] = True
    padded = torch.cat([streams, torch.randn(1, 9, 11, 17)], 2)
    hidden = torch.cat([seen, torch.zeros(1, 11, 17, dtype=torch.bool)], 1)
    net = psgcn()
    short, long = net(streams, seen), net(padded, hidden)
    torch.testing.assert_close(short.levels, long.levels, atol=1e-5, rtol=0)
    torch.testing.assert_close(short.embedding, long.embedding, atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 6, 40])
def test_a_padded_clip_scores_as_the_unpadded_one_in_rtcn(frames):
    features, seconds = torch.randn(1, frames, 10), torch.arange(frames)[None] / 5.0
    mask = torch.ones(1, frames, dtype=torch.bool)
    padded = torch.cat([features, torch.full((1, 9, 10), float("nan"))], 1)
    net = rtcn()
    short = net(features, mask, seconds)
    hidden = torch.cat([mask, torch.zeros(1, 9, dtype=torch.bool)], 1)
    long = net(padded, hidden, torch.cat([seconds, torch.full((1, 9), float("nan"))], 1))
    torch.testing.assert_close(short.score, long.score, atol=1e-5, rtol=0)
    torch.testing.assert_close(short.embedding, long.embedding, atol=1e-5, rtol=0)


def test_what_lies_in_a_gap_has_no_influence():
    features, mask = torch.randn(1, 20, 10), torch.ones(1, 20, dtype=torch.bool)
    mask[0, 5:9] = False
    other = features.clone()
    other[0, 5:9] = 1e3
    net, seconds = rtcn(), torch.arange(20)[None] / 5.0
    torch.testing.assert_close(net(features, mask, seconds).score, net(other, mask, seconds).score)
    streams, seen = torch.randn(1, 9, 20, 17), torch.ones(1, 20, 17, dtype=torch.bool)
    seen[0, 5:9] = False
    changed = streams.clone()
    changed[0, :, 5:9] = float("nan")
    torch.testing.assert_close(psgcn()(streams, seen).score, psgcn()(changed, seen).score)


def test_an_absent_clip_is_zero_and_leaves_the_others_alone():
    streams, seen = torch.randn(3, 9, 8, 17), torch.ones(3, 8, 17, dtype=torch.bool)
    seen[1] = False
    net = psgcn()
    together, alone = net(streams, seen), net(streams[[0, 2]], seen[[0, 2]])
    torch.testing.assert_close(together.score[[0, 2]], alone.score)
    assert together.present.tolist() == [True, False, True]
    assert together.score[1] == 0
    assert not together.embedding[1].any()
    everybody_gone = net(streams, torch.zeros_like(seen))
    assert not everybody_gone.present.any()
    assert everybody_gone.levels.shape == (3, 4)


def test_absent_and_padded_frames_do_not_enter_the_norms_statistics():
    torch.manual_seed(0)
    streams, seen = torch.randn(2, 9, 8, 17), torch.ones(2, 8, 17, dtype=torch.bool)
    padded = torch.cat([streams, torch.zeros(2, 9, 8, 17)], 2)
    hidden = torch.cat([seen, torch.zeros_like(seen)], 1)
    with_absent = torch.cat([padded, torch.zeros(1, 9, 16, 17)]), torch.cat([hidden, torch.zeros(1, 16, 17) > 0])
    nets = [psgcn(trained=False).train() for _ in range(2)]
    scores = nets[0](streams, seen).score, nets[1](*with_absent).score[:2]
    torch.testing.assert_close(*scores, atol=1e-5, rtol=0)
    for one, other in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_gradients_are_finite_with_gaps_absent_clips_and_single_frames():
    net = psgcn(trained=False).train()
    seen = torch.rand(4, 8, 17) > 0.5
    seen[1], seen[2] = False, False
    seen[2, 3, 4] = True
    said = net(torch.randn(4, 9, 8, 17), seen)
    (said.score.sum() + said.embedding.square().sum()).backward()
    sequence = rtcn().train()
    mask = torch.rand(4, 8) > 0.5
    mask[1] = False
    mask[2] = torch.arange(8) == 3
    heard = sequence(torch.randn(4, 8, 10), mask, torch.rand(4, 8))
    (heard.score.sum() + heard.embedding.square().sum()).backward()
    gradients = [p.grad for p in [*net.parameters(), *sequence.parameters()] if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(bool(gradient.any()) for gradient in gradients) > len(gradients) / 2


def test_relations_start_as_the_identity():
    torch.manual_seed(0)
    net = Rtcn(10, width=16).eval()
    without = Rtcn(10, width=16, relations_after=())
    without.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("relations")})
    inputs = torch.randn(2, 9, 10), torch.ones(2, 9, dtype=torch.bool), torch.rand(2, 9)
    torch.testing.assert_close(net(*inputs).score, without.eval()(*inputs).score)


def relation(width: int = 16, reach: int = 4) -> TemporalRelation:
    torch.manual_seed(0)
    net = TemporalRelation(width, reach)
    _wake(net)
    return net


def seen(frames: int) -> torch.Tensor:
    return torch.ones(1, frames, dtype=torch.bool)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_a_clip_no_longer_than_the_reach_has_nothing_to_gather(frames):
    x = torch.randn(1, frames, 16)
    assert torch.equal(relation()(x, seen(frames)), x)
    assert torch.equal(relation(reach=0)(x, seen(frames)), x) == (frames == 1)


def test_a_relation_hears_what_lies_beyond_the_reach_and_nothing_nearer():
    x, net = torch.randn(1, 20, 16), relation()
    changed = x.clone()
    changed[0, 10] += 1.0
    told = (net(changed, seen(20)) != net(x, seen(20))).any(2)[0]
    far = (torch.arange(20) - 10).abs() > 4
    assert told[torch.arange(20) != 10].tolist() == far[torch.arange(20) != 10].tolist()


def test_relations_reach_as_far_as_the_convolutions_before_them():
    net = Rtcn(10, width=16, dilations=(1, 2, 4, 8), relations_after=(1, 3))
    assert [one.reach for one in net.relations.values()] == [1, 7]
    torch.manual_seed(0)
    x, mask = torch.randn(1, 40, 16, requires_grad=True), seen(40)
    heard = x
    for layer in net.layers[:3]:
        heard = layer(heard, mask)
    heard[0, 20].sum().backward()
    assert x.grad is not None
    assert x.grad.any(2)[0].nonzero().flatten().tolist() == list(range(13, 28))


def test_a_new_relation_gathers_from_what_is_alike_and_else_from_nowhere():
    torch.manual_seed(1)
    net = relation(64)
    net.value.weight.data.zero_()
    net.value.bias.data.fill_(1.0)  # every frame offers the same: what is gathered is the share not from nowhere
    net.output.weight.data.fill_(1 / 32)
    x = torch.randn(1, 60, 64)
    x[0, 50] = x[0, 5]
    share = (net(x, seen(60)) - x)[0, :, 0].detach()
    assert share[[5, 50]].min() > 0.5
    assert share[[place for place in range(60) if place not in (5, 50)]].max() < 0.3


def test_what_is_masked_is_not_gathered():
    net, x = relation(), torch.randn(1, 30, 16)
    mask = seen(30)
    mask[0, 20:] = False
    torch.testing.assert_close(net(x, mask)[:, :20], net(x[:, :20], seen(20)), atol=1e-6, rtol=0)
    assert not net(x, mask)[:, 20:].any()


def _events_far_apart(kinds: torch.Tensor, clips: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise [N, 24, 16] with two events of three frames, of kinds [4, 16]; its mask; whether they are alike, bool [N].
    From one event to the other it is farther than two layers of dilations 1 and 2 see at once, 7 frames."""
    one, alike = torch.randint(4, (clips,)), torch.rand(clips) < 0.5
    other = torch.where(alike, one, (one + torch.randint(1, 4, (clips,))) % 4)
    x = torch.randn(clips, 24, 16)
    x[:, 2:5] += kinds[one][:, None]
    x[:, 19:22] += kinds[other][:, None]
    return x, torch.ones(clips, 24, dtype=torch.bool), alike


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("relations", "least", "most"), [((2,), 0.95, 1.0), ((), 0.3, 0.7)])
def test_with_relations_alone_it_learns_whether_two_events_far_apart_are_alike(relations, least, most, seed):
    torch.manual_seed(seed)
    kinds = 3 * torch.randn(4, 16)
    net = Rtcn(16, 32, (1, 2), relations, dropout=0.0)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        x, mask, alike = _events_far_apart(kinds, 64)
        optimiser.zero_grad()
        score = net(x, mask, torch.zeros(64, 24)).score
        torch.nn.functional.binary_cross_entropy_with_logits(score, alike.float()).backward()
        optimiser.step()
    x, mask, alike = _events_far_apart(kinds, 256)
    right = (net(x, mask, torch.zeros(256, 24)).score > 0) == alike
    assert least <= right.float().mean() <= most


def test_masked_softmax_of_nothing_is_nothing():
    logits = torch.randn(2, 3, requires_grad=True)
    weights = masked_softmax(logits, torch.tensor([[True, False, True], [False, False, False]]))
    assert weights[0, 1] == 0
    assert weights[1].tolist() == [0, 0, 0]
    weights.square().sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def statistics(streams: torch.Tensor, seen: torch.Tensor) -> dict[str, torch.Tensor]:
    """motion_statistics by what they are; [N, rows, V], and the last [N, pairs]."""
    axes, joints = streams.shape[1] // 4, streams.shape[3]
    found = motion_statistics(streams, seen)
    assert found.shape == (len(streams), statistics_count(joints, axes))
    parts = {"deviation": 4 * axes, "speed deviation": 2, "turn deviation": axes, "speed": 2, "turn": axes}
    parts |= {"least turn": axes, "largest turn": axes}
    *by_joint, together = found.split([*(rows * joints for rows in parts.values()), joints * (joints - 1) // 2], 1)
    named = {name: part.unflatten(1, (-1, joints)) for name, part in zip(parts, by_joint, strict=True)}
    return named | {"together": together}


def test_statistics_say_how_far_how_fast_and_what_moves_together():
    time = torch.arange(40.0)
    streams = torch.zeros(1, 9, 40, 17)
    streams[0, 0, :, 9] = torch.sin(time)  # the left wrist's place
    speed = 1 + torch.sin(time / 3)
    streams[0, 4, :, 9], streams[0, 5, :, 10] = speed, -2 * speed  # both wrists are fast at the same time
    streams[0, 4, :, 15] = 1 + torch.cos(time / 3)
    found = statistics(streams, torch.ones(1, 40, 17, dtype=torch.bool))
    assert found["deviation"][0, 0, 9].exp().item() == pytest.approx(time.sin().std(correction=0).item(), abs=1e-3)
    assert found["speed"][0, 0, 10].exp().item() == pytest.approx(2 * speed.mean().item(), abs=1e-4)
    pairs = {pair: place for place, pair in enumerate((a, b) for a in range(17) for b in range(a + 1, 17))}
    together = found["together"][0]
    assert together[pairs[9, 10]].item() == pytest.approx(1, abs=1e-3)
    apart = torch.corrcoef(torch.stack([speed, 1 + torch.cos(time / 3)]))[0, 1].item()
    assert together[pairs[9, 15]].item() == pytest.approx(apart, abs=1e-3)
    assert together[pairs[0, 9]] == 0


def test_statistics_say_how_far_a_bone_turns_from_where_it_was_first_seen():
    streams, seen = torch.randn(1, 9, 5, 17), torch.ones(1, 5, 17, dtype=torch.bool)
    seen[0, 0, 9] = False  # the left forearm is seen from the second frame on, when it hangs; a quarter turn up
    angle = torch.tensor([9.0, 0.0, 0.25, 0.5, 0.4]) * torch.pi
    streams[0, 2, :, 9], streams[0, 3, :, 9] = 0.7 * torch.sin(angle), 0.7 * torch.cos(angle)
    found = statistics(streams, seen)
    torch.testing.assert_close(found["largest turn"][0, :, 9], torch.tensor([1.0, 0.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(found["least turn"][0, :, 9], torch.tensor([0.0, -1.0]), atol=1e-5, rtol=0)
    mean = torch.stack([angle[1:].sin().mean(), angle[1:].cos().mean() - 1])
    torch.testing.assert_close(found["turn"][0, :, 9], mean)
    spread = found["turn deviation"][0, 0, 9].exp().item()
    assert spread == pytest.approx(angle[1:].sin().std(correction=0).item(), abs=1e-4)


def test_statistics_of_what_is_not_seen_are_not_counted_and_those_of_what_is_never_seen_are_not_known():
    streams, seen = torch.randn(2, 9, 20, 17), torch.rand(2, 20, 17) > 0.4
    seen[0, :, 3] = False
    hidden = torch.where(seen[:, None], streams, float("nan"))
    found = motion_statistics(hidden, seen)
    torch.testing.assert_close(motion_statistics(streams, seen), found, equal_nan=True)
    assert found[1].isfinite().all()
    unknown = statistics(hidden, seen)
    together = unknown.pop("together")[0]
    assert all(part[0, :, 3].isnan().all() for part in unknown.values())
    assert found[0].isnan().sum().item() == 20 * 1 + 16  # every number of the joint, and of its pairs
    assert together.isnan().sum().item() == 16


def test_a_skeleton_of_three_coordinates_is_seen_in_all_of_them():
    torch.manual_seed(0)
    seen = torch.ones(2, 20, 17, dtype=torch.bool)
    flat = torch.randn(2, 9, 20, 17)
    joint, bone, motion, bone_motion = (pair for pair in flat[:, :-1].split(2, 1))
    nothing = torch.zeros(2, 1, 20, 17)
    third = [torch.cat([pair, nothing], 1) for pair in (joint, bone, motion, bone_motion)]
    found = statistics(torch.cat([*third, flat[:, -1:]], 1), seen)
    two = statistics(flat, seen)
    # Without a third axis as in two coordinates: only that axis itself is new.
    for name in ("speed deviation", "speed", "together"):
        torch.testing.assert_close(found[name], two[name])
    for name in ("turn", "least turn", "largest turn", "turn deviation"):
        torch.testing.assert_close(found[name][:, :2], two[name])
    planar = [axis for axis in range(12) if axis % 3 != 2]
    torch.testing.assert_close(found["deviation"][:, planar], two["deviation"])
    third[2] = torch.cat([motion, torch.full_like(nothing, 3.0)], 1)
    deep = statistics(torch.cat([*third, flat[:, -1:]], 1), seen)
    speed = (motion.square().sum(1) + 9).sqrt().mean(1)
    torch.testing.assert_close(deep["speed"][:, 0].exp(), speed)
    said = Psgcn(coordinates=3)(torch.randn(2, 13, 5, 17), seen[:, :5])
    assert said.score.isfinite().all()


def test_a_line_says_nothing_till_it_is_set_and_wild_numbers_count_up_to_a_limit():
    line, numbers = Line(3, limit=4.0), torch.tensor([[1e3, 1.0, 0.0], [1e9, 0.0, torch.nan]])
    assert not line(numbers).any()
    line.set(torch.tensor([0.0, 1.0, 9.0]), torch.tensor([500.0, 1.0, 1.0]), torch.tensor([1.0, 3.0, 2.0]))
    two, one, nine = (4 * np.tanh(value / 4) for value in (2.0, 1.0, 9.0))
    torch.testing.assert_close(line(numbers), torch.tensor([two - 2 * nine, 4.0 - 3 * one], dtype=torch.float32))
    assert not list(line.parameters())  # a fit in closed form, nothing for an optimiser


def test_a_mix_starts_as_half_the_networks_mean_and_half_the_line():
    levels = torch.tensor([[1.0, 2.0, 3.0, 10.0]])
    torch.testing.assert_close(Mix(3, line=True)(levels), torch.tensor([6.0]))
    torch.testing.assert_close(Mix(3, line=False)(levels[:, :3]), torch.tensor([2.0]))
    mix = Mix(3, line=True)
    mix.set(torch.ones(4), torch.tensor([0.0, 0.0, 0.5, 2.0]))
    torch.testing.assert_close(mix(levels), torch.tensor([19.0]))


@pytest.mark.parametrize("net", ["psgcn", "rtcn"])
def test_a_batch_of_one_clip_trains(net):
    if net == "psgcn":
        said = psgcn(trained=False).train()(torch.randn(1, 9, 8, 17), torch.ones(1, 8, 17, dtype=torch.bool))
    else:
        said = rtcn().train()(torch.randn(1, 4, 10), torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 4))
    assert said.score.isfinite().all()
    said.score.sum().backward()


def test_networks_for_a_few_hundred_clips_are_small():
    assert 0.02e6 < sum(parameter.numel() for parameter in Psgcn().parameters()) < 0.05e6
    assert 0.2e6 < sum(parameter.numel() for parameter in Rtcn(2048).parameters()) < 0.4e6


def test_streams_are_standardised_by_all_frames_that_training_has_shown_whatever_the_batches():
    torch.manual_seed(0)
    x, frame = 50 + 3 * torch.randn(6, 9, 8, 17), torch.rand(6, 8) > 0.3
    x[3:] += 20.0  # another challenge: no batch by itself has the mean of all
    x = x * frame[:, None, :, None]
    norm = JointNorm(9, 17).train()
    for some in (slice(0, 3), slice(3, 4), slice(4, 6)):
        said = norm(x[some], frame[some])
    shown = x.transpose(1, 2)[frame]  # [frames, S, V]
    deviation = (shown.var(0, correction=0) + norm.EPS).sqrt()[:, None]
    wanted = (x - shown.mean(0)[:, None]) / deviation * frame[:, None, :, None]
    torch.testing.assert_close(norm.eval()(x, frame), wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(said, wanted[4:], atol=1e-4, rtol=1e-4)  # and in training, not by the batch's own


def test_the_largest_is_of_frames_that_show_the_node_and_of_nodes_that_are_shown():
    x, seen = torch.tensor([[[1.0, -5.0, 9.0], [3.0, -4.0, 9.0], [8.0, 7.0, 9.0]]])[None], torch.ones(1, 3, 3) > 0
    seen[0, 2, :2], seen[0, :, 2] = False, False
    assert largest(x, seen).tolist() == [[(3.0 - 4.0) / 2]]


def test_a_pose_held_for_one_frame_reaches_every_level_whatever_the_clips_length():
    net = psgcn()
    moved = []
    for frames in (16, 160):
        streams, seen = torch.zeros(1, 9, frames, 17), torch.ones(1, frames, 17, dtype=torch.bool)
        held = streams.clone()
        held[:, :, frames // 2] = 3.0
        moved.append((net(held, seen).embedding - net(streams, seen).embedding)[0].view(3, 2, 16).abs().sum(2))
    (short_mean, short_largest), (long_mean, long_largest) = (said.T for said in moved)
    assert (long_mean < 0.3 * short_mean).all()
    assert (long_largest > 0.9 * short_largest).all()
    assert (long_largest > 0).all()
