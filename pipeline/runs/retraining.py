"""The command that trains the like of a run again, from what the run says it was made with."""

from models.task_command import task_command
from pipeline.core import storage
from pipeline.dataset.folder import CLIPS, DatasetFolder
from pipeline.files.checksums import read_footer
from pipeline.ingest.clip_table import MANIFEST, newest_file
from pipeline.modalities.registry import extracted_names
from pipeline.runs.run import FOLDS_ABOUT, Run

_PLACEHOLDER = "MANIFEST"  # where it is not known
USUAL = {  # what BuildVDV takes by itself; tests/pipeline/runs/test_purged.py compares
    "profile": "demo", "modalities": ",".join(extracted_names()), "label": "auto", "max-followers": 0, "seed": 0,
    "epochs": 0, "protocol": "kfold", "folds": 3,
}  # fmt: skip


def retrain_command(run: Run, about: dict, dataset: DatasetFolder) -> str:
    """The command of BuildVDV with the run's options; those that BuildVDV takes by itself are left out.

    about: run.json.
    """
    config, label = about["config"], about["label"]["options"]
    folds = run.read_json(FOLDS_ABOUT) if run.has(FOLDS_ABOUT) else {"protocol": "kfold", "asked": 0}
    options = {
        "manifest": _manifest(run, dataset),
        "workspace": run.workspace,
        "profile": " and ".join(about["profiles"]),
        "modalities": ",".join(config["modalities"]),
        "label": "auto" if config["context"] and label["kind"] == "likes" else label["kind"],
        "max-followers": label["max_followers"] or 0,
        "seed": config["seed"],
        "epochs": config["epochs"] or 0,
        "protocol": folds["protocol"],
        "folds": folds["asked"],
    }
    given = [(f"--{name}", str(value)) for name, value in options.items() if USUAL.get(name) != value]
    context = ["--with-context"] if config["context"] else []
    return task_command("BuildVDV", *(word for pair in given for word in pair), *context)


def _manifest(run: Run, dataset: DatasetFolder) -> str:
    """The manifest of the run's batches, or the folder that holds them; MANIFEST where several lie elsewhere."""
    clips = dataset.read_clips() if dataset.has(CLIPS) else None
    paths = [] if clips is None else [_manifest_of(run.workspace, batch) for batch in sorted(set(clips["batch"]))]
    if not paths or not all(paths):
        return _PLACEHOLDER
    if len(paths) == 1:
        return paths[0]
    folders = {path.rsplit("/", 1)[0] for path in paths}
    return folders.pop() if len(folders) == 1 else _PLACEHOLDER


def _manifest_of(workspace: str, batch: str) -> str:
    """Path or URL of the manifest that the batch's table was made of; "": not known."""
    if (newest := newest_file(workspace, batch)) is None:
        return ""
    with storage.opened(newest.path) as file:
        _, metadata = read_footer(newest.path, file)
    return metadata.get(MANIFEST, "")
