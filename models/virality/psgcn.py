"""PSGCN: a pyramid of spatio-temporal graph convolutions over the dancer's skeleton, refined from coarse to fine.

    joints 17 x T  ->  parts 10 x T/2  ->  bodies 5 x T/4      each level: graph convolution, then convolution in time
    refined joints <-  refined parts   <-  bodies              top-down: unpool, upsample, add, one block
       score               score             score             of mean and largest, each supervised

The abstract fixes the pyramid and the refinement; levels, blocks and sizes are ours. The block is ST-GCN's with the
adjacency learned from the layout's (as STGCN++ of pyskl does).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.virality.masked import (
    AttentionPool,
    Encoded,
    MaskedBatchNorm,
    MeanPool,
    absent_encoded,
    encoded_batch,
)
from models.virality.skeleton import COCO17, Layout, pyramid, streams_count

DILATIONS = (1, 2, 3, 4)  # frames; a quarter of the channels each


def mix_channels(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [B, C, T, V], weight [D, C], bias [D] -> [B, D, T, V].

    A 1x1 convolution as a matrix product a clip: with so few channels torch's own takes twice as long on a CPU, most of
    it for laying x out anew.
    """
    each, flat = weight.expand(x.shape[0], -1, -1), x.flatten(2)
    mixed = torch.bmm(each, flat) if bias is None else torch.baddbmm(bias[:, None], each, flat)
    return mixed.unflatten(2, x.shape[2:])


class Pointwise(nn.Conv2d):
    """A 1x1 convolution by `mix_channels`."""

    def __init__(self, inputs: int, outputs: int, bias: bool = False):
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return mix_channels(x, self.weight.flatten(1), self.bias)


class JointNorm(nn.Module):
    """Streams standardised joint by joint, by mean and deviation over all training frames so far that show the joint.

    Not over the batch, as a batch norm in training: a batch holds few challenges, whose dancers all do the same, so its
    mean pose differs from that of all clips, by which scoring would standardise. The statistics depend on no weight, so
    nothing is lost by keeping them out of the gradient. Before any training: the identity.
    """

    EPS = 0.05**2  # trunk lengths; a joint that hardly moves is noise, and is not scaled up to those that do

    def __init__(self, streams: int, joints: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(streams, 1, joints))
        self.bias = nn.Parameter(torch.zeros(streams, 1, joints))
        self.count: Tensor
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("count", torch.zeros(1, 1, joints))  # frames
        self.register_buffer("mean", torch.zeros(streams, 1, joints))
        self.register_buffer("variance", torch.ones(streams, 1, joints))

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """x [N, S, T, V], 0 where seen bool [N, T, V] is False -> [N, S, T, V], 0, the joint's mean, in these."""
        mask = seen[:, None]
        if self.training:
            self._update_statistics(x, mask)
        scale = self.weight / (self.variance + self.EPS).sqrt()
        return torch.addcmul(self.bias - self.mean * scale, x, scale) * mask

    @torch.no_grad()
    def _update_statistics(self, x: Tensor, mask: Tensor) -> None:
        """Merge a batch's mean and variance with those so far (Chan et al. 1979): sums of squares would lose digits."""
        count = mask.sum((0, 2))[:, None]  # [1, 1, V]
        mean = x.sum((0, 2))[:, None] / count.clamp(min=1)
        variance = ((x - mean) * mask).square().sum((0, 2))[:, None] / count.clamp(min=1)
        self.count += count
        share, away = count / self.count.clamp(min=1), mean - self.mean
        self.mean += share * away
        self.variance += share * (variance - self.variance) + share * (1 - share) * away.square()


class GraphConv(nn.Module):
    """Graph convolution over a node, its inward and outward neighbours; the adjacency is learned from the layout's."""

    def __init__(self, inputs: int, outputs: int, adjacency: Tensor):
        super().__init__()
        self.adjacency = nn.Parameter(adjacency.clone())  # [3, V, V]
        self.mix = Pointwise(inputs, outputs * len(adjacency))  # of the three neighbourhoods, side by side
        self.norm = MaskedBatchNorm(outputs)
        self.residual = nn.Identity() if inputs == outputs else Pointwise(inputs, outputs)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        # Neighbours first, then channels: a layer has fewer channels before the mixing than after.
        subsets = len(self.adjacency)
        gathered = torch.einsum("bctv,kwv->bkctw", x, self.adjacency).flatten(1, 2)  # [B, 3 C, T, V]
        weight = self.mix.weight.view(subsets, -1, x.shape[1]).transpose(0, 1).flatten(1)  # [outputs, 3 C]
        # In place, here and below: half of a large tensor's cost is its allocation.
        return self.norm(mix_channels(gathered, weight), mask).add_(self.residual(x)).mul_(mask).relu_()


class TemporalConv(nn.Module):
    """Convolutions of kernel 3 in time at four dilations side by side."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.reduce = Pointwise(channels, channels)
        self.reduce_norm = MaskedBatchNorm(channels)
        self.quarters = [len(part) for part in torch.arange(channels).tensor_split(len(DILATIONS))]
        self.branches = nn.ModuleList(
            nn.Conv2d(quarter, quarter, (3, 1), (stride, 1), (dilation, 0), (dilation, 1), bias=False)
            for quarter, dilation in zip(self.quarters, DILATIONS, strict=True)
        )
        self.norm = MaskedBatchNorm(channels)

    def forward(self, x: Tensor, mask: Tensor, mask_out: Tensor) -> Tensor:
        # Masked before the convolution too: a norm lifts empty frames off zero, and they would leak into full ones.
        reduced = self.reduce_norm(self.reduce(x), mask).mul_(mask).relu_()
        parts = reduced.split(self.quarters, 1)
        joined = torch.cat([branch(part) for branch, part in zip(self.branches, parts, strict=True)], 1)
        return self.norm(joined, mask_out).add_(x[:, :, :: self.stride]).mul_(mask_out).relu_()


class Block(nn.Module):
    """Graph convolution, then convolution in time."""

    def __init__(self, inputs: int, outputs: int, adjacency: Tensor, stride: int = 1):
        super().__init__()
        self.space = GraphConv(inputs, outputs, adjacency)
        self.time = TemporalConv(outputs, stride)

    def forward(self, x: Tensor, mask: Tensor, mask_out: Tensor) -> Tensor:
        """x [B, C, T, V]; masks bool [B, 1, T, 1] before and [B, 1, ceil(T / stride), 1] after."""
        return self.time(self.space(x, mask), mask, mask_out)


LEAST = 1e-3  # trunk lengths; below it logarithms and directions are noise, and nothing moves


def motion_statistics(streams: Tensor, seen: Tensor, still: bool = False) -> Tensor:
    """Statistics of a clip's motion: how far its streams vary, how fast each joint is, which joints are fast together,
    how far each bone turns from its first direction.

    Ours. streams [N, S, T, V] of C coordinates, seen bool [N, T, V] -> [N, (8 C + 4) V + V (V - 1) / 2], over the
    frames that show a joint: deviation of each stream and of the speeds of joints and bones, mean of these speeds, all
    six as logarithms, for people differ in them by factors; mean, logarithm of the deviation, least and largest of each
    coordinate of the turn of a bone of length one since the first of these frames; correlation of each two joints'
    speeds. A joint that is never seen gives NaN, and unless `still` so does one that does not move, as all of a film of
    one picture: logarithms of nothing say nothing.
    """
    axes = streams.shape[1] // 4
    speeds = torch.stack([motion.square().sum(1).sqrt() for motion in streams[:, 2 * axes : -1].split(axes, 1)], 1)
    bone = streams[:, axes : 2 * axes]
    length = bone.square().sum(1, keepdim=True).sqrt()
    direction = torch.where(length > LEAST, bone / length.clamp(min=LEAST), 0.0)
    first = seen.int().argmax(1)[:, None, None].expand(-1, axes, 1, -1)  # [N, C, 1, V]
    turn = direction - direction.gather(2, first)
    values = torch.where(seen[:, None], torch.cat([streams[:, :-1], speeds, turn], 1), 0.0)  # [N, 5 C + 2, T, V]
    count = seen.sum(1).clamp(min=1)[:, None]  # [N, 1, V]
    mean = values.sum(2) / count
    away = torch.where(seen[:, None], values - mean[:, :, None], 0.0)
    variance = away.square().sum(2) / count
    deviation = (variance + LEAST**2).sqrt()
    unit = away[:, 4 * axes] / (deviation[:, 4 * axes, None] * count.sqrt())  # [N, T, V] of the joints' speeds
    one, other = torch.triu_indices(seen.shape[2], seen.shape[2], 1)
    together = (unit.transpose(1, 2) @ unit)[:, one, other]
    fast = mean[:, 4 * axes : 4 * axes + 2].clamp(min=LEAST)
    turned = values[:, -axes:]
    of_joints = torch.cat([deviation.log(), fast.log(), mean[:, -axes:], turned.amin(2), turned.amax(2)], 1)
    known = seen.any(1) if still else (variance[:, :axes] > LEAST**2).any(1)
    of_joints = torch.where(known[:, None], of_joints, torch.nan).flatten(1)
    return torch.cat([of_joints, torch.where(known[:, one] & known[:, other], together, torch.nan)], 1)


def statistics_count(joints: int, coordinates: int = 2) -> int:
    """Number of statistics of `motion_statistics`."""
    return joints * (8 * coordinates + 4) + joints * (joints - 1) // 2


def largest(x: Tensor, seen: Tensor, above_zero: bool = False) -> Tensor:
    """Largest value of each node over the frames that show it, averaged over the nodes that are shown.

    x [N, C, T, V], seen bool [N, T, V], True somewhere in each -> [N, C]. above_zero: x is nowhere below 0, which is
    quicker.
    """
    known = seen.any(1)
    if above_zero:
        return (x * seen[:, None]).max(2).values.sum(2) / known.sum(1, keepdim=True)
    most, _ = x.masked_fill(~seen[:, None], torch.finfo(x.dtype).min).max(2)  # the gradient of amax is slower
    return torch.where(known[:, None], most, 0.0).sum(2) / known.sum(1, keepdim=True)


class Psgcn(nn.Module):
    """Streams of one dancer -> score, embedding, attention over joints and frames.

    Args:
        channels: of the joint, part and body level, each at least 4. Fewer than three leave the upper levels out:
            one is a flat graph of joints.
        refined: channels of the way down, at least 4.
        blocks: a level, at least 1.
        layout: the skeleton, V joints.
        coordinates: C of a joint, 2 or 3; S = 4 C + 1 streams.
        refine: False leaves the way down out: each level is scored by its features of the way up.
        attention_pool: False pools each level by the plain mean.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (24, 36, 48),
        refined: int = 24,
        blocks: int = 1,
        layout: Layout = COCO17,
        coordinates: int = 2,
        refine: bool = True,
        attention_pool: bool = True,
    ):
        super().__init__()
        shape = pyramid(layout)
        if not 1 <= len(channels) <= len(shape.adjacency):
            raise ValueError(f"channels {channels} must be of 1 to {len(shape.adjacency)} levels")
        adjacency = [torch.from_numpy(level) for level in shape.adjacency]
        for level, members in enumerate(shape.members[: len(channels) - 1]):
            table = torch.from_numpy(members)
            self.register_buffer(f"pool{level}", table / table.sum(1, keepdim=True), persistent=False)  # [coarse, fine]
            self.register_buffer(f"unpool{level}", (table / table.sum(0)).T.contiguous(), persistent=False)
            self.register_buffer(f"members{level}", table > 0, persistent=False)
        self.input_norm = JointNorm(streams_count(coordinates), len(layout.joints))
        self.levels = nn.ModuleList()
        for level, outputs in enumerate(channels):
            inputs = streams_count(coordinates) if level == 0 else channels[level - 1]
            first = Block(inputs, outputs, adjacency[level], stride=1 if level == 0 else 2)
            rest = [Block(outputs, outputs, adjacency[level]) for _ in range(blocks - 1)]
            self.levels.append(nn.ModuleList([first, *rest]))
        self.lateral = nn.ModuleList(Pointwise(outputs, refined, bias=True) for outputs in channels)
        refining = range(len(channels) - 1) if refine else ()
        self.refine = nn.ModuleList(Block(refined, refined, adjacency[level]) for level in refining)
        self.pool = nn.ModuleList(AttentionPool(refined) if attention_pool else MeanPool() for _ in channels)
        self.head = nn.ModuleList(nn.Linear(2 * refined, 1) for _ in channels)
        self.embedding_size = 2 * refined * len(channels)

    def forward(self, streams: Tensor, seen: Tensor) -> Encoded:
        """streams: [B, S, T, V] (skeleton.streams_at); seen: bool [B, T, V]; any T from 1.

        What is not seen has no influence, whatever its value; a clip in which nothing is seen counts as absent. The
        levels of the output are body, part and joint, those that the encoder has.
        """
        present = seen.flatten(1).any(1)
        if not present.any():
            return absent_encoded(seen, streams, len(self.head), self.embedding_size)
        # Absent clips are left out rather than masked, so that they do not reach the norms' statistics.
        streams, seen = streams[present], seen[present]
        scores, embedding, attention = self.encode_present(streams, seen)
        return encoded_batch(scores, embedding, attention, present)

    def encode_present(self, streams: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All clips present -> the levels' scores, coarse first [N, 3], embedding [N, E], attention [N, T, V]."""
        frame = seen.any(2)
        x = self.input_norm(torch.where(seen[:, None], streams, 0.0), seen)
        frames, shown, features = [], [], []  # a level
        for level, blocks in enumerate(self.levels):
            if level > 0:
                x = torch.einsum("nctv,wv->nctw", x, getattr(self, f"pool{level - 1}"))
                seen = torch.einsum("ntv,wv->ntw", seen.float(), getattr(self, f"members{level - 1}").float()) > 0
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                halved = block.time.stride == 2
                after = halve(frame) if halved else frame
                x = block(x, column(frame), column(after))
                if halved:
                    seen = halve(seen.transpose(1, 2)).transpose(1, 2)
                frame = after
            frames.append(frame)
            shown.append(seen)
            features.append(x)

        scores, pooled, attention = [], [], seen.new_zeros(0)
        above: Tensor | None = None
        for level in reversed(range(len(features))):
            mask = column(frames[level])
            z = self.lateral[level](features[level]) * mask
            refined = above is not None and len(self.refine) > 0  # by a block, which ends in a ReLU
            if above is not None and refined:
                unpooled = torch.einsum("nctw,vw->nctv", above, getattr(self, f"unpool{level}"))
                z = (z + unpooled.repeat_interleave(2, 2)[:, :, : z.shape[2]]) * mask
                z = self.refine[level](z, mask, mask)
            mean, weights = self.pool[level](z.flatten(2).transpose(1, 2), shown[level].flatten(1))
            # The mean holds how one moves on the whole; how far one gets, the depth of a squat, only a few frames show.
            pooled.append(torch.cat([mean, largest(z, shown[level], above_zero=refined)], 1))
            scores.append(self.head[level](pooled[-1]).squeeze(-1))
            attention = weights.view(shown[level].shape)
            above = z
        return torch.stack(scores, 1), torch.cat(pooled, 1), attention


def column(frame: Tensor) -> Tensor:
    """bool [B, T] as [B, 1, T, 1]."""
    return frame[:, None, :, None]


def halve(mask: Tensor) -> Tensor:
    """bool [..., T] -> [..., ceil(T / 2)]: a pair of frames is True where one of the two is."""
    if mask.shape[-1] % 2:
        mask = F.pad(mask, (0, 1))
    return mask.unflatten(-1, (-1, 2)).any(-1)
