"""Ids of the predictors in a cross-validation's table and of its sections. Titles are labels only."""

from collections.abc import Iterable
from dataclasses import dataclass

from models.virality.config import CONTEXT
from pipeline.modalities.registry import title_of

BASELINE, FUSION, PERMUTED = "baseline_", "fusion_", "permuted_"  # how columns of cross_validate start
SCORE, FUSED = "score", "fused"  # the model's column and its id; a modality's are score_<modality> and <modality>
CHANCE = "chance"  # in the table only
# Sections of the table, in the order in which they are read.
MODEL, MODALITY, NO_NETWORK, OTHER_FUSION, REDUCED, SUBSET, MISSING, CONTROL = (
    "model", "modality", "no_network", "other_fusion", "reduced", "subset", "missing", "control",
)  # fmt: skip
SECTIONS = {
    MODEL: "the model",
    MODALITY: "one modality's part alone",
    NO_NETWORK: "no network",
    OTHER_FUSION: "other fusions",
    REDUCED: "the model with a part left out",
    SUBSET: "fewer modalities, fused anew",
    MISSING: "a modality missing at test",
    CONTROL: "controls",
}
MUST_BEAT = (MODALITY, NO_NETWORK, OTHER_FUSION)  # sections of what the model must beat
_REDUCED = ("fusion_content", "fusion_statistics", "fusion_no_gates")
_TITLES = {
    "baseline_followers": "followers alone",
    "baseline_duration": "duration alone",
    "baseline_context": "context alone: creator's reach and record, age, duration",
    "baseline_ridge_means": "ridge on mean features",
    "baseline_boosting_means": "gradient boosting on mean features",
    "baseline_trees_pose": "ExtraTrees on pose statistics",
    "baseline_ridge_all": "ridge on mean features and pose statistics",
    "baseline_trees_all": "ExtraTrees on mean features and pose statistics",
    "fusion_networks": "networks alone, attentive fusion of their scores (the paper's)",
    "fusion_content": "the content alone, without the context",
    "fusion_statistics": "statistics alone, no network",
    "fusion_no_gates": "without the clips' quality",
    "fusion_mean": "uniform mean of the modalities' parts",
    "fusion_best_single": "best single modality of the training clips",
    "fusion_concatenation": "concatenation, trained together",
    "permuted_ridge": "ridge on mean features, labels permuted",
    "permuted_fused": "the model, labels permuted",
}


@dataclass(frozen=True)
class Predictor:
    """One row of the table, without its figures."""

    section: str  # id
    column: str  # of folds.parquet; or chance
    title: str

    @property
    def id(self) -> str:
        return predictor_id(self.column)

    def entry(self) -> dict[str, str]:
        """Ids and titles as metrics.json has them."""
        return {
            "section_id": self.section,
            "section": SECTIONS[self.section],
            "predictor_id": self.id,
            "name": self.column,
            "title": self.title,
        }


EXPECTED_CHANCE = Predictor(CONTROL, CHANCE, "chance (expectation)")


def predictor_id(column: str) -> str:
    """Id of the predictor in this column of folds.parquet or scores.parquet."""
    return FUSED if column == SCORE else column.removeprefix(f"{SCORE}_")


def predictors_in(columns: Iterable[str]) -> list[Predictor]:
    """Predictors among the columns of folds.parquet, in the table's order; without chance."""
    columns = list(columns)
    modalities = [predictor_id(name) for name in columns if name.startswith(f"{SCORE}_")]
    title = "VDV, all modalities" if len(set(modalities) - {CONTEXT}) > 1 else "VDV"
    listed = [Predictor(MODEL, SCORE, f"{title}, with the context" if CONTEXT in modalities else title)]
    titles = {CONTEXT: "the context's part, not of the content"}
    listed += [
        Predictor(MODALITY, f"{SCORE}_{name}", titles.get(name, title_of(name)))
        for name in modalities
        if len(modalities) > 1
    ]
    for section, prefix in ((NO_NETWORK, BASELINE), (OTHER_FUSION, FUSION)):
        listed += _titled(section, prefix, [name for name in columns if name not in _REDUCED])
    listed += _titled(REDUCED, FUSION, [name for name in columns if name in _REDUCED])
    for section, prefix, form in ((SUBSET, f"{FUSION}only_", "{}"), (MISSING, f"{FUSION}without_", "without {}")):
        for name in columns:
            if name.startswith(prefix):
                listed.append(Predictor(section, name, form.format(_joined(name.removeprefix(prefix)))))
    return listed + _titled(CONTROL, PERMUTED, columns)


def _joined(names: str) -> str:
    """As people read it: `pose + sound` of pose+audio."""
    return " + ".join(map(title_of, names.split("+")))


def _titled(section: str, prefix: str, columns: Iterable[str]) -> list[Predictor]:
    return [
        Predictor(section, name, title)
        for name, title in _TITLES.items()
        if name.startswith(prefix) and name in columns
    ]
