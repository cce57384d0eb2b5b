"""Imports what a build imports, and makes what each one makes alike: for `warm_process` to have before it forks.

In the server it also mends what would end that one with a client.
"""

# ruff: noqa: F401
import errno
import multiprocessing.reduction
import socket

import facenet_pytorch
import luigi.cmdline
import matplotlib.backends.backend_agg
import matplotlib.backends.backend_svg
import openvino.frontend.pytorch.ts_decoder
import pandera.backends.pandas.builtin_checks
import pandera.backends.pandas.register
import PIL.Image
import pyarrow.dataset
import s3fs
import scipy.cluster.hierarchy
import torch.utils.tensorboard
import torchvision

import models.extractors.appearance
import models.extractors.audio.extractor
import models.extractors.face
import models.extractors.pose
import models.extractors.scene
import pipeline.dataset.assemble
import pipeline.evaluation.evaluate
import pipeline.evaluation.figures
import pipeline.extraction.extract
import pipeline.extraction.owners
import pipeline.report.render
import pipeline.runs.train
import tasks
from models.extractors.mmpose_compat import import_mmpose
from pipeline.core.source_code import code_hash
from pipeline.report.page_file import charts_script

receive = multiprocessing.reduction.recvfds


def receive_or_refuse(sock: socket.socket, size: int) -> list[int]:
    """`recvfds`, by whose EOFError a client that is killed while it asks for a process would end the server."""
    try:
        return receive(sock, size)
    except EOFError as error:
        raise ConnectionAbortedError(errno.ECONNABORTED, "the client has ended") from error


multiprocessing.reduction.recvfds = receive_or_refuse
import_mmpose()
PIL.Image.init()
charts_script()
code_hash("pipeline.training.encoder_training")
