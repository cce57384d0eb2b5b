"""The README of an export: how it is opened, what its columns are, and who is shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from yaml import safe_dump

from pipeline.export.contents import Contents, count_columns
from pipeline.modalities.registry import title_of

LOADING = {
    # Not ".": datasets names what it loads by the last part of the path.
    "huggingface": (
        "from pathlib import Path\n\nfrom datasets import load_dataset\n\nclips = load_dataset(str(Path.cwd()))"
    ),
    "webdataset": (
        'import webdataset\n\nclips = webdataset.WebDataset("train-000000.tar", shardshuffle=False).decode()'
    ),
    "fiftyone": (
        'import fiftyone\n\nclips = fiftyone.Dataset.from_dir(".", dataset_type=fiftyone.types.FiftyOneDataset)'
    ),
    "csv": 'import pandas\n\nclips = pandas.read_csv("clips.csv")',
}  # fmt: skip
_MEANINGS = {
    "clip_id": "the clip", "challenge": "the challenge that it was uploaded to", "creator_id": "who uploaded it",
    "uploaded_at": "when, UTC", "batch": "the manifest that it came in", "status": "ok, partial or failed",
    "code": "why it is partial or failed", "reason": "the same in words", "width": "pixels, upright",
    "height": "pixels, upright", "duration_s": "seconds, as the file states",
    "copies": "clip_id of the first of the clips that show the same film; empty: there is no other",
    "same_sound": "clip_id of the first of the clips that have the same track",
    "label": "what the model was trained towards", "label_percentile": "its place in the challenge, 0 to 1",
    "split": "train, val, test, or unlabelled", "fold": "of the cross-validation that judged the clip",
    "score": "of the run's model: higher is more popular within the challenge. Of clips of `train` it is too good",
    "score_percentile": "its place in the challenge, 0 to 1",
    "score_unseen": "by the fold's model, which saw nothing of the clip's creator",
    "expected_percentile": "place in the challenge that is to be expected", "low": "lower end of its interval",
    "high": "upper end of its interval", "abstained": "no modality could be judged, so there is no score",
    "film": "path of the film in this folder",
}  # fmt: skip
_BY_PREFIX = {
    "score_": "part of the score by {}", "attention_": "share of the score that {} may move",
    "quality_": "how well {} is seen or heard, 0 to 1", "without_": "why there is no {}",
}  # fmt: skip


def huggingface_card(
    contents: Contents, files: Mapping[str, Sequence[str]], features: Sequence[Mapping[str, Any]], films: bool
) -> str:
    """A dataset card: YAML for the Hub and for `load_dataset`, then the text.

    Args:
        files: names of the Parquet files by split.
        features: the columns, as that YAML has them.
    """
    data = [{"split": split, "path": [f"data/{name}" for name in names]} for split, names in files.items()]
    about = {
        "pretty_name": f"vdv run {contents.run_folder.id}",
        "tags": ["video", "dance", "pose-estimation"],
        "configs": [{"config_name": "default", "data_files": data}],
        "dataset_info": {"features": list(features)},
    }
    licence = "# license: yours to choose, for the clips are their makers'"
    yaml = ["---", licence, safe_dump(about, sort_keys=False).rstrip(), "---"]
    return "\n".join([*yaml, plain_card(contents, "huggingface", films)])


def plain_card(contents: Contents, kind: str, films: bool) -> str:
    """The text of a README."""
    label = contents.statistics["label"]["kind"]
    splits = ", ".join(f"{split} {len(contents.rows_of(split))}" for split in contents.splits)
    names = [*contents.about, *count_columns(contents.modalities), *(["film"] if films else [])]
    rows = [f"| `{name}` | {meaning_of(name, contents.modalities)} |" for name in names]
    holds = "label (`{}`) and scores" if kind == "csv" else "label (`{}`), scores and features"
    parts = [
        f"# Clips of run {contents.run_folder.id}",
        f"{len(contents.clips)} dance clips ({splits}) with their {holds.format(label)}, exported by vdv.",
        "## Loading", f"In this folder:\n\n```python\n{LOADING[kind]}\n```",
        "## Columns", "| column | |\n|---|---|\n" + "\n".join(rows),
        "There are no features in it." if kind == "csv" else "Features are described in vdv's docs/export.md and"
        " docs/parquet.md.",
        "## The people shown", _people(contents, films),
        "## Licence", "None is stated here: the clips are their makers'. Whoever passes this on states the terms.",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def meaning_of(name: str, modalities: Sequence[str] = ()) -> str:
    """What a column holds, in words."""
    counted = count_columns(modalities)
    if name in _MEANINGS or name in counted:
        return _MEANINGS.get(name) or counted[name]
    for prefix, text in _BY_PREFIX.items():
        if name.startswith(prefix):
            return text.format(title_of(name.removeprefix(prefix)))
    return f"{name.replace('_', ' ')}, as the manifest gives them"


def _people(contents: Contents, films: bool) -> str:
    held = ["creators' ids (`creator_id`)"]
    held += ["how people move and stand (keypoints)"] * ("pose" in contents.modalities)
    held += ["where faces are (boxes, landmarks)"] * ("face" in contents.modalities)
    held += ["embeddings and pictures of faces, by which people can be recognised"] * contents.biometrics
    held += ["the films themselves"] * films
    left = "" if contents.biometrics else " Embeddings and pictures of faces are left out."
    return (
        f"The clips show real people, unless they were rendered. This folder holds {', '.join(held)}.{left} Laws on"
        " personal data, and on biometric data where such are in it, apply to whoever keeps it. vdv does not know of it"
        " any more: a clip that is purged from the workspace has to be deleted here by hand, or by exporting anew."
    )
