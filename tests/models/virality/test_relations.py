"""Temporal relations: similar frames beyond the convolutions' reach are gathered."""

import pytest
import torch

from models.virality.rtcn import Rtcn, TemporalRelation
from tests.support.small_networks import wake


def test_relations_start_as_the_identity() -> None:
    torch.manual_seed(0)
    net = Rtcn(10, width=16).eval()
    without = Rtcn(10, width=16, relations_after=())
    without.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("relations")})
    inputs = torch.randn(2, 9, 10), torch.ones(2, 9, dtype=torch.bool)
    torch.testing.assert_close(net(*inputs).score, without.eval()(*inputs).score)


def relation(width: int = 16, reach: int = 4) -> TemporalRelation:
    torch.manual_seed(0)
    net = TemporalRelation(width, reach)
    wake(net)
    return net


def seen(frames: int) -> torch.Tensor:
    return torch.ones(1, frames, dtype=torch.bool)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_a_clip_no_longer_than_the_reach_has_nothing_to_gather(frames: int) -> None:
    x = torch.randn(1, frames, 16)
    assert torch.equal(relation()(x, seen(frames)), x)
    assert torch.equal(relation(reach=0)(x, seen(frames)), x) == (frames == 1)


def test_a_relation_gathers_what_lies_beyond_the_reach_and_nothing_nearer() -> None:
    x, net = torch.randn(1, 20, 16), relation()
    changed = x.clone()
    changed[0, 10] += 1.0
    changes = (net(changed, seen(20)) != net(x, seen(20))).any(2)[0]
    far = (torch.arange(20) - 10).abs() > 4
    assert changes[torch.arange(20) != 10].tolist() == far[torch.arange(20) != 10].tolist()


def test_relations_reach_as_far_as_the_convolutions_before_them() -> None:
    net = Rtcn(10, width=16, dilations=(1, 2, 4, 8), relations_after=(1, 3))
    assert [one.reach for one in net.relations.values()] == [1, 7]
    torch.manual_seed(0)
    x, mask = torch.randn(1, 40, 16, requires_grad=True), seen(40)
    output = x
    for layer in net.layers[:3]:
        output = layer(output, mask)
    output[0, 20].sum().backward()
    assert x.grad is not None
    assert x.grad.any(2)[0].nonzero().flatten().tolist() == list(range(13, 28))


def test_a_new_relation_gathers_from_what_is_alike_and_else_from_nowhere() -> None:
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


def test_what_is_masked_is_not_gathered() -> None:
    net, x = relation(), torch.randn(1, 30, 16)
    mask = seen(30)
    mask[0, 20:] = False
    torch.testing.assert_close(net(x, mask)[:, :20], net(x[:, :20], seen(20)), atol=1e-6, rtol=0)
    assert not net(x, mask)[:, 20:].any()


def _events_far_apart(kinds: torch.Tensor, clips: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise [N, 24, 16] with two events of three frames, of kinds [4, 16]; its mask; whether they are alike, bool [N].
    From one event to the other it is farther than two layers of dilations 1 and 2 see at once, 7 frames.
    """
    one, alike = torch.randint(4, (clips,)), torch.rand(clips) < 0.5
    other = torch.where(alike, one, (one + torch.randint(1, 4, (clips,))) % 4)
    x = torch.randn(clips, 24, 16)
    x[:, 2:5] += kinds[one][:, None]
    x[:, 19:22] += kinds[other][:, None]
    return x, torch.ones(clips, 24, dtype=torch.bool), alike


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("relations", "least", "most"), [((2,), 0.95, 1.0), ((), 0.3, 0.7)])
def test_with_relations_alone_it_learns_whether_two_events_far_apart_are_alike(
    relations: tuple, least: float, most: float, seed: int
) -> None:
    torch.manual_seed(seed)
    kinds = 3 * torch.randn(4, 16)
    net = Rtcn(16, 32, (1, 2), relations, dropout=0.0)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        x, mask, alike = _events_far_apart(kinds, 64)
        optimiser.zero_grad()
        score = net(x, mask).score
        torch.nn.functional.binary_cross_entropy_with_logits(score, alike.float()).backward()
        optimiser.step()
    x, mask, alike = _events_far_apart(kinds, 256)
    right = (net(x, mask).score > 0) == alike
    assert least <= right.float().mean() <= most
