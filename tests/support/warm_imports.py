"""Imports what a build imports, and makes the charts' script: for `warm_process` to have before it forks."""

# ruff: noqa: F401
import facenet_pytorch
import luigi.cmdline
import torch.utils.tensorboard
import torchvision

import models.extractors.appearance
import models.extractors.face
import models.extractors.pose
import models.extractors.scene
import pipeline.evaluation.evaluate
import pipeline.evaluation.figures
import pipeline.extraction.extract
import pipeline.report.render
import tasks
from models.extractors.mmpose_compat import import_mmpose
from pipeline.report.page_file import charts_script

import_mmpose()
charts_script()
