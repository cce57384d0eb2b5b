"""Clips to show, from a finished run."""

import math
from typing import TYPE_CHECKING, Any

import luigi

from pipeline.runs.run import Run
from pipeline.runs.runs import find_run, read_names
from pipeline.scoring.recommendation_options import RecommendOptions, check_name, check_options, parse_weights
from tasks.console import say
from tasks.number_option import NumberOption
from tasks.run_options import RUN_HELP

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.scoring.recommendation import Recommendation


class Recommend(luigi.Task):
    """Picks clips worth showing from each challenge: the best by the modalities asked for, not all of one creator or
    look.

    For example: Recommend --run june --weights pose=2,scene=1 --top 5. Prints a table, and writes it as Parquet and
    JSON into runs/<id>/recommendations/. Trains nothing and takes seconds.
    """

    run_id = luigi.Parameter(description=RUN_HELP)
    workspace = luigi.Parameter(default="workspace", description="folder or fsspec URL that holds the run")
    challenge = luigi.Parameter(default="", description="recommend clips of this challenge only; default: of each")
    weights = luigi.Parameter(
        default="fused=1",
        description="what makes a clip good, and how much each counts: skeleton (the dancing), appearance (clothes and"
        " picture), face, scene (the place), fused (the model's score of all), as in pose=2,scene=1",
    )
    top = NumberOption(int, 1, 10_000, default=10, description="most clips of a challenge")
    diversity = NumberOption(
        float, 0.0, 1.0, default=0.3,
        description="how much it counts that a clip looks unlike those above it: 0, only how good clips are; 1, only"
        " how different they are",
    )  # fmt: skip
    per_creator = NumberOption(
        int, 0, 10_000, default=1, description="most clips of one creator in a challenge; 0: no limit"
    )
    new_only = luigi.BoolParameter(
        description="only new uploads: clips for which the manifest has no likes, views, comments or shares yet"
    )
    since = luigi.Parameter(
        default="", description="only clips uploaded on this day or later, as in 2024-06-30, with likes or without"
    )
    uploads = luigi.Parameter(
        default="",
        description="recommend from new clips that ScoreUploads scored with this run: the id in the uploads/<id> that"
        " it prints; default: from the run's own clips",
    )
    name = luigi.Parameter(
        default="", description="what to call the files; what was called so before is replaced. Default: from options"
    )
    device = luigi.Parameter(default="auto", significant=False, description="auto, cpu, cuda or cuda:N")

    def complete(self) -> bool:
        self._checked()  # a wrong option is an error before anything starts
        return False  # what is printed is made anew; it takes seconds

    def run(self) -> None:
        run_folder, options = self._checked()
        from models.device import resolve_device
        from pipeline.scoring.embeddings import read_embeddings, read_upload_embeddings
        from pipeline.scoring.recommendation import write_recommendation

        run = run_folder.read_about()
        if run["untrained"]:
            from pipeline.runs.train import warn_if_untrained

            warn_if_untrained(run)
        read = read_upload_embeddings if options.uploads else read_embeddings
        embeddings = read(options.folder(self.workspace, run), run_folder, resolve_device(self.device))
        made = write_recommendation(run_folder, embeddings, options, self.name)
        names = {run_id: name for name, run_id in read_names(self.workspace).items()}
        say(recommendation_text(made, options, names.get(run_folder.id, run_folder.id)))

    def _checked(self) -> tuple[Run, RecommendOptions]:
        """The run's folder, and what is asked of it."""
        options = RecommendOptions(
            weights=parse_weights(self.weights),
            challenge=self.challenge,
            top=self.top,
            diversity=self.diversity,
            per_creator=self.per_creator,
            new_only=self.new_only,
            since=self.since,
            uploads=self.uploads.strip("/").removeprefix("uploads/"),
        )
        if self.name:
            check_name(self.name)
        run_folder = Run.of(self.workspace, find_run(self.workspace, self.run_id))
        check_options(run_folder, options)
        return run_folder, options


def recommendation_text(made: "Recommendation", options: RecommendOptions, run: str) -> str:
    """A table a challenge: what each clip is good for, what it looks like, and whose place it took."""
    asked = ", ".join(f"{modality} {weight:g}" for modality, weight in options.weights if weight)
    creators = f"at most {options.per_creator} a creator" if options.per_creator else "any number a creator"
    lines = [f"recommended from run {run} by {asked}; diversity {options.diversity:g}, {creators}"]
    for about in made.challenges:
        here = made.table[made.table["challenge"] == about["name"]]
        lines += ["", _heading(about, options)]
        if len(here):
            lines += _clip_lines(here)
    lines.append("")
    seen = int((made.table["place"].notna() & ~made.table["unseen"]).sum())
    if seen:
        lines.append(
            f"NOTE: the model was trained on {seen} of these clips and saw their likes, which flatters them; BuildVDV"
            " with --folds 3 judges every clip by a model that did not see it"
        )
    lines.append(f"written: {made.parquet} and .json beside it")
    return "\n".join(lines)


def _heading(about: dict, options: RecommendOptions) -> str:
    which = ["without engagement yet"] * options.new_only + [f"uploaded since {options.since}"] * bool(options.since)
    heading = f"{about['name']}: {about['to_choose_from']} of {about['clips']} clips to choose from"
    heading += f" ({' and '.join(which)})" if which else ""
    if math.isfinite(about["diversity"]):
        heading += (
            f"; mean relevance {about['relevance']:.2f} ({about['relevance_undiversified']:.2f} by relevance alone),"
            f" diversity {about['diversity']:.2f} ({about['diversity_undiversified']:.2f})"
        )
    return heading if about["known"] else f"{heading}; the run was not trained on this challenge: an order, and no more"


def _clip_lines(clips: "pd.DataFrame") -> list[str]:
    """Of one challenge: a header, the clips recommended and those passed over."""
    percentiles = [name for name in clips.columns if name.startswith("percentile_")]
    header = ["", "clip", "creator", "relevance", *(name.removeprefix("percentile_") for name in percentiles)]
    rows = [
        [
            _text(clip["place"], "-"), clip["clip_id"], _text(clip["creator_id"], ""),
            *(_text(clip[name] * 100, "-", ".0f") for name in ("relevance", *percentiles)),
        ]
        for _, clip in clips.iterrows()
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: list[str], ending: str) -> str:
        words = [cell.ljust(width) for cell, width in zip(cells[1:3], widths[1:3], strict=True)]
        figures = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
        return "  ".join(["  " + cells[0].rjust(widths[0]), *words, *figures, ending]).rstrip()

    endings = [_ending(clip) for _, clip in clips.iterrows()]
    return [line(header, "by relevance  most like"), *(line(*row) for row in zip(rows, endings, strict=True))]


def _ending(clip: "pd.Series") -> str:
    """What a clip gained or lost by being like others, or not."""
    if _text(clip["passed_over"], "") == "":
        moved = int(clip["relevance_place"]) - int(clip["place"])
        rank = f"{clip['relevance_place']}" + (f" ({moved:+d})" if moved else "")
        alike = _text(clip["most_similar"], "")
        return f"{rank:<12}  {clip['similarity']:.2f} {alike}" if alike else rank
    why = {
        "creator": f"creator {clip['creator_id']} is there with {clip['instead']}",
        "copy": f"a copy of {clip['instead']}",
        "alike": f"too much like {clip['instead']} ({clip['similarity']:.2f})",
    }[clip["passed_over"]]
    return f"{clip['relevance_place']}, but passed over: {why}"


def _text(value: Any, nothing: str, form: str = "") -> str:
    import pandas as pd

    return nothing if pd.isna(value) else format(value, form)
