"""The parts that encoders are made of, each against what it is by definition."""

from typing import cast

import pytest
import torch

from models.virality.masked import masked_softmax
from models.virality.psgcn import GraphConv, JointNorm, Pointwise, largest


@pytest.mark.parametrize("outputs", [6, 4])
def test_a_graph_convolution_mixes_each_subset_of_neighbours_by_its_own_weights_and_adds_them_up(outputs: int) -> None:
    torch.manual_seed(0)
    conv = GraphConv(4, outputs, torch.rand(3, 5, 5)).eval()
    x, mask = torch.randn(2, 4, 7, 5), torch.ones(2, 1, 7, 1, dtype=torch.bool)
    mask[1, :, 4:] = False
    weights = conv.mix.weight.view(3, outputs, 4)
    gathered = sum(
        torch.einsum("oc,bctv,wv->botw", one, x, links) for one, links in zip(weights, conv.adjacency, strict=True)
    )
    residual = (
        x if outputs == 4 else torch.einsum("oc,bctv->botv", cast(torch.Tensor, conv.residual.weight)[:, :, 0, 0], x)
    )
    torch.testing.assert_close(conv(x, mask), (conv.norm(gathered, mask) + residual).relu() * mask)


def test_a_pointwise_convolution_is_torchs() -> None:
    torch.manual_seed(0)
    conv, x = Pointwise(4, 6, bias=True), torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(conv(x), torch.nn.functional.conv2d(x, conv.weight, conv.bias))


def test_masked_softmax_of_nothing_is_nothing() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    weights = masked_softmax(logits, torch.tensor([[True, False, True], [False, False, False]]))
    assert weights[0, 1] == 0
    assert weights[1].tolist() == [0, 0, 0]
    weights.square().sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_streams_are_standardised_by_all_that_training_has_shown_of_a_joint_whatever_the_batches() -> None:
    torch.manual_seed(0)
    x, seen = 50 + 3 * torch.randn(6, 9, 8, 17), torch.rand(6, 8, 17) > 0.3
    x[3:] += 20.0  # another challenge: no batch by itself has the mean of all
    seen[:4, :, 5] = False  # a joint that the first batches never show
    seen[:, :, 6] = False  # and one that none shows
    x = x * seen[:, None]
    norm = JointNorm(9, 17).train()
    for some in (slice(0, 3), slice(3, 4), slice(4, 6)):
        output = norm(x[some], seen[some])
    wanted = torch.zeros_like(x)
    for joint in range(17):
        shown = x[..., joint].transpose(1, 2)[seen[..., joint]]  # [frames, S]
        if len(shown):
            deviation = (shown.var(0, correction=0) + norm.EPS).sqrt()[:, None]
            wanted[..., joint] = (x[..., joint] - shown.mean(0)[:, None]) / deviation * seen[:, None, :, joint]
    torch.testing.assert_close(norm.eval()(x, seen), wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output, wanted[4:], atol=1e-4, rtol=1e-4)  # and in training, not by the batch's own


def test_the_largest_is_of_frames_that_show_the_node_and_of_nodes_that_are_shown() -> None:
    x, seen = torch.tensor([[[1.0, -5.0, 9.0], [3.0, -4.0, 9.0], [8.0, 7.0, 9.0]]])[None], torch.ones(1, 3, 3) > 0
    seen[0, 2, :2], seen[0, :, 2] = False, False
    assert largest(x, seen).tolist() == [[(3.0 - 4.0) / 2]]


def test_the_largest_of_what_is_above_zero_is_the_same_the_quick_way() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 6, 5, generator=rng).relu()
    seen = torch.rand(3, 6, 5, generator=rng) > 0.6
    seen[0, :, 2] = False  # a joint that is never seen
    assert torch.equal(largest(x, seen, above_zero=True), largest(x, seen))
