"""Poses: the same people as mmpose finds one picture at a time, whatever shares the batch; and bounded work."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from models.errors import ProfileError, WeightsError
from models.extractors import rtmo
from models.extractors.mmpose_compat import config_path, import_mmpose, load_config
from models.extractors.people import People
from models.extractors.pose import MAX_CANDIDATES, Letterbox, PoseExtractor

RTMO = "rtmo-t_8xb32-600e_body7-416x416"
CPU = torch.device("cpu")
SIDE = 320  # px; the network still has more anchors than MAX_CANDIDATES
SCORE, NMS = 0.1, 0.65


def extractor(state_dict: dict[str, torch.Tensor] | None = None, config: str = RTMO, **changes: Any) -> PoseExtractor:
    options = {"batch_size": 4, "input_size": SIDE, "max_persons": 150, "score_threshold": SCORE, "nms_threshold": NMS}
    return PoseExtractor(config, state_dict, CPU, **(options | changes))


@pytest.fixture(scope="module")
def untrained() -> PoseExtractor:
    return extractor()


@pytest.fixture(scope="module")
def frames(dance_clips: Path) -> list[torch.Tensor]:
    """Twelve real frames of several sizes: of three clips four frames each; uint8 [4, H, W, 3] a clip."""
    import decord

    clips = []
    for name in ("animatex_dance_1", "mmaction2_demo_skeleton", "musepose_dance"):
        reader = decord.VideoReader(str(dance_clips / f"{name}.mp4"), num_threads=1)
        clips.append(torch.from_numpy(reader.get_batch(range(0, 40, 10)).asnumpy()))
    assert len({clip.shape for clip in clips}) == 3
    return clips


@pytest.fixture(scope="module")
def lively(frames: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Seeded random weights whose people are worth comparing: several a frame, of many sizes, scores well spread.

    Random weights alone put every score near 0.01 and every box at 16 px. Here the normalisation layers take their
    statistics from real frames, as training would have them, and the head's last layers are scaled.
    """
    pose = extractor(score_threshold=0.0)
    model = pose.model
    for layer in model.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.momentum = None  # statistics of all that passes, not a running mean
            layer.train()
    with torch.no_grad():
        inputs = torch.cat([pose.prepare(clip).inputs for clip in frames]).float()
        features = model.extract_feat(inputs)
        model.head.forward(features)
        model.eval()
        head = model.head.head_module
        cls_scores, bbox_preds, _, _, pose_feats = model.head.forward(model.extract_feat(inputs))
        for level in range(2):
            _rescale(head.out_cls[level], cls_scores[level], mean=-4.0, std=2.0)  # one anchor in five is a candidate
            _rescale(head.out_bbox[level], bbox_preds[level], mean=0.0, std=0.1)
            head.out_bbox[level].bias[2:] += 1.5  # boxes of some 4 strides
            _rescale(head.out_pose[level], pose_feats[level], mean=0.0, std=1.0)
        for encoding in (model.head.dcc.x_fc, model.head.dcc.y_fc):
            encoding.weight.mul_(0.1)  # softer heatmaps: random ones have far peaks of equal height, where bits decide
    return {key: value.clone() for key, value in model.state_dict().items()}


def _rescale(layer: torch.nn.Conv2d, outputs: torch.Tensor, mean: float, std: float) -> None:
    """Changes a convolution so that its outputs, which were `outputs`, have the mean and the deviation given."""
    assert layer.bias is not None
    factor = std / outputs.std()
    layer.bias.sub_(outputs.mean()).mul_(factor).add_(mean)
    layer.weight.mul_(factor)


@pytest.fixture(scope="module")
def trained(lively: dict[str, torch.Tensor]) -> PoseExtractor:
    return extractor(lively)


def in_batches(pose: Any, clips: Sequence[torch.Tensor]) -> list[People]:
    """All frames of all clips through batches that mix them."""
    prepared = [pose.prepare(clip) for clip in clips]
    inputs = torch.cat([part.inputs for part in prepared])
    extras = [extra for part in prepared for extra in part.extras]
    results = []
    for start in range(0, len(extras), pose.batch_size):
        stop = start + pose.batch_size
        results += pose.infer(inputs[start:stop], extras[start:stop])
    return results


def reference(state_dict: Mapping[str, torch.Tensor]) -> nn.Module:
    """The same network as mmpose builds it, its own suppression put back."""
    import_mmpose()
    from mmengine.config import Config
    from mmpose.apis import init_model

    config = Config.fromfile(str(config_path(RTMO)))
    config.model.backbone.init_cfg = None
    config.model.test_cfg = {"input_size": (SIDE, SIDE), "score_thr": SCORE, "nms_thr": NMS}
    config.test_dataloader.dataset.pipeline[1].input_size = (SIDE, SIDE)
    model = init_model(config, device="cpu")
    model.load_state_dict(state_dict)
    return model


def test_batches_find_what_mmpose_finds_frame_by_frame(
    frames: list[torch.Tensor], lively: dict[str, torch.Tensor], trained: PoseExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmpose.apis import inference_bottomup
    from mmpose.evaluation.functional import nms_torch
    from mmpose.models.heads.hybrid_heads import rtmo_head

    model = reference(lively)
    monkeypatch.setattr(rtmo_head, "nms_torch", nms_torch)
    expected = [inference_bottomup(model, picture.numpy()[..., ::-1].copy())[0] for clip in frames for picture in clip]
    monkeypatch.undo()
    results = in_batches(trained, frames)

    assert len(results) == len(expected) == 12
    assert min(len(people) for people in results) >= 3
    assert max(len(people) for people in results) < 150
    spread = np.concatenate([people.scores for people in results])
    assert spread.max() - spread.min() > 0.2
    apart = []
    for people, sample in zip(results, expected, strict=True):
        theirs = sample.pred_instances
        assert people.keypoints.dtype == people.boxes.dtype == people.scores.dtype == np.float32
        assert len(people) == len(theirs.bbox_scores)
        np.testing.assert_allclose(people.scores, theirs.bbox_scores, atol=5e-4)
        apart.append(np.abs(people.keypoints[..., :2] - theirs.keypoints).max(axis=2).ravel())
        np.testing.assert_allclose(people.keypoints[..., 2], theirs.keypoint_scores, atol=5e-4)
        np.testing.assert_allclose(people.boxes, theirs.bboxes, atol=0.5)
    # Random weights have joints with two places that are as good; which of them is better, rounding may decide.
    assert (np.concatenate(apart) < 0.5).mean() > 0.999


def test_what_shares_a_batch_changes_no_bit(frames: list[torch.Tensor], trained: PoseExtractor) -> None:
    clip = frames[0]
    prepared = trained.prepare(clip)
    together = trained.infer(prepared.inputs, prepared.extras)
    back = trained.infer(prepared.inputs.flip(0), prepared.extras[::-1])[::-1]
    alone = [trained.infer(prepared.inputs[n : n + 1], prepared.extras[n : n + 1])[0] for n in range(len(clip))]
    for first, second, third in zip(together, back, alone, strict=True):
        assert len(first)
        for name in ("keypoints", "boxes", "scores"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
            np.testing.assert_array_equal(getattr(first, name), getattr(third, name))


def test_people_come_best_first_and_no_more_than_asked(
    frames: list[torch.Tensor], lively: dict[str, torch.Tensor], trained: PoseExtractor
) -> None:
    few = extractor(lively, max_persons=2)
    for all_people, best in zip(in_batches(trained, frames[:1]), in_batches(few, frames[:1]), strict=True):
        assert (np.diff(all_people.scores) <= 0).all()
        assert len(best) == 2
        np.testing.assert_allclose(best.keypoints, all_people.keypoints[:2], atol=0.05)


def test_the_letterbox_is_mmposes_and_keeps_blue_blue(untrained: PoseExtractor) -> None:
    red = torch.zeros(1, 40, 80, 3, dtype=torch.uint8)
    red[..., 0] = 200
    prepared = untrained.prepare(red)
    assert prepared.inputs.shape == (1, 3, SIDE, SIDE)
    assert prepared.inputs.dtype == torch.uint8
    assert prepared.frame == [0]
    assert prepared.inputs[0, :, SIDE // 2, SIDE // 2].tolist() == [0, 0, 200]  # blue, green, red
    assert prepared.inputs[0, :, 10, 10].tolist() == [114, 114, 114]  # above the picture
    box = prepared.extras[0]
    assert isinstance(box, Letterbox)
    assert (box.center.tolist(), box.scale.tolist()) == ([40, 20], [80, 80])


@pytest.mark.parametrize("shape", [(758, 512), (16, 16), (97, 1031), (1, 1), (320, 320)])
def test_the_letterbox_of_a_gpu_has_the_same_geometry(shape: tuple[int, int], untrained: PoseExtractor) -> None:
    """Run here on the CPU. OpenCV rounds positions to 1/32 px, so on smooth pictures a few grey levels may differ."""
    random = np.random.default_rng(0)
    rough = random.integers(0, 256, (shape[0] // 16 + 2, shape[1] // 16 + 2, 3), dtype=np.uint8)
    picture = cv2.resize(rough, shape[::-1], interpolation=cv2.INTER_CUBIC).reshape(*shape, 3)
    frames = torch.from_numpy(picture)[None].repeat(2, 1, 1, 1)
    exact = untrained.prepare(frames)
    ours = untrained._resize_in_torch(frames)
    assert ours.dtype == torch.uint8
    difference = (ours.int() - exact.inputs.int()).abs()
    assert difference.float().mean() < 1.0
    assert difference.max() <= 12


def test_keypoints_are_pixels_of_the_frame_given(frames: list[torch.Tensor], trained: PoseExtractor) -> None:
    """Whoever is found in a frame stands at twice the coordinates in the same frame at twice the size."""
    picture = cv2.resize(frames[0][0].numpy(), (SIDE * 3 // 4, SIDE), interpolation=cv2.INTER_AREA)
    small = torch.from_numpy(picture)[None]
    large = torch.from_numpy(picture.repeat(2, 0).repeat(2, 1))[None]  # the letterbox takes every second pixel of it
    (people_small,), (people_large,) = in_batches(trained, [small]), in_batches(trained, [large])
    assert len(people_small) == len(people_large) > 0
    np.testing.assert_allclose(people_large.keypoints[..., :2], 2 * people_small.keypoints[..., :2], atol=0.1)
    np.testing.assert_allclose(people_large.boxes, 2 * people_small.boxes, atol=0.1)


def test_no_frames_tiny_frames_and_strips_are_fine() -> None:
    pose = extractor(score_threshold=0.0, max_persons=3)
    empty = pose.prepare(torch.zeros(0, 30, 40, 3, dtype=torch.uint8))
    assert empty.inputs.shape == (0, 3, SIDE, SIDE)
    assert pose.infer(empty.inputs, empty.extras) == []
    for shape in ((16, 16), (1, 1), (4, 2000), (2000, 4)):
        prepared = pose.prepare(torch.full((2, *shape, 3), 90, dtype=torch.uint8))
        assert prepared.inputs.shape == (2, 3, SIDE, SIDE)
        assert [len(people) for people in pose.infer(prepared.inputs, prepared.extras)] == [3, 3]


def test_more_inputs_than_a_batch_holds_are_refused(untrained: PoseExtractor) -> None:
    prepared = untrained.prepare(torch.zeros(5, 32, 32, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="do not fit a batch of 4"):
        untrained.infer(prepared.inputs, prepared.extras)


def test_a_high_threshold_leaves_nobody() -> None:
    pose = extractor(score_threshold=0.9)
    prepared = pose.prepare(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    (people,) = pose.infer(prepared.inputs, prepared.extras)
    assert len(people) == 0
    assert people.keypoints.shape == (0, 17, 3)
    assert people.boxes.shape == (0, 4)


def test_work_a_frame_is_bounded_whatever_the_network_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """At threshold 0 every one of a random network's anchors is a candidate."""
    pose = extractor(score_threshold=0.0, max_persons=7)
    seen = {"suppressed": 0, "decoded": 0}
    encoder = type(pose.model.head.dcc)
    suppress, bins = rtmo.suppressed, encoder._get_bin_enc

    def counted_nms(boxes: torch.Tensor, *options: Any) -> Any:
        seen["suppressed"] = max(seen["suppressed"], boxes.shape[1])
        return suppress(boxes, *options)

    def counted_bins(self: Any, boxes: Any, grids: Any) -> Any:
        seen["decoded"] = max(seen["decoded"], len(boxes))
        return bins(self, boxes, grids)

    monkeypatch.setattr(rtmo, "suppressed", counted_nms)
    monkeypatch.setattr(encoder, "_get_bin_enc", counted_bins)
    prepared = pose.prepare(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    (people,) = pose.infer(prepared.inputs, prepared.extras)
    assert len(people) == 7
    assert seen == {"suppressed": MAX_CANDIDATES, "decoded": 7}


def test_random_weights_are_those_of_the_seed_and_leave_other_randomness_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (extractor(seed=seed).model.state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_a_checkpoint_as_mmengine_writes_it_fits(tmp_path: Path, lively: dict[str, torch.Tensor]) -> None:
    from mmengine.runner.checkpoint import save_checkpoint

    file = tmp_path / "epoch_600.pth"
    save_checkpoint({"meta": {"epoch": 600, "dataset_meta": {"num_keypoints": 17}}, "state_dict": lively}, str(file))
    loaded = torch.load(file, weights_only=True)["state_dict"]
    model = extractor(loaded).model
    assert all(torch.equal(value, lively[key]) for key, value in model.state_dict().items())


def test_weights_may_lack_what_only_training_uses_and_nothing_else(lively: dict[str, torch.Tensor]) -> None:
    training = ("head.loss_oks.sigmas", "head.dcc.sigma_fc.0.weight", "head.head_module.out_kpt_reg.0.bias")
    assert set(training) <= set(lively)
    extractor(
        {key: value for key, value in lively.items() if key not in training} | {"data_preprocessor.mean": torch.ones(3)}
    )

    broken = {key: value for key, value in lively.items() if key != "head.dcc.x_fc.bias"}
    broken["neck.something.new"] = torch.zeros(1)
    broken["head.dcc.y_fc.bias"] = torch.zeros(3)
    with pytest.raises(WeightsError) as error:
        extractor(broken)
    for part in (
        RTMO,
        "1 missing: head.dcc.x_fc.bias",
        "1 unexpected: neck.something.new",
        "1 of another shape: head.dcc.y_fc.bias is [3], must be [128]",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0),
        ("input_size", 100),
        ("max_persons", 0),
        ("max_persons", MAX_CANDIDATES + 1),
        ("score_threshold", 1.0),
        ("score_threshold", -0.1),
        ("nms_threshold", 1.0),
    ],
)
def test_options_out_of_range_are_refused_by_name(option: str, value: float) -> None:
    with pytest.raises(ProfileError, match=f"pose: {option} is {value}"):
        extractor(**dict[str, Any]({option: value}))


def test_a_network_that_is_not_bottom_up_is_refused() -> None:
    name = "rtmpose-t_8xb256-420e_body8-256x192"
    with pytest.raises(ProfileError, match="not of a bottom-up network"):
        extractor(config=name)


def test_heads_that_group_keypoints_serve_too(tmp_path: Path) -> None:
    """AssociativeEmbeddingHead: no boxes, no suppression, an input whose shape mmpose lets follow the frame."""
    config = load_config("ae_hrnet-w32_8xb24-300e_coco-512x512")
    extra = config.model.backbone.extra
    for stage in ("stage1", "stage2", "stage3", "stage4"):  # a toy of the same family, for speed
        extra[stage].num_modules = 1
        extra[stage].num_blocks = (1,) * len(extra[stage].num_blocks)
    file = tmp_path / "small_ae.py"
    config.dump(file)
    pose = extractor(config=str(file), batch_size=2, input_size=128, max_persons=5, score_threshold=0.0)
    prepared = pose.prepare(torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 90, 160, 3), np.uint8)))
    assert prepared.inputs.shape == (2, 3, 128, 128)
    together = pose.infer(prepared.inputs, prepared.extras)
    (alone,) = pose.infer(prepared.inputs[1:], prepared.extras[1:])
    for people in together:
        assert len(people) <= 5
        assert people.keypoints.shape == (len(people), 17, 3)
        assert people.boxes.shape == (len(people), 4)
    np.testing.assert_array_equal(together[1].keypoints, alone.keypoints)
