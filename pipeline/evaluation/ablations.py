"""Ablations: the model without one of its ideas at a time, trained on the same folds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from models.virality.config import VdvConfig
from pipeline.cluster.connection import Cluster
from pipeline.core import storage
from pipeline.core.errors import DataError, OptionError
from pipeline.dataset.folder import DatasetFolder
from pipeline.evaluation.cross_validation import cross_validate
from pipeline.evaluation.predictors import FUSED
from pipeline.evaluation.tables import (
    TITLES,
    TextTable,
    clips_of,
    detectable_note,
    estimate_text,
    figure_text,
    on_one_scale,
    p_text,
)
from pipeline.metrics.ranking import METRICS
from pipeline.metrics.significance import (
    PERMUTATIONS,
    PRIMARY,
    RESAMPLES,
    Clips,
    compare,
    draw_creators,
    estimate,
    holm,
)
from pipeline.modalities.registry import find_modality, modality_names
from pipeline.runs.run import ABLATIONS, FOLDS, FOLDS_ABOUT, RUN, Run
from pipeline.training.checkpoints import ABLATIONS_CHECKPOINTS, clear

DEFAULT = "default"


@dataclass(frozen=True)
class Variant:
    """A configuration that differs from the run's in one idea."""

    name: str
    title: str  # what differs from the run
    config: VdvConfig
    modalities: tuple[str, ...]  # whose encoders it changes; evaluated alone, too, for the fused score hides much of it


def variants(config: VdvConfig) -> list[Variant]:
    """The ablations of a run, without those of modalities that it lacks and those equal to it."""
    whole = replace(config, pose_network="psgcn", pyramid=True, refine=True)
    pose = (
        ("st_gcn", "poses by ST-GCN", replace(whole, pose_network="st_gcn")),
        ("st_gcn_plus", "poses by STGCN++", replace(whole, pose_network="st_gcn_plus")),
        ("no_pyramid", "joints alone, no pyramid", replace(whole, pyramid=False)),
        ("no_refinement", "pyramid without refinement", replace(whole, refine=False)),
        ("no_levels", "levels not supervised one by one", replace(whole, level_weight=0.0)),
        ("not_pretrained", "no network that knows simulated dancers", replace(config, pretrained=False)),
        ("no_augmentation", "no augmentation", replace(config, rotation=0.0, scale=0.0, jitter=0.0, crop=0.0,
                                                       mirror=0.0)),
    )  # fmt: skip
    sequence = (
        ("plain_tcn", "no temporal relations", replace(config, sequence_network="rtcn", relations_after=())),
        ("lstm", "sequences by an LSTM", replace(config, sequence_network="lstm")),
        ("mean_mlp", "sequences by their mean", replace(config, sequence_network="mean_mlp")),
    )
    shared = (
        ("mean_pool", "plain mean for attention pooling", replace(config, attention_pool=False)),
        ("no_huber", "ranking loss alone", replace(config, huber_weight=0.0)),
    )
    known = tuple(modality for modality in modality_names() if modality in config.modalities)
    skeletons = tuple(modality for modality in known if find_modality(modality).is_skeleton)
    sequences = tuple(modality for modality in known if modality not in skeletons)
    listed = []
    for group, changed in ((pose, skeletons), (sequence, sequences), (shared, known)):
        if changed:
            listed += [Variant(name, title, other, changed) for name, title, other in group if other != config]
    return listed


def choose_variants(config: VdvConfig, names: Sequence[str]) -> list[Variant]:
    """The ablations of a run with these names; without names, all.

    Raises:
        OptionError: a name that is none of the run's ablations.
    """
    known = variants(config)
    if unknown := [name for name in names if name not in {variant.name for variant in known}]:
        raise OptionError(
            f"--ablation-variants names {', '.join(unknown)}; this run has {', '.join(one.name for one in known)}"
        )
    return [variant for variant in known if not names or variant.name in names]


def run_ablations(
    dataset_folder: DatasetFolder,
    run_folder: Run,
    device: torch.device,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    seeds: int = 1,
    names: Sequence[str] = (),
    cluster: Cluster | None = None,
) -> None:
    """Trains variants of a run on the run's folds; writes ablations.parquet, .md and .tex, then ablations.json.

    ablations.json: `seeds`, names of the `variants`, whether those are `all`. Killed and called again, finished folds
    are not trained again.

    Args:
        progress: called with trainings done and trainings in all.
        seeds: trainings of each variant and of the run's own configuration, with the run's seed and those that follow
            it; the folds stay the run's. The first training of its configuration is the run's cross-validation.
        names: of the variants; none: all.
        cluster: as cross_validate takes it.

    Raises:
        DataError: the run has no folds.
        OptionError: a name that is none of the run's ablations.
    """
    folds = run_folder.read_json(FOLDS_ABOUT)
    if not folds["clips"]:
        raise DataError(
            f"{run_folder.place} was not judged by folds, so that variants cannot be compared: {folds['reason']}"
        )
    config = VdvConfig.from_dict(run_folder.read_json(RUN)["config"])
    chosen = choose_variants(config, names)
    trainings = {DEFAULT: [run_folder.read_table(FOLDS)]}
    to_train = [(DEFAULT, config, seed) for seed in range(1, seeds)]
    to_train += [(variant.name, variant.config, seed) for variant in chosen for seed in range(seeds)]
    for place, (name, other, seed) in enumerate(to_train):

        def step(done: int, total: int, before: int = place) -> None:
            if progress:
                progress(before * total + done, len(to_train) * total)

        scores = cross_validate(
            dataset_folder, replace(other, seed=config.seed + seed), device, folds["asked"], workers, step,
            folds["protocol"], checkpoints=run_folder.file(ABLATIONS_CHECKPOINTS), split_seed=config.seed,
            cluster=cluster,
        )  # fmt: skip
        trainings.setdefault(name, []).append(scores)
    table = ablation_table(chosen, trainings)
    run_folder.write_table(f"{ABLATIONS}.parquet", table)
    text = as_text(table)
    storage.write_bytes(run_folder.file(f"{ABLATIONS}.md"), text.markdown().encode())
    storage.write_bytes(run_folder.file(f"{ABLATIONS}.tex"), text.latex().encode())
    about = {"seeds": seeds, "variants": [variant.name for variant in chosen], "all": chosen == variants(config)}
    about["files"] = run_folder.hashes(f"{ABLATIONS}.md", f"{ABLATIONS}.tex")
    run_folder.write_json(f"{ABLATIONS}.json", about)
    clear(run_folder.file(ABLATIONS_CHECKPOINTS))


def ablation_table(
    chosen: Sequence[Variant],
    trainings: Mapping[str, Sequence[pd.DataFrame]],
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
) -> pd.DataFrame:
    """Metrics of each variant, and their differences to the run.

    A metric is the mean of its trainings', a difference that between trainings of one seed.

    Args:
        trainings: by variant's name, its cross-validations on the run's folds, as many as there are seeds and in the
            same order; those of the run itself are called `default`.

    Returns:
        One row a variant (the run itself is `default`), predictor (`fused`, and each modality that the variant changes)
        and metric: variant, what, predictor, metric, seeds, clips; value, low, high, spread; difference (variant less
        default), difference_low, difference_high, difference_spread; p, p_holm (of the primary metric, corrected over
        the table; NaN elsewhere); detectable. Intervals are 95 %, by bootstrap over creators; a spread is the standard
        deviation over seeds, NaN of a single one.

    Raises:
        DataError: a training has other folds than the run.
    """
    run = trainings[DEFAULT]
    clips = clips_of(run[0])
    draws = draw_creators(clips.group, resamples)
    rows = []
    modalities = [name.removeprefix("score_") for name in run[0] if name.startswith("score_")]
    for name, of_variant in trainings.items():
        for one in of_variant:
            if not one["clip_id"].equals(run[0]["clip_id"]) or not one["fold"].equals(run[0]["fold"]):
                raise DataError(f"{name} was judged on other folds than the run; build the run and its ablations again")
    for predictor in (FUSED, *modalities):
        rows += _rows(DEFAULT, "the model", predictor, clips, run, None, draws, permutations)
    for variant in chosen:
        for predictor in (FUSED, *(modality for modality in variant.modalities if modality in modalities)):
            rows += _rows(
                variant.name, variant.title, predictor, clips, trainings[variant.name], run, draws, permutations
            )
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].tolist())
    return table


def _rows(
    name: str,
    title: str,
    predictor: str,
    clips: Clips,
    trainings: Sequence[pd.DataFrame],
    default: Sequence[pd.DataFrame] | None,
    draws: np.ndarray,
    permutations: int,
) -> list[dict]:
    column = "score" if predictor == FUSED else f"score_{predictor}"
    score = np.stack([on_one_scale(one, column) for one in trainings])  # [seeds, clips]
    metrics = estimate(clips, score, draws)
    difference = None
    if default is not None:
        of_run = np.stack([on_one_scale(one, column) for one in default])
        difference = compare(clips, score, of_run, draws, permutations)
    rows = []
    for metric in METRICS:
        of_metric = difference.by_metric[metric] if difference else None
        primary = difference is not None and metric == PRIMARY
        rows.append(
            {
                "variant": name,
                "what": title,
                "predictor": predictor,
                "metric": metric,
                "seeds": len(score),
                "clips": int(np.isfinite(score).all(0).sum()),
                "value": metrics[metric].value,
                "low": metrics[metric].low,
                "high": metrics[metric].high,
                "spread": metrics[metric].spread,
                "difference": of_metric.value if of_metric else np.nan,
                "difference_low": of_metric.low if of_metric else np.nan,
                "difference_high": of_metric.high if of_metric else np.nan,
                "difference_spread": of_metric.spread if of_metric else np.nan,
                "p": difference.p if difference and primary else np.nan,
                "detectable": difference.detectable if difference and primary else np.nan,
            }
        )
    return rows


def as_text(table: pd.DataFrame) -> TextTable:
    """The table of `ablation_table` as text, a section a predictor; spreads over seeds where there are several."""
    sections: dict[str, list[list[str]]] = {}
    seeds = int(table["seeds"].max())
    spread = [f"sd of {seeds} seeds"] if seeds > 1 else []
    for (predictor, _), rows in table.groupby(["predictor", "variant"], sort=False):
        by_metric = rows.set_index("metric")
        first = by_metric.loc[PRIMARY]
        cells = [first["what"], estimate_text(first["value"], first["low"], first["high"])]
        cells += [figure_text(first["spread"])] if spread else []
        cells += [figure_text(by_metric.loc[name, "value"]) for name in METRICS if name != PRIMARY]
        ends = (first["difference"], first["difference_low"], first["difference_high"])
        compared = [estimate_text(*ends, sign=True), *([figure_text(first["difference_spread"])] if spread else []),
                    p_text(first["p_holm"])]  # fmt: skip
        cells += compared if np.isfinite(ends[0]) else [""] * len(compared)
        sections.setdefault(predictor, []).append(cells)
    header = ("variant", f"{TITLES[PRIMARY]} (95 %)", *spread, *(TITLES[name] for name in METRICS if name != PRIMARY),
              "less the model's (95 %)", *spread, "p")  # fmt: skip
    trained = "one seed." if not spread else (
        f"{seeds} seeds each: figures are means over seeds, differences those of equal seeds, sd their standard"
        " deviation over seeds."
    )  # fmt: skip
    notes = (
        f"Every variant trained on the same folds as the model, {trained} Intervals: bootstrap over creators. p: paired"
        f" permutation of {TITLES[PRIMARY]} over creators, Holm-corrected over the table.",
        *detectable_note(table["detectable"].tolist()),
    )
    titles = {predictor: "fused score" if predictor == FUSED else f"score of {predictor}" for predictor in sections}
    return TextTable(header, [(titles[predictor], cells) for predictor, cells in sections.items()], notes)
