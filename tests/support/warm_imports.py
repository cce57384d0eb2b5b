"""Imports what a build imports, and does nothing else: for `warm_process` to load before it forks."""

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

import_mmpose()
