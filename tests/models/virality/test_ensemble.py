"""An ensemble says the mean of what its networks say, and keeps their embeddings apart."""

import torch

from models.virality.ensemble import Ensemble
from models.virality.rtcn import Rtcn


def network() -> Rtcn:
    made = Rtcn(6, 8, (1, 2), (1,), 0.0, True).eval()
    torch.nn.init.normal_(made.head.weight)
    return made


def test_scores_levels_and_attention_are_means_and_embeddings_stand_side_by_side() -> None:
    torch.manual_seed(0)
    one, other = network(), network()
    values, mask = torch.randn(4, 9, 6), torch.ones(4, 9, dtype=torch.bool)
    mask[1, 5:], mask[2] = False, False
    first, second, both = one(values, mask), other(values, mask), Ensemble([one, other])(values, mask)
    assert not torch.allclose(first.score, second.score)
    for name in ("score", "levels", "attention"):
        mean = (getattr(first, name) + getattr(second, name)) / 2
        torch.testing.assert_close(getattr(both, name), mean)
    torch.testing.assert_close(both.embedding, torch.cat([first.embedding, second.embedding], 1))
    assert both.embedding.shape[1] == Ensemble([one, other]).embedding_size
    assert both.present.tolist() == [True, True, False, True]
    assert not both.embedding[2].any()
