"""mmpose runs on today's stack, from its own package alone."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from models.errors import ProfileError
from models.extractors.mmpose_compat import (
    MAX_MATCHED_BY_MMPOSE,
    POSE_CONFIGS,
    config_path,
    import_mmpose,
    load_config,
)

RTMO_T = "rtmo-t_8xb32-600e_body7-416x416"
RTMO_S = "rtmo-s_8xb32-600e_body7-640x640"
RTMO_L = "rtmo-l_16xb16-600e_body7-640x640"
ROOT = Path(__file__).resolve().parents[3]


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_importing_mmpose_says_nothing_and_may_be_repeated() -> None:
    done = _python(
        "from models.extractors.mmpose_compat import import_mmpose\n"
        "assert import_mmpose() is import_mmpose()\n"
        "from models.extractors.pose import PoseExtractor\nimport torch\n"
        f"e = PoseExtractor({RTMO_T!r}, None, torch.device('cpu'), 1, 64, 5, 0.0, 0.65)\n"
        "p = e.prepare(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))\n"
        "assert len(e.infer(p.inputs, p.extras)) == 1\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_configs_are_found_without_loading_torch() -> None:
    done = _python(
        "import sys\nfrom models.extractors.mmpose_compat import config_path\n"
        f"config_path({RTMO_S!r})\n"
        "print([name for name in ('torch', 'mmpose', 'mmengine') if name in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_warnings_of_others_still_come_through() -> None:
    import_mmpose()
    with pytest.warns(UserWarning, match="something else"):
        warnings.warn("something else", UserWarning, stacklevel=1)


def test_a_config_is_found_by_name_or_path() -> None:
    path = config_path(RTMO_L)
    assert path.is_file()
    assert path.stem == RTMO_L
    assert config_path(str(path)) == path


def test_an_unknown_config_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(ProfileError, match=f"near it: .*{RTMO_L}"):
        config_path("rtmo-l_16xb16-600e_body7-640")
    with pytest.raises(ProfileError, match="no such file"):
        config_path("nowhere/at_all.py")


def test_our_own_configs_are_found_by_name() -> None:
    (name,) = [path.stem for path in POSE_CONFIGS.glob("*.py")]
    assert config_path(name) == POSE_CONFIGS / f"{name}.py"
    assert load_config(name).model.head.type == "AssociativeEmbeddingHead"


def test_matching_is_mmposes_own_for_people_and_as_cheap_in_sum_for_crowds() -> None:
    import_mmpose()
    import numpy as np
    from mmpose.codecs.associative_embedding import _py_max_match as ours
    from munkres import Munkres

    rng = np.random.default_rng(0)
    most = MAX_MATCHED_BY_MMPOSE
    for shape in ((1, 1), (3, 3), (2, 7), (10, most), (10, most + 1), (most + 5, most + 5)):
        costs = (100 * np.round(3 * rng.random(shape)) - rng.random(shape)).astype(np.float32)
        theirs = np.array(Munkres().compute(costs.copy()))
        pairs = ours(costs)
        if max(shape) <= most:
            np.testing.assert_array_equal(pairs, theirs)
        assert len(pairs) == min(shape)
        assert abs(costs[tuple(pairs.T)].sum() - costs[tuple(theirs.T)].sum()) < 1e-3
        assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)


def test_refinement_is_mmposes_own_on_a_peak_and_nothing_where_there_is_none() -> None:
    import_mmpose()
    import numpy as np
    from mmpose.codecs.associative_embedding import refine_keypoints_dark_udp as ours
    from mmpose.codecs.utils import refine_keypoints_dark_udp as theirs

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:72, :48]
    true = rng.uniform((5, 5), (42, 66), (17, 2))
    bells = np.exp(-((x - true[:, 0, None, None]) ** 2 + (y - true[:, 1, None, None]) ** 2) / 4.5).astype(np.float32)
    peaks = np.round(true)[None].astype(np.float32)
    refined = ours(peaks.copy(), bells.copy(), 3)
    np.testing.assert_array_equal(refined, theirs(peaks.copy(), bells.copy(), 3))
    assert np.abs(refined[0] - true).max() < 0.15 < np.abs(peaks[0] - true).max()

    flat = (0.2 + 1e-4 * rng.random((17, 72, 48))).astype(np.float32)
    assert np.abs(theirs(peaks.copy(), flat.copy(), 3) - peaks).max() > 10
    assert np.abs(ours(peaks.copy(), flat.copy(), 3) - peaks).max() <= 1


@pytest.mark.parametrize("name", [RTMO_S, "ae_hrnet-w32_8xb24-300e_coco-512x512"])
def test_a_loaded_config_names_no_download(name: str) -> None:
    assert "http" in config_path(name).read_text()
    assert "http" not in repr(load_config(name).model)


def test_what_needs_the_missing_operator_says_so_when_built() -> None:
    import_mmpose()
    from mmcv.ops import MultiScaleDeformableAttention

    with pytest.raises(ProfileError, match="choose a network without it, such as RTMO"):
        MultiScaleDeformableAttention(embed_dims=256)
    with pytest.raises(ImportError):
        from mmcv.ops import DeformConv2d  # noqa: F401  what mmpose's own guards count on


def test_torchvisions_suppression_keeps_whom_mmposes_own_keeps() -> None:
    import_mmpose()
    import torch
    from mmpose.evaluation.functional import nms_torch as theirs
    from mmpose.models.heads.hybrid_heads.rtmo_head import nms_torch as ours

    assert ours is not theirs
    random = torch.Generator().manual_seed(0)
    for count in (1, 2, 300):
        corner = torch.rand(count, 2, generator=random) * 60
        boxes = torch.cat((corner, corner + 20 + 40 * torch.rand(count, 2, generator=random)), dim=1)
        boxes[0, 2:] = boxes[0, :2]  # nothing in it
        scores = torch.rand(count, generator=random)
        for threshold in (0.1, 0.65, 0.95):
            assert ours(boxes, scores, threshold).tolist() == theirs(boxes, scores, threshold).tolist()
