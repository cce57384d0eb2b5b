"""Import of mmpose 1.3.2 on today's torch, numpy and OpenCV; all workarounds stand here.

mmpose is installed without its requirements, and two modules are replaced that cannot be installed:

* `xtcocotools` -> `pycocotools`. mmpose's fork of it only adds sigmas to COCOeval, which nothing here calls, and its
  wheel is built for numpy 1: importing it under numpy 2 fails.
* `mmcv.ops`. mmcv-lite ships the Python side of mmcv's compiled operators without the operators, so importing the
  package fails; full mmcv does not compile against today's torch. mmpose imports one name of it without a guard,
  `MultiScaleDeformableAttention` (ED-Pose's attention); its stand-in is a class that raises when it is built. RTMO and
  the associative-embedding heads have their own non-maximum suppression and use no mmcv operator.

Two functions of mmpose are replaced for speed alone: `nms_torch`, a Python loop with a dozen kernels and a wait for the
GPU each person, by torchvision's operator of the same greedy rule; and, where a picture has joints everywhere, the
assignment that groups keypoints into people, Hungarian in pure Python, by scipy's. One is bounded: the sub-pixel
refinement of keypoints, which throws those on a false, flat peak out of the picture.

Planning code may import this module: torch and mmpose load only inside `import_mmpose`.
"""

import difflib
import importlib
import importlib.util
import sys
import types
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from models.errors import ProfileError

MMPOSE_VERSION = "1.3.2"
MAX_MATCHED_BY_MMPOSE = 20
POSE_CONFIGS = Path(__file__).with_name("pose_configs")
_INSTALL = "install it with `pip install --no-deps -r requirements-openmmlab.txt`"

# Warnings of mmpose and its libraries on every start that no user can act on. Message (a regular expression), category.
_IGNORED_WARNINGS: tuple[tuple[str, type[Warning]], ...] = (
    (r"pkg_resources is deprecated as an API", UserWarning),  # mmengine; why setuptools<82 is pinned
    (r"Fail to import ``MultiScaleDeformableAttention``", UserWarning),  # mmcv-lite, about the operator above
    (r"`torch\.cuda\.amp\.autocast\(args\.\.\.\)` is deprecated", FutureWarning),  # CSPDarknet, on every forward
    (r"torch\.meshgrid: in an upcoming release", UserWarning),  # positional encoding of the hybrid encoder
    (r"The metainfo config file .* does not exist\. A matched config file", UserWarning),  # found in its own package
)


def import_mmpose() -> types.ModuleType:
    """mmpose, with its stand-ins in place and its models and transforms registered. May be called any number of times.

    Raises:
        ProfileError: mmpose is not installed, or another version of it is.
    """
    # Set on each call, because test runners reset the process's filters.
    for message, category in _IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=message, category=category)
    return _import_once()


@cache
def _import_once() -> types.ModuleType:
    _stand_in_for_xtcocotools()
    _stand_in_for_mmcv_ops()
    try:
        mmpose = importlib.import_module("mmpose")
        for part in ("mmpose.models", "mmpose.datasets", "mmpose.apis"):
            importlib.import_module(part)
    except ModuleNotFoundError as error:
        raise ProfileError(f"the pose extractor needs mmpose {MMPOSE_VERSION} ({error}); {_INSTALL}") from error
    if mmpose.__version__ != MMPOSE_VERSION:
        raise ProfileError(
            f"the pose extractor needs mmpose {MMPOSE_VERSION}, but {mmpose.__version__} is installed; {_INSTALL}"
        )
    _replace_nms()
    _bound_matching()
    _bound_refinement()
    return mmpose


def _stand_in_for_xtcocotools() -> None:
    for name in ("", ".coco", ".cocoeval", ".mask"):
        sys.modules["xtcocotools" + name] = importlib.import_module("pycocotools" + name)


class MultiScaleDeformableAttention:
    """Stand-in for mmcv's compiled operator; raises when a network that needs it is built."""

    def __init__(self, *_args: Any, **_options: Any):
        raise ProfileError(
            "this pose network needs mmcv's compiled MultiScaleDeformableAttention, which does not build against "
            "today's torch; choose a network without it, such as RTMO"
        )


def _stand_in_for_mmcv_ops() -> None:
    if importlib.util.find_spec("mmcv") is None:
        raise ProfileError(f"the pose extractor needs mmcv-lite; {_INSTALL}")
    if importlib.util.find_spec("mmcv._ext") is not None:  # full, compiled mmcv needs no stand-in
        return
    # Only the names that are imported without a guard. A name that is missing raises ImportError, which is what
    # mmpose's own guards ("try: from mmcv.ops import DeformConv2d") expect of an mmcv without operators.
    ops = types.ModuleType("mmcv.ops", "Stand-in: see models/extractors/mmpose_compat.py")
    attention = types.ModuleType("mmcv.ops.multi_scale_deform_attn", "Stand-in: see models/extractors/mmpose_compat.py")
    for module in (ops, attention):
        module.MultiScaleDeformableAttention = MultiScaleDeformableAttention  # type: ignore[attr-defined]
    ops.__path__ = []  # a package, so that `mmcv.ops.x` is "not found" rather than "not a package"
    sys.modules["mmcv.ops"] = ops
    sys.modules["mmcv.ops.multi_scale_deform_attn"] = attention


def _replace_nms() -> None:
    """Replace the one-stage heads' non-maximum suppression by torchvision's; mmpose.evaluation keeps its own."""
    from torchvision.ops import nms

    def nms_torch(bboxes: Any, scores: Any, threshold: float = 0.65) -> Any:
        """Positions of the boxes [N, 4] kept, best first; a box that overlaps a better one by more than `threshold`
        (IoU) is dropped.
        """
        return nms(bboxes, scores, threshold)

    for head in ("rtmo_head", "yoloxpose_head"):
        module = importlib.import_module(f"mmpose.models.heads.hybrid_heads.{head}")
        module.nms_torch = nms_torch  # type: ignore[attr-defined]


def _bound_matching() -> None:
    """Make the associative-embedding codec use scipy's solver where mmpose's would take seconds a frame.

    Costs are rounded, so several matchings may be the best. Up to MAX_MATCHED_BY_MMPOSE candidates or groups, which is
    more than pictures of people have, mmpose's solver picks among them.
    """
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    module = importlib.import_module("mmpose.codecs.associative_embedding")
    original = module._py_max_match

    def match(costs: Any) -> Any:
        """costs [N, M] -> int [min(N, M), 2] pairs of row and column with the least sum."""
        if max(costs.shape) <= MAX_MATCHED_BY_MMPOSE:
            return original(costs)
        return np.stack(linear_sum_assignment(costs), axis=1)

    module._py_max_match = match  # type: ignore[attr-defined]


def _bound_refinement() -> None:
    """Leave a keypoint at the heatmap's maximum where the associative-embedding codec would move it over a pixel.

    The move is the slope over the curvature; on a false, flat peak that curvature is nearly 0, and mmpose's keypoint
    ends up thousands of pixels away. On a peak the true maximum lies within a pixel.
    """
    import numpy as np

    module = importlib.import_module("mmpose.codecs.associative_embedding")
    original = module.refine_keypoints_dark_udp

    def refine(keypoints: Any, heatmaps: Any, blur_kernel_size: int) -> Any:
        """keypoints [N, K, 2] in heatmap pixels -> the same, refined."""
        peaks = keypoints.copy()
        refined = original(keypoints, heatmaps, blur_kernel_size)
        near = np.abs(refined - peaks).max(axis=-1, keepdims=True) <= 1  # nan is not
        return np.where(near, refined, peaks)

    module.refine_keypoints_dark_udp = refine  # type: ignore[attr-defined]


def _configs_folder() -> Path:
    """Folder of the installed mmpose's configs, without importing it."""
    spec = importlib.util.find_spec("mmpose")
    if spec is None or not spec.submodule_search_locations:
        raise ProfileError(f"the pose extractor needs mmpose {MMPOSE_VERSION}; {_INSTALL}")
    return Path(spec.submodule_search_locations[0]) / ".mim" / "configs"


@cache
def _configs() -> dict[str, Path]:
    mmpose_configs = {path.stem: path for path in sorted(_configs_folder().rglob("*.py")) if "_base_" not in path.parts}
    return mmpose_configs | {path.stem: path for path in POSE_CONFIGS.glob("*.py")}


def config_path(name: str) -> Path:
    """The file of an mmpose config by name (`rtmo-l_16xb16-600e_body7-640x640`; also of POSE_CONFIGS) or path.

    A config given as a path is Python that mmengine runs: use only files that you would run.

    Raises:
        ProfileError: no such config; names the nearest ones.
    """
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise ProfileError(f"pose config {name!r}: no such file")
        return path
    configs = _configs()
    if name not in configs:
        near = difflib.get_close_matches(name, configs, n=3, cutoff=0.4)
        raise ProfileError(f"pose config {name!r} is not one of mmpose's; near it: {', '.join(near) or 'none'}")
    return configs[name]


def load_config(name: str) -> Any:
    """An mmengine Config that downloads nothing.

    Every `init_cfg` of type Pretrained and every `pretrained` entry is dropped.

    Raises:
        ProfileError: no such config.
    """
    import_mmpose()
    from mmengine.config import Config

    config = Config.fromfile(str(config_path(name)))
    _drop_downloads(config.model)
    return config


def _drop_downloads(node: Any) -> None:
    items = list(node.items()) if isinstance(node, dict) else list(enumerate(node))
    for key, value in items:
        if key == "pretrained" or (key == "init_cfg" and _names_a_checkpoint(value)):
            node[key] = None
        elif isinstance(value, dict | list):
            _drop_downloads(value)


def _names_a_checkpoint(init_cfg: Any) -> bool:
    entries = init_cfg if isinstance(init_cfg, list) else [init_cfg]
    return any(isinstance(entry, dict) and entry.get("type") == "Pretrained" for entry in entries)
