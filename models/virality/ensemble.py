"""Several networks of one modality that speak with one voice."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from models.virality.masked import Encoded


class Ensemble(nn.ModuleList):
    """The mean of networks of one kind, each of which was trained without another part of the clips.

    Embeddings stand side by side, for what one number of them means is each network's own.
    """

    def __init__(self, networks: Iterable[nn.Module]):
        super().__init__(networks)
        self.embedding_size = sum(cast(int, network.embedding_size) for network in self)

    def forward(self, values: Tensor, mask: Tensor) -> Encoded:
        encoded = [network(values, mask) for network in self]
        score, levels, attention = (
            torch.stack([getattr(one, name) for one in encoded]).mean(0) for name in ("score", "levels", "attention")
        )
        embedding = torch.cat([one.embedding for one in encoded], 1)
        return Encoded(score, levels, embedding, attention, encoded[0].present)
