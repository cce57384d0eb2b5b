"""Published networks to measure PSGCN and RTCN against, each called exactly as the one that it replaces.

For poses `StGcn` and `StGcnPlus`, flat stacks over the joints; for frame features `Lstm` and `MeanMlp` (the plain TCN
is Rtcn without relations). Ours are their sizes and the masks.
"""

from bisect import bisect_left
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.virality.masked import (
    Encoded,
    MaskedBatchNorm,
    MeanPool,
    absent_encoded,
    encoded_batch,
    masked_mean,
)
from models.virality.psgcn import Block, column, halve
from models.virality.skeleton import COCO17, Layout, pyramid, streams_count

KERNEL = 9  # frames of ST-GCN's convolution in time
# Of a flat stack, a block each: halves of its width, stride in time. They are PSGCN's own on the way up, so that only
# the graph differs. Ten blocks, as published, are so narrow at this size that they learned less than three.
STAGES = ((2, 1), (3, 2), (4, 2))
MIN_WIDTH = 4  # PSGCN's block deals its channels to four branches


class FixedGraphBlock(nn.Module):
    """ST-GCN's block: the layout's partition times a learned importance of each edge, then one convolution in time."""

    def __init__(self, inputs: int, outputs: int, adjacency: Tensor, stride: int = 1):
        super().__init__()
        self.stride = stride
        self.partition: Tensor
        self.register_buffer("partition", adjacency, persistent=False)  # [3, V, V]
        self.importance = nn.Parameter(torch.ones_like(adjacency))
        self.mix = nn.Conv2d(inputs, outputs * len(adjacency), 1)
        self.space_norm = MaskedBatchNorm(outputs)
        self.time = nn.Conv2d(outputs, outputs, (KERNEL, 1), (stride, 1), (KERNEL // 2, 0))
        self.time_norm = MaskedBatchNorm(outputs)
        same = inputs == outputs and stride == 1
        self.residual = None if same else nn.Conv2d(inputs, outputs, 1, stride=(stride, 1))
        self.residual_norm = None if same else MaskedBatchNorm(outputs)

    def forward(self, x: Tensor, mask: Tensor, mask_out: Tensor) -> Tensor:
        """x [B, C, T, V]; masks bool [B, 1, T, 1] before and [B, 1, ceil(T / stride), 1] after."""
        batch, _, frames, nodes = x.shape
        mixed = self.mix(x).view(batch, len(self.importance), -1, frames, nodes)
        gathered = torch.einsum("bkctv,kwv->bctw", mixed, self.partition * self.importance)
        # Masked before the convolution too: a norm lifts empty frames off zero, and they would leak into full ones.
        moved = self.time_norm(self.time(F.relu(self.space_norm(gathered, mask)) * mask), mask_out)
        if self.residual is not None and self.residual_norm is not None:
            x = self.residual_norm(self.residual(x), mask_out)
        return F.relu(moved + x) * mask_out


class FlatStack(nn.Module):
    """Blocks one after the other over the graph of joints, the mean over seen joints, one score."""

    def __init__(
        self,
        block: Callable[[int, int, Tensor, int], nn.Module],
        width: int,
        layout: Layout,
        coordinates: int,
    ):
        super().__init__()
        joints, streams = len(layout.joints), streams_count(coordinates)
        adjacency = torch.from_numpy(pyramid(layout).adjacency[0])
        outputs = [width * halves // 2 for halves, _ in STAGES]
        inputs = [streams, *outputs[:-1]]
        self.input_norm = MaskedBatchNorm(streams * joints)  # of each joint by itself, as both papers' code does
        self.blocks = nn.ModuleList(
            block(before, after, adjacency, stride)
            for before, after, (_, stride) in zip(inputs, outputs, STAGES, strict=True)
        )
        self.pool = MeanPool()
        self.head = nn.Linear(outputs[-1], 1)
        self.embedding_size = outputs[-1]

    def forward(self, streams: Tensor, seen: Tensor) -> Encoded:
        """As Psgcn's."""
        present = seen.flatten(1).any(1)
        if not present.any():
            return absent_encoded(seen, streams, 1, self.embedding_size)
        streams, seen = streams[present], seen[present]
        frame, shown = seen.any(2), seen
        x = torch.where(seen[:, None], streams, 0.0)
        by_joint = self.input_norm(x.transpose(2, 3).flatten(1, 2)[..., None], column(frame))  # [N, S V, T, 1]
        x = by_joint.view(len(x), -1, x.shape[3], x.shape[2]).transpose(2, 3)
        for block, (_, stride) in zip(self.blocks, STAGES, strict=True):
            after = halve(frame) if stride == 2 else frame
            x = block(x, column(frame), column(after))
            if stride == 2:
                shown = halve(shown.transpose(1, 2)).transpose(1, 2)
            frame = after
        pooled, weights = self.pool(x.flatten(2).transpose(1, 2), shown.flatten(1))
        attention = _to_frames(weights.view(shown.shape), seen)
        return encoded_batch(self.head(pooled), pooled, attention, present)


def _to_frames(weights: Tensor, seen: Tensor) -> Tensor:
    """weights [N, T', V] of halved frames -> [N, T, V]: each shared evenly by its frames that show the joint."""
    coarse, fine = weights.shape[1], seen.shape[1]
    each = 2 ** sum(stride == 2 for _, stride in STAGES)
    groups = F.pad(seen, (0, 0, 0, coarse * each - fine)).unflatten(1, (coarse, each)).to(weights.dtype)
    shares = groups / groups.sum(2, keepdim=True).clamp(min=1)
    return (weights[:, :, None] * shares).flatten(1, 2)[:, :fine]


class StGcn(FlatStack):
    """ST-GCN (Yan et al., AAAI 2018, arXiv 1801.07455) in place of Psgcn.

    Args:
        width: channels of the first block, at least 2, of which the next ones are multiples; at its default StGcn has
            as many parameters as Psgcn at its own (4 % more).
        layout, coordinates: as Psgcn's.
    """

    def __init__(self, width: int = 18, layout: Layout = COCO17, coordinates: int = 2):
        super().__init__(FixedGraphBlock, width, layout, coordinates)


class StGcnPlus(FlatStack):
    """STGCN++ (pyskl, Duan et al. 2022, arXiv 2205.09443) in place of Psgcn, made of PSGCN's own block.

    The block's adjacency is learned and its convolutions in time are several, as STGCN++'s: compared with Psgcn it
    measures the pyramid alone. Arguments as StGcn's; width at least 4.
    """

    def __init__(self, width: int = 29, layout: Layout = COCO17, coordinates: int = 2):
        super().__init__(Block, width, layout, coordinates)


class Lstm(nn.Module):
    """A bidirectional LSTM of one layer and the mean of its output, in place of Rtcn. Input layer as Rtcn's.

    Args:
        features: D of the input.
        width: of the input layer and of each direction.
        dropout: of the features, and of the LSTM's mean output.
    """

    def __init__(self, features: int, width: int = 64, dropout: float = 0.5):
        super().__init__()
        self.input = nn.Sequential(nn.LayerNorm(features), nn.Dropout(dropout), nn.Linear(features, width))
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, 1)
        self.embedding_size = 2 * width

    def forward(self, features: Tensor, mask: Tensor) -> Encoded:
        """As Rtcn's; absent frames are skipped."""
        present = mask.any(1)
        if not present.any():
            return absent_encoded(mask, features, 1, self.embedding_size)
        mask = mask[present]
        features = torch.where(mask[..., None], features[present], 0.0)
        first = mask.int().argsort(stable=True, dim=1, descending=True)  # present frames come first, in order
        in_front = self.input(features).gather(1, first[..., None].expand(-1, -1, self.lstm.input_size))
        packed = pack_padded_sequence(in_front, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)  # [N, most frames, 2 width], 0 padded
        pooled = output.sum(1) / mask.sum(1, keepdim=True)
        weights = mask / mask.sum(1, keepdim=True)
        return encoded_batch(self.head(self.dropout(pooled)), pooled, weights, present)


class MeanMlp(nn.Module):
    """Two layers on the features' mean over time, in place of Rtcn: blind to any order. Arguments as Lstm's."""

    def __init__(self, features: int, width: int = 64, dropout: float = 0.5):
        super().__init__()
        self.hidden = nn.Sequential(
            nn.LayerNorm(features), nn.Dropout(dropout), nn.Linear(features, width), nn.ReLU(), nn.Dropout(dropout)
        )
        self.head = nn.Linear(width, 1)
        self.embedding_size = width

    def forward(self, features: Tensor, mask: Tensor) -> Encoded:
        """As Rtcn's."""
        present = mask.any(1)
        if not present.any():
            return absent_encoded(mask, features, 1, self.embedding_size)
        mask = mask[present]
        mean = masked_mean(torch.where(mask[..., None], features[present], 0.0), mask)
        embedding = self.hidden(mean)
        return encoded_batch(self.head(embedding), embedding, mask / mask.sum(1, keepdim=True), present)


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def matched_width(build: Callable[[int], nn.Module], parameters: int) -> int:
    """The width, at least 4, at which the network that `build` makes has the nearest number of parameters.

    Networks are tried without allocating memory or drawing random numbers.
    """

    def size(width: int) -> int:
        with torch.device("meta"):
            return parameter_count(build(width))

    above = bisect_left(range(1 << 16), parameters, lo=MIN_WIDTH, key=size)
    return min(above, max(above - 1, MIN_WIDTH), key=lambda width: abs(size(width) - parameters))
