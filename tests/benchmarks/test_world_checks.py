"""What a benchmark of a rendered world says of the model's scores."""

from dataclasses import replace

import pandas as pd

from benchmarks.world_checks import OWN_TERM, term_matrix
from simulation.truth import clips_table
from simulation.world import LikesOptions, WorldOptions, make_world

WORLD = WorldOptions(seed=506, clips=160, creators=60)


def test_a_modality_is_held_against_the_terms_that_the_likes_of_this_world_have() -> None:
    for weight in (0.0, 1.2):
        truth = clips_table(make_world(replace(WORLD, likes=LikesOptions(synchrony=weight))))
        scores = pd.DataFrame({"clip_id": truth["clip_id"]})
        for modality, term in OWN_TERM.items():
            scores[f"score_{modality}"] = truth[term if term != "scene" else "likes_scene"]
        matrix = term_matrix(scores, truth)
        assert ("synchrony" in matrix.index) == ("synchrony" in matrix.columns) == (weight > 0)
        for modality in matrix.index:
            assert matrix.loc[modality].idxmax() == OWN_TERM[modality]
            assert matrix.loc[modality].max() > 0.99
