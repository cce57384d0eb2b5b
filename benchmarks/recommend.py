"""Precision of recommendations by one modality, and the cost of diversity.

    python -m benchmarks.recommend --folder FOLDER                    # renders, extracts and trains what is missing
    python -m benchmarks.recommend --folder FOLDER --workspace W --run demo

On a simulated world, whose truth holds every clip's value in each dimension. Clips are ranked as `Recommend` ranks
them: by scores of a model that saw nothing of their creator (a fold's, or the run's where the clip was held out).

1. Clips recommended by one modality, by the model's fused score, and by two modalities at once: the share that is in
   the top third of their challenge by each term of the likes (skill, look, expression, scene). Ten clips are
   recommended, in a small challenge no more than a third of it, so that a perfect ranking has 1; a random one has a
   third. No diversity, no limit a creator.
2. Diversity of the list against its quality as the weight of diversity rises: intra-list diversity (1 - mean cosine of
   the embeddings; also by the truth: how many scenes are shown), precision, and NDCG. The truth here is all that the
   clip shows of its likes; for a modality, its own term.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common import save, table
from benchmarks.world import add_world_options, luigi
from models.device import resolve_device
from pipeline.dataset.folder import DatasetFolder
from pipeline.metrics.ranking import relevance
from pipeline.runs.run import Run
from pipeline.runs.runs import LATEST, find_run
from pipeline.scoring.embeddings import read_embeddings
from pipeline.scoring.recommendation import (
    Candidates,
    intra_list_diversity,
    read_candidates,
    select,
    similarity_to,
    weighted_relevance,
)
from pipeline.scoring.recommendation_options import FUSED, RecommendOptions, parse_weights
from simulation.render import read_options
from simulation.truth import read_clips_truth

OWN_TERM = {"pose": "skill", "appearance": "look", "face": "expression", "scene": "scene"}
TERMS = tuple(OWN_TERM.values())
RANKINGS = (*OWN_TERM, FUSED, "pose=1,scene=1")
DIVERSITIES = tuple(round(step / 10, 1) for step in range(11))
RESAMPLES = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_world_options(parser)
    parser.add_argument("--run", default="", help="a finished run of the workspace, by id or name; default: build one")
    parser.add_argument("--top", type=int, default=10, help="most clips of a list")
    options = parser.parse_args()
    workspace = options.workspace or f"{options.folder}-workspace"
    run = Run.of("", find_run(workspace, options.run)).place if options.run else build(options, workspace)
    dataset = f"datasets/{Run(workspace, run).about['dataset']}"
    candidates = read_candidates(Run(workspace, run), RecommendOptions())
    if not candidates.clips["unseen"].all():
        raise SystemExit(
            f"{run} was not judged by folds: its scores have seen the likes; build it with --folds 3 or more"
        )
    embeddings = read_embeddings(DatasetFolder(workspace, dataset), Run(workspace, run), resolve_device(options.device))
    world = World(candidates, embeddings, truth_of(candidates, options.folder), options.top)

    results: dict = {"world": asdict(read_options(options.folder)), "profile": options.profile, "run": run,
                     "clips": int(candidates.percentile[FUSED].notna().sum()), "top": options.top}  # fmt: skip
    results["precision"] = precision_by_term(world)
    results["likeness"] = similarity_of_pairs(world)
    results["curve"] = {weights: curve(world, weights) for weights in (*OWN_TERM, FUSED)}
    print_all(results)
    save("recommend", results)


def build(options: argparse.Namespace, workspace: str) -> str:
    """Renders and builds the world, as far as that is missing; returns the run's folder."""
    luigi("RenderWorld", "--folder", str(options.folder), "--seed", str(options.seed), "--clips", str(options.clips))
    luigi(
        "BuildVDV", "--manifest", str(options.folder), "--workspace", workspace, "--profile", options.profile,
        "--device", options.device, "--label", "adjusted", "--folds", str(options.folds),
        "--decode-workers", str(options.workers),
    )  # fmt: skip
    return json.loads(Path(workspace, LATEST).read_text())["run"]


class World:
    """Clips of each challenge that have every modality's score, with their truth; only these are recommended."""

    def __init__(self, candidates: Candidates, embeddings: Mapping[str, np.ndarray], truth: pd.DataFrame, top: int):
        self.percentile, self.embeddings, self.truth = candidates.percentile, embeddings, truth
        self.creator = candidates.clips["creator_id"].to_numpy(object)
        scored = candidates.percentile.notna().all(axis=1)
        groups = candidates.clips[scored].groupby("challenge")
        self.rows = {str(name): group.index.to_numpy() for name, group in groups}
        self.top = {name: min(top, len(rows) // 3) for name, rows in self.rows.items()}

    def list_of(self, challenge: str, options: RecommendOptions) -> list[int]:
        """Rows of the recommended clips, best first."""
        rows = self.rows[challenge]
        of_clips = weighted_relevance(self.percentile.iloc[rows], dict(options.weights))
        embeddings = {modality: values[rows] for modality, values in self.embeddings.items()}
        no_copies = np.full(len(rows), None)
        selected = select(of_clips, embeddings, self.creator[rows], no_copies, self.top[challenge], options.diversity,
                          options.per_creator)  # fmt: skip
        return [int(rows[one.row]) for one in selected]

    def precision(self, challenge: str, chosen: list[int], term: str) -> float:
        """Share of the chosen that are in the term's top third; ties at its edge count by their chance."""
        rows = self.rows[challenge]
        values = self.truth[term].to_numpy(float)
        size = round(len(rows) / 3)
        edge = np.sort(values[rows])[-size]
        above, tied = values > edge, values == edge
        inside = np.where(above, 1.0, tied * (size - above[rows].sum()) / tied[rows].sum())
        return float(inside[chosen].mean())

    def ndcg(self, challenge: str, chosen: list[int], term: str) -> float:
        """NDCG of the list as it is shown; the best list has the highest gains of the challenge (ranking.relevance)."""
        rows = self.rows[challenge]
        gain = dict(zip(rows.tolist(), relevance(self.truth[term].to_numpy(float)[rows]), strict=True))
        discount = 1 / np.log2(np.arange(len(chosen)) + 2)
        best = np.sort(list(gain.values()))[::-1][: len(chosen)]
        return float(np.array([gain[row] for row in chosen]) @ discount / (best @ discount))


def truth_of(candidates: Candidates, folder: Path) -> pd.DataFrame:
    """Terms of the likes, their sum that the clip shows (`content`) and its place, in the candidates' order."""
    truth = read_clips_truth(folder).set_index("clip_id").loc[candidates.clips["clip_id"]].reset_index()
    place = truth["scene"]
    return truth[["clip_id", "content", *(f"likes_{term}" for term in TERMS)]].rename(
        columns={f"likes_{term}": term for term in TERMS}
    ).assign(place=place)  # fmt: skip


def precision_by_term(world: World) -> dict:
    """Precision by ranking and term, means over challenges; and each modality's lead over fused on its own term."""
    plain = RecommendOptions(diversity=0.0, per_creator=0)
    precision: dict[str, dict[str, np.ndarray]] = {}
    for ranking in RANKINGS:
        options = replace(plain, weights=parse_weights(ranking))
        lists = {name: world.list_of(name, options) for name in world.rows}
        precision[ranking] = {
            term: np.array([world.precision(name, chosen, term) for name, chosen in lists.items()])
            for term in (*TERMS, "content")
        }
    leads = {}
    for modality, term in OWN_TERM.items():
        lead = precision[modality][term] - precision[FUSED][term]
        draws = np.random.default_rng(0).choice(lead, (RESAMPLES, len(lead))).mean(1)
        low, high = np.quantile(draws, [0.025, 0.975])
        leads[modality] = {"term": term, "lead": float(lead.mean()), "low": float(low), "high": float(high),
                      "challenges": [int((lead > 0).sum()), int((lead == 0).sum()), int((lead < 0).sum())]}  # fmt: skip
    means = {ranking: {term: float(each.mean()) for term, each in row.items()} for ranking, row in precision.items()}
    return {"means": means, "leads": leads}


def similarity_of_pairs(world: World) -> dict[str, list[float]]:
    """Mean similarity of pairs of one challenge that share a scene or creator, and of those that do not."""
    similarity, same_place, same_creator = [], [], []
    place = world.truth["place"].to_numpy(object)
    for rows in world.rows.values():
        embeddings = {modality: values[rows] for modality, values in world.embeddings.items()}
        pairs = np.triu_indices(len(rows), 1)
        similarity.append(np.stack([similarity_to(embeddings, row) for row in range(len(rows))])[pairs])
        same_place.append((place[rows][:, None] == place[rows])[pairs])
        same_creator.append((world.creator[rows][:, None] == world.creator[rows])[pairs])
    value = np.concatenate(similarity)
    masks = {"the same scene": np.concatenate(same_place), "the same creator": np.concatenate(same_creator)}
    return {name: [float(value[same].mean()), float(value[~same].mean())] for name, same in masks.items()}


def curve(world: World, weights: str) -> list[dict]:
    """A row a weight of diversity, without a limit a creator; last the product's defaults."""
    term = OWN_TERM.get(weights, "content")
    plain = RecommendOptions(weights=parse_weights(weights), per_creator=0)
    rows = []
    for options in (*(replace(plain, diversity=weight) for weight in DIVERSITIES), replace(plain, per_creator=1)):
        lists = {name: world.list_of(name, options) for name in world.rows}
        scenes = [world.truth["place"].iloc[chosen].nunique() / len(chosen) for chosen in lists.values()]
        rows.append(
            {
                "diversity": options.diversity,
                "per_creator": options.per_creator,
                "intra_list_diversity": mean(intra_list_diversity(world.embeddings, c) for c in lists.values()),
                "scenes": mean(scenes),
                "creators": mean(len(set(world.creator[chosen])) / len(chosen) for chosen in lists.values()),
                "precision": mean(world.precision(name, chosen, term) for name, chosen in lists.items()),
                "ndcg": mean(world.ndcg(name, chosen, term) for name, chosen in lists.items()),
            }
        )
    return rows


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def print_all(results: dict) -> None:
    precision = results["precision"]
    print(f"{results['clips']} clips, lists of up to {results['top']} a challenge; a random list has 0.333")
    terms = [*TERMS, "content"]
    rows = [[name, *(row[term] for term in terms)] for name, row in precision["means"].items()]
    print(table(rows, ["recommended by", *(f"top third in {term}" for term in terms)]))
    rows = [
        [f"{modality} on {lead['term']}", lead["lead"], f"{lead['low']:.3f} to {lead['high']:.3f}",
         "{} / {} / {}".format(*lead["challenges"])]
        for modality, lead in precision["leads"].items()
    ]  # fmt: skip
    print(table(rows, ["ahead of fused", "by", "95 % over challenges", "better / equal / worse in challenges"]))
    for name, (same, different) in results["likeness"].items():
        print(f"mean similarity of two clips of {name}: {same:.2f}, of others {different:.2f}")
    for weights in (FUSED, "pose"):
        print(f"\nby {weights}, as diversity counts for more")
        keys = list(results["curve"][weights][0])
        print(table([[row[key] for key in keys] for row in results["curve"][weights]], keys))


if __name__ == "__main__":
    main()
