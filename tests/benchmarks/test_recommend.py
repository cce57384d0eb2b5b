"""What the benchmark of recommendations measures, on lists whose figures can be counted by hand."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.recommend import World, curve, precision_by_term
from pipeline.scoring.embeddings import unit_rows
from pipeline.scoring.recommendation import Candidates
from pipeline.scoring.recommendation_options import RecommendOptions, parse_weights

CLIPS = 30


@pytest.fixture
def world() -> World:
    """One challenge; every modality ranks its own term without a mistake, the fused score ranks at random."""
    rng = np.random.default_rng(0)
    truth = pd.DataFrame({term: rng.permutation(CLIPS) / CLIPS for term in ("skill", "look", "expression", "content")})
    truth["scene"] = np.repeat([0.0, 0.5, 1.0], CLIPS // 3)
    truth["place"] = np.repeat(["street", "hall", "beach"], CLIPS // 3)
    own = {"pose": "skill", "appearance": "look", "face": "expression", "scene": "scene"}
    percentile = pd.DataFrame({modality: truth[term].rank() / CLIPS for modality, term in own.items()})
    percentile["fused"] = rng.permutation(CLIPS) / CLIPS
    clips = pd.DataFrame({"challenge": "wave", "creator_id": [f"u{place // 2}" for place in range(CLIPS)]})
    embeddings = {"scene": unit_rows(pd.get_dummies(truth["place"]).to_numpy(np.float32), np.zeros(3))}
    return World(Candidates(clips, percentile), embeddings, truth, top=10)


def test_a_modality_that_ranks_its_term_perfectly_has_precision_one_and_leads_the_fused_score(world: World) -> None:
    precision = precision_by_term(world)
    assert [precision["means"][modality][lead["term"]] for modality, lead in precision["leads"].items()] == [1.0] * 4
    assert all(lead["lead"] == 1 - precision["means"]["fused"][lead["term"]] for lead in precision["leads"].values())
    assert all(lead["challenges"] == [1, 0, 0] for lead in precision["leads"].values())


def test_clips_at_the_edge_of_the_top_third_count_with_their_chance(world: World) -> None:
    world.truth["skill"] = [1.0] * 4 + [0.5] * 12 + [0.0] * 14  # 6 of the 12 find room among the first 10
    assert world.precision("wave", [0, 1], "skill") == 1.0
    assert world.precision("wave", [0, 4], "skill") == pytest.approx(0.75)
    assert world.precision("wave", [20], "skill") == 0.0


def test_the_best_list_has_an_ndcg_of_one_and_another_order_has_less(world: World) -> None:
    best = world.truth["skill"].sort_values(ascending=False).index[:10].tolist()
    assert world.ndcg("wave", best, "skill") == pytest.approx(1)
    assert world.ndcg("wave", best[::-1], "skill") < 0.999
    assert world.ndcg("wave", world.truth["skill"].sort_values().index[:10].tolist(), "skill") < 0.4


def test_the_curve_goes_from_the_best_clips_to_those_of_all_places(world: World) -> None:
    rows = curve(world, "scene")
    first, last = rows[0], rows[-2]
    assert (first["diversity"], last["diversity"]) == (0.0, 1.0)
    assert first["precision"] == 1.0
    assert first["scenes"] == 0.1, "ten clips of one place"
    assert first["intra_list_diversity"] == pytest.approx(0)
    assert last["scenes"] == pytest.approx(0.3)
    assert last["precision"] < 1
    assert (rows[-1]["diversity"], rows[-1]["per_creator"], rows[-1]["creators"]) == (0.3, 1, 1.0)


def test_lists_are_of_clips_with_every_modality_and_of_a_third_at_most(world: World) -> None:
    percentile = world.percentile.copy()
    percentile.loc[[0, 1, 2], "face"] = np.nan
    clips = pd.DataFrame({"challenge": "wave", "creator_id": "u0"}, index=range(CLIPS))
    fewer = World(Candidates(clips, percentile), world.embeddings, world.truth, top=10)
    assert fewer.top == {"wave": 9}
    options = RecommendOptions(weights=parse_weights("pose"), per_creator=0)
    assert not {0, 1, 2} & set(fewer.list_of("wave", options))
