"""The DAG. `luigi --module tasks BuildVDV --help` says what each task takes."""

import logging
import os
import sys
from pathlib import Path

import luigi

from pipeline.commands.caller import die_with_caller
from pipeline.core.import_path import leave_out_working_folder
from pipeline.core.interrupt import end_on_interrupt

if "luigi.cmdline" in sys.modules:  # the command, not a notebook, whose own modules may lie in the working folder
    # Before torch is loaded. Threads of a small network wait for each other thousands of times a second; where another
    # process has a core, those that wait as long as is usual before they sleep make a training many times as long.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    end_on_interrupt()
    die_with_caller()
    leave_out_working_folder()

from tasks.build import BuildVDV
from tasks.console import UserErrors
from tasks.features import AssembleDataset, ExtractBatch, IngestBatch
from tasks.finished.export import ExportDataset, ExportModel
from tasks.finished.recommend import Recommend
from tasks.finished.runs import ActionFeedback, CompareRuns, DeleteRun
from tasks.model import CrossValidate, EvaluateRun, RenderReport, RunAblations, ScoreClips, TrainFusion
from tasks.preparation import FetchWeights, MakeManifest
from tasks.purge import PurgeClips
from tasks.scheduler import core
from tasks.score_uploads import ScoreUploads
from tasks.world import RenderWorld

__all__ = [
    "ActionFeedback", "AssembleDataset", "BuildVDV", "CompareRuns", "CrossValidate", "DeleteRun", "EvaluateRun",
    "ExportDataset", "ExportModel", "ExtractBatch", "FetchWeights", "IngestBatch", "MakeManifest", "PurgeClips",
    "Recommend", "RenderReport", "RenderWorld", "RunAblations", "ScoreClips", "ScoreUploads", "TrainFusion",
]  # fmt: skip

# Ours comes before all that Luigi reads by itself: what is read later wins.
for _path in (
    str(Path(__file__).with_name("luigi.cfg")),
    "/etc/luigi/luigi.cfg",
    "luigi.cfg",
    os.environ.get("LUIGI_CONFIG_PATH"),
):
    if _path and Path(_path).is_file():
        luigi.configuration.add_config_path(_path)
luigi.interface.core = core  # type: ignore[misc]  # where Luigi looks it up when it starts
logging.getLogger("luigi-interface").addFilter(UserErrors())
