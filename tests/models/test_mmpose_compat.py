"""mmpose runs on today's stack, from its own package alone."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from models.errors import ProfileError, WeightsError
from models.mmpose_compat import config_path, import_mmpose, load_config, weights_url

RTMO_S = "rtmo-s_8xb32-600e_body7-640x640"
RTMO_L = "rtmo-l_16xb16-600e_body7-640x640"
ROOT = Path(__file__).resolve().parents[2]


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_importing_mmpose_says_nothing_and_may_be_repeated():
    done = _python(
        "from models.mmpose_compat import import_mmpose\n"
        "assert import_mmpose() is import_mmpose()\n"
        "from models.pose import PoseExtractor\nimport torch\n"
        f"e = PoseExtractor({RTMO_S!r}, None, torch.device('cpu'), 1, 64, 5, 0.0, 0.65)\n"
        "p = e.prepare(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))\n"
        "assert len(e.infer(p.inputs, p.extras)) == 1\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_configs_and_urls_are_found_without_loading_torch():
    done = _python(
        "import sys\nfrom models.mmpose_compat import config_path, weights_url\n"
        f"config_path({RTMO_S!r}), weights_url({RTMO_S!r})\n"
        "print([name for name in ('torch', 'mmpose', 'mmengine') if name in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_warnings_of_others_still_come_through():
    import_mmpose()
    with pytest.warns(UserWarning, match="something else"):
        warnings.warn("something else", UserWarning, stacklevel=1)


def test_a_config_is_found_by_name_or_path():
    path = config_path(RTMO_L)
    assert path.is_file()
    assert path.stem == RTMO_L
    assert config_path(str(path)) == path


def test_an_unknown_config_is_refused_with_the_nearest_names():
    with pytest.raises(ProfileError, match=f"near it: .*{RTMO_L}"):
        config_path("rtmo-l_16xb16-600e_body7-640")
    with pytest.raises(ProfileError, match="no such file"):
        config_path("nowhere/at_all.py")


def test_weights_urls_are_those_of_mmposes_metafiles():
    base = "https://download.openmmlab.com/mmpose/v1/projects/rtmo/"
    assert weights_url(RTMO_S) == base + "rtmo-s_8xb32-600e_body7-640x640-dac2bf74_20231211.pth"
    assert weights_url(RTMO_L) == base + "rtmo-l_16xb16-600e_body7-640x640-b37118ce_20231211.pth"


def test_a_config_without_published_weights_says_so(tmp_path):
    own = tmp_path / "mine.py"
    own.write_text("model = dict(type='BottomupPoseEstimator')\n")
    with pytest.raises(WeightsError, match="no weights for the config"):
        weights_url(str(own))


@pytest.mark.parametrize("name", [RTMO_S, "ae_hrnet-w32_8xb24-300e_coco-512x512"])
def test_a_loaded_config_names_no_download(name):
    assert "http" in config_path(name).read_text()
    assert "http" not in repr(load_config(name).model)


def test_what_needs_the_missing_operator_says_so_when_built():
    import_mmpose()
    from mmcv.ops import MultiScaleDeformableAttention

    with pytest.raises(ProfileError, match="choose a network without it, such as RTMO"):
        MultiScaleDeformableAttention(embed_dims=256)
    with pytest.raises(ImportError):
        from mmcv.ops import DeformConv2d  # noqa: F401  what mmpose's own guards count on


def test_torchvisions_suppression_keeps_whom_mmposes_own_keeps():
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
