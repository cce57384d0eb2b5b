"""Networks that group keypoints (associative embedding): the same guarantees as for RTMO, on the bundled network."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from models.errors import ProfileError
from models.extractors.mmpose_compat import config_path, import_mmpose
from models.extractors.people import People
from models.extractors.pose import PoseExtractor
from models.weights.catalogue import bundled_path
from models.weights.checkpoints import load_state_dict
from models.weights.profiles import BatchSize
from pipeline.modalities.registry import build_extractor, load_profile
from simulation.training.labelled_frames import labelled_frames

CPU = torch.device("cpu")
DEMO = load_profile("demo").entry("pose")


def extractor(state_dict: dict[str, torch.Tensor] | None = None, **changes: Any) -> PoseExtractor:
    options = {
        "batch_size": 4,
        "input_size": DEMO.input_size,
        "max_persons": 30,
        "score_threshold": 0.0,
        "nms_threshold": 0.65,
    }
    return PoseExtractor(DEMO.architecture, state_dict, CPU, **(options | changes))


@pytest.fixture(scope="module")
def trained() -> dict[str, torch.Tensor]:
    path = bundled_path("bundled:pose")
    assert path is not None
    return load_state_dict(path)


@pytest.fixture(scope="module")
def restless(trained: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The bundled weights with the heatmaps raised: joints of nobody, and groups of a few joints each."""
    state = {key: value.float() for key, value in trained.items()}
    state["head.final_layer.weight"][:17] *= 0.7  # so that no peak passes 1
    state["head.final_layer.bias"] = state["head.final_layer.bias"] + 0.09
    return state


@pytest.fixture(scope="module")
def frames() -> list[torch.Tensor]:
    """A tall, a square and a wide picture of dancers, three each; uint8 [3, H, W, 3]."""
    pictures = [frame.picture for frame in labelled_frames(77, 3, 3)]
    shapes = ((540, 960), (480, 480), (640, 360))
    return [
        torch.from_numpy(np.stack([cv2.resize(picture, shape) for picture in pictures[3 * place : 3 * place + 3]]))
        for place, shape in enumerate(shapes)
    ]


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


@pytest.mark.parametrize("weights", ["trained", "restless"])
def test_batches_find_what_mmpose_finds_frame_by_frame(
    frames: list[torch.Tensor], weights: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_mmpose()
    from mmpose.apis import inference_bottomup, init_model
    from mmpose.codecs import associative_embedding
    from munkres import Munkres

    state = request.getfixturevalue(weights)
    model = init_model(str(config_path(DEMO.architecture)), device="cpu")
    model.load_state_dict(state)
    monkeypatch.setattr(
        associative_embedding, "_py_max_match", lambda costs: np.array(Munkres().compute(costs.astype(float)))
    )
    expected = [inference_bottomup(model, picture.numpy()[..., ::-1].copy())[0] for clip in frames for picture in clip]
    monkeypatch.undo()
    results = in_batches(extractor(state), frames)

    counts = [len(people) for people in results]
    assert max(counts) < 30
    assert sum(counts) >= (9 if weights == "trained" else 18)
    near: list[bool] = []
    for people, sample in zip(results, expected, strict=True):
        theirs = sample.pred_instances
        assert len(people) == len(theirs.bbox_scores)
        order = np.argsort(-theirs.bbox_scores.clip(0, 1), kind="stable")
        np.testing.assert_allclose(people.scores, theirs.bbox_scores[order].clip(0, 1), atol=1e-4)
        apart = np.abs(people.keypoints[..., :2] - theirs.keypoints[order]).max(axis=-1)
        assert (apart < 0.5)[people.keypoints[..., 2] > 0.3].all()
        near += (apart < 0.5).ravel().tolist()
        scores = theirs.keypoint_scores[order]
        # of joints that a group lacked mmpose gives the logarithm, see models.extractors.pose_heads
        confidence = people.keypoints[..., 2]
        scores = np.where(np.abs(scores.clip(0, 1) - confidence) < 1e-3, scores, np.exp(scores)).clip(0, 1)
        np.testing.assert_allclose(confidence, scores, atol=1e-3)
    assert np.mean(near) > 0.99  # on a false, flat peak rounding decides whether it is refined


def test_no_joint_is_thrown_out_of_the_picture(frames: list[torch.Tensor], restless: dict[str, torch.Tensor]) -> None:
    pose = extractor(restless)
    for clip in frames:
        height, width = clip.shape[1:3]
        reach = max(height, width)  # the input's padding is part of what the network sees
        for people in in_batches(pose, [clip]):
            assert (np.abs(people.keypoints[..., :2] - (width / 2, height / 2)) < reach).all()


def test_what_shares_a_batch_changes_no_bit(frames: list[torch.Tensor], trained: dict[str, torch.Tensor]) -> None:
    pose = extractor(trained)
    prepared = pose.prepare(frames[0])
    together = pose.infer(prepared.inputs, prepared.extras)
    alone = [pose.infer(prepared.inputs[n : n + 1], prepared.extras[n : n + 1])[0] for n in range(3)]
    for first, second in zip(together, alone, strict=True):
        assert len(first)
        for name in ("keypoints", "boxes", "scores"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_scores_lie_between_0_and_1_and_boxes_hold_the_joints_that_were_seen(
    frames: list[torch.Tensor], restless: dict[str, torch.Tensor]
) -> None:
    for people in in_batches(extractor(restless), frames):
        assert ((people.keypoints[..., 2] >= 0) & (people.keypoints[..., 2] <= 1)).all()
        assert ((people.scores >= 0) & (people.scores <= 1)).all()
        for keypoints, box in zip(people.keypoints, people.boxes, strict=True):
            seen = keypoints[keypoints[:, 2] >= 0.1, :2]
            np.testing.assert_array_equal(box, np.concatenate((seen.min(0), seen.max(0))))


def test_the_best_are_kept_and_only_their_missing_joints_are_searched_for(
    frames: list[torch.Tensor], restless: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmpose.codecs import AssociativeEmbedding

    everybody = in_batches(extractor(restless), frames[:1])
    filled = []
    fill = AssociativeEmbedding._fill_missing_keypoints

    def counted(decoder: Any, keypoints: Any, *rest: Any) -> Any:
        filled.append(len(keypoints))
        return fill(decoder, keypoints, *rest)

    monkeypatch.setattr(AssociativeEmbedding, "_fill_missing_keypoints", counted)
    few = in_batches(extractor(restless, max_persons=1), frames[:1])
    assert max(len(people) for people in everybody) > 1
    for people, best in zip(everybody, few, strict=True):
        assert (np.diff(people.scores) <= 0).all()
        assert len(best) == 1
        np.testing.assert_array_equal(best.keypoints, people.keypoints[:1])
    assert filled == [1] * len(few)


def test_a_network_that_sees_joints_everywhere_costs_little_more(frames: list[torch.Tensor]) -> None:
    """Ten candidates of every joint, each with a tag of its own: 170 groups, minutes for mmpose's own matching."""
    import time

    pose = extractor(max_persons=5)
    random = torch.Generator().manual_seed(0)

    def noise(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (1, 17, 72, 48)
        return torch.rand(shape, generator=random), 100 * torch.randn(shape, generator=random)

    prepared = pose.prepare(frames[0][:1])
    pose.model.head.forward = noise
    pose.infer(prepared.inputs, prepared.extras)
    start = time.perf_counter()
    (people,) = pose.infer(prepared.inputs, prepared.extras)
    assert time.perf_counter() - start < 5
    assert len(people) == 5


def test_an_input_may_be_wider_than_tall_and_keypoints_stay_where_they_are(
    frames: list[torch.Tensor], trained: dict[str, torch.Tensor]
) -> None:
    picture = frames[0][:1]
    pose = extractor(trained, input_size=(288, 288))
    (default,), (wide,) = in_batches(extractor(trained, input_size=None), [picture]), in_batches(pose, [picture])
    assert pose.prepare(picture).inputs.shape == (1, 3, 288, 288)
    height = default.boxes[0, 3] - default.boxes[0, 1]
    apart = np.linalg.norm(default.keypoints[0, :, :2] - wide.keypoints[:, :, :2], axis=-1)
    assert np.median(apart, axis=1).min() < 0.03 * height


def test_a_side_that_is_no_multiple_of_32_is_refused() -> None:
    with pytest.raises(ProfileError, match=r"input_size is \(192, 300\); it must be a multiple of 32"):
        extractor(input_size=(192, 300))


def test_the_demo_profile_finds_the_lead() -> None:
    pose = build_extractor("pose", load_profile("demo").with_options("pose", batch_size=BatchSize(1, 1)), CPU)
    for frame in labelled_frames(78, 4, 1):
        prepared = pose.prepare(torch.from_numpy(frame.picture)[None])
        (people,) = pose.infer(prepared.inputs, prepared.extras)
        lead = frame.people[0].keypoints
        seen = lead[:, 2] == 2
        distance = np.linalg.norm(people.keypoints[:, seen, :2] - lead[seen, :2], axis=-1)
        assert np.median(distance, axis=1).min() < 0.08 * (lead[seen, 1].max() - lead[seen, 1].min())
