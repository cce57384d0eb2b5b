"""Feedback gets into the page's data as it was made, for the page's clips alone; what is no feedback is an error."""

import json
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest

from pipeline.core.errors import WorkspaceError
from pipeline.feedback.clip_feedback import FEEDBACK_SCHEMA
from pipeline.files.folder import read_table
from pipeline.runs.run import FEEDBACK, Run
from pipeline.scoring.recommendation import read_candidates
from pipeline.scoring.recommendation_options import RecommendOptions, eligible
from tests.support.made_reports import DATASET, HTML, RUN, built, contents
from tests.support.whole_files import write_json, write_table

FINDING: dict[str, Any] = {
    "sentence": f"right arm, 1.2-2.7 s: 0.3 s late {HTML}", "meaning": "this run's model does not score it lower",
    "limb": "right_arm", "kind": "late", "start_s": 1.234, "end_s": 2, "strength": 1.4, "late_s": 0.3, "amplitude": 0.9,
    "sway": None, "edit": {"gain": 0.1, "agreement": 0.8, "references": 5}, "integrated_gradients_share": -0.01,
}  # fmt: skip
REFERENCES = ["clip002", "clip004", "clip006", "clip008", "clip010"]


def feedback(clip: str, *findings: dict, **other: Any) -> dict:
    """As pipeline.feedback.clip_feedback writes it."""
    return {
        "schema": FEEDBACK_SCHEMA, "clip": clip, "run": "a" * 16, "challenge": "shuffle", "references": REFERENCES,
        "fitting": 4, "untrained": False, "findings": list(findings), "summary": "", "caution": "Goes along with it.",
        **other,
    }  # fmt: skip


def write(workspace: Path, name: str, content: Any) -> Path:
    path = workspace / RUN / FEEDBACK / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, dict):
        write_json(path, content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_run_without_feedback_has_none(page_data: tuple[dict, list]) -> None:
    assert page_data[0]["feedback"] == []


def test_what_was_made_is_there_and_nothing_of_other_clips(few_clips: Path) -> None:
    write(few_clips, "clip005", feedback("clip005"))
    write(few_clips, "clip000", feedback("clip000", FINDING))
    write(few_clips, "elsewhere", "this is of no clip of the run, and not even read")
    (few_clips / RUN / FEEDBACK / "clip000.mp4").write_bytes(b"a film")
    payload, _ = built(str(few_clips))
    ids = payload["clips"]["id"]
    first, second = payload["feedback"]
    assert first == {
        "clip": ids.index("clip000"),
        "references": REFERENCES,
        "fitting": 4,
        "findings": [
            {"sentence": FINDING["sentence"], "meaning": FINDING["meaning"], "start_s": 1.234, "end_s": 2.0},
        ],
        "caution": "Goes along with it.",
        "film": f"{RUN}/{FEEDBACK}/clip000.mp4",
    }
    assert (second["clip"], second["findings"], second["film"]) == (ids.index("clip005"), [], None)


def test_it_is_read_from_an_object_store(copied: Path, memory: str) -> None:
    write(copied, "clip000", feedback("clip000", FINDING))
    fsspec.filesystem("memory").put(str(copied), memory.removeprefix("memory://"), recursive=True)
    assert [one.clip for one in contents(memory).feedback] == ["clip000"]


DAMAGED = {
    "another clip's": (feedback("clip001"), "on clip 'clip001'"),
    "no schema": ({}, "'schema' is missing"),
    "no sentence": (feedback("clip000", {**FINDING, "sentence": None}), "None stands where a str should"),
    "no caution": (
        {key: value for key, value in feedback("clip000").items() if key != "caution"},
        "'caution' is missing",
    ),
    "one reference": (feedback("clip000", references="clip002"), "stands where a list should"),
    "a number as reference": (feedback("clip000", references=[2]), "stands where a str should"),
    "no number of references": (feedback("clip000", fitting="all"), "stands where a int should"),
    "a time in words": (feedback("clip000", {**FINDING, "start_s": "soon"}), "stands where a float should"),
    "no time": (feedback("clip000", {**FINDING, "end_s": float("nan")}), "nan is no moment"),
}


@pytest.mark.parametrize(("content", "says"), DAMAGED.values(), ids=DAMAGED)
def test_a_file_that_is_no_feedback_is_named_with_what_to_do(copied: Path, content: Any, says: str) -> None:
    path = write(copied, "clip000", content)
    with pytest.raises(WorkspaceError) as error:
        contents(str(copied))
    for part in (str(path), says, "is no feedback", f"ActionFeedback --run {'a' * 16} --clip clip000, or delete it"):
        assert part in str(error.value)


@pytest.mark.parametrize("content", ["", "{", [1], "\xff\xfe{}"])
def test_damaged_feedback_is_named_with_what_to_do(copied: Path, content: Any) -> None:
    write(copied, "clip000", content)
    with pytest.raises(WorkspaceError, match=r"clip000\.json is damaged .*ActionFeedback --run .* --clip clip000"):
        contents(str(copied))


@pytest.mark.parametrize("schema", [FEEDBACK_SCHEMA - 1, FEEDBACK_SCHEMA + 1, "one", None])
def test_another_schema_is_not_read(copied: Path, schema: int | str | None) -> None:
    write(copied, "clip000", {"schema": schema})
    with pytest.raises(
        WorkspaceError, match=rf"clip000\.json is of schema {schema}, this version reads {FEEDBACK_SCHEMA}"
    ):
        contents(str(copied))


def test_new_in_the_page_is_what_the_task_takes_for_new(few_clips: Path) -> None:
    """One clip has views and no likes, one comments, one shares, and one nothing at all."""
    path = few_clips / DATASET / "clips.parquet"
    clips = read_table(str(path))
    unliked = clips.index[:4]
    for count in ("likes", "views", "comments", "shares"):
        clips[count] = clips[count].astype("Int64")
    clips.loc[unliked, "likes"] = pd.NA
    for row, count in zip(unliked, ("views", "comments", "shares"), strict=False):
        clips.loc[row, count] = 0
    write_table(path, clips)
    payload, _ = built(str(few_clips))
    new = np.array(payload["clips"]["new"])
    assert new[unliked].tolist() == [False, False, False, True]
    options = RecommendOptions(new_only=True)
    assert new.tolist() == eligible(read_candidates(Run(str(few_clips), RUN), options).clips, options).tolist()
