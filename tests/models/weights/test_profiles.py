"""Profiles: what is read, what is refused, and what belongs in a fingerprint."""

import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from models.errors import ProfileError, WeightsError
from models.task_command import task_command
from models.weights import profiles
from models.weights.catalogue import is_available, resolve
from models.weights.profiles import BatchSize, bundled_profiles
from pipeline.core import options
from pipeline.modalities.registry import (
    build_extractor,
    extracted_names,
    find_extracted,
    is_trained,
    load_profile,
    modality_identity,
    profile_weights,
)

FULL = Path(profiles.__file__).with_name("profile_files") / "full.toml"


def _edited(tmp_path: Path, *edits: tuple[str, str]) -> Path:
    text = FULL.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", bundled_profiles())
def test_every_bundled_profile_loads_and_says_how_frames_are_sampled(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    options.SamplingOptions(**profile.sampling)
    face = 4 if name == "demo" else 2  # the face search is the demo's costliest step
    assert [profile.entry(modality).stride for modality in extracted_names()] == [1, 2, face, 10, 1]


def test_the_entries_and_sampling_keys_are_those_of_the_pipeline() -> None:
    assert tuple(load_profile("full").entries) == extracted_names()
    assert list(load_profile("full").sampling) == [item.name for item in fields(options.SamplingOptions)]


def test_the_full_profile_is_what_the_design_says() -> None:
    full = load_profile("full")
    assert profile_weights(full) == (
        "rtmo-l-body7",
        "imagenet-resnet50-v2",
        "vggface2-inception-resnet-v1",
        "package:facenet-pytorch",
        "places365-resnet50",
        "panns-cnn14-16k",
    )
    assert set(is_trained(full).values()) == {True}
    assert set(is_trained(load_profile("untrained")).values()) == {False}


def test_the_demo_profile_is_trained_bundled_and_downloads_nothing(tmp_path: Path) -> None:
    demo = load_profile("demo")
    assert set(is_trained(demo).values()) == {True}
    for name in profile_weights(demo):
        assert is_available(name, tmp_path)
        assert resolve(name, tmp_path).path


@pytest.mark.parametrize("modality", extracted_names())
def test_the_demo_profile_builds_every_extractor(modality: str, tmp_path: Path) -> None:
    import torch

    profile = load_profile("demo")
    extractor = build_extractor(modality, profile, torch.device("cpu"), tmp_path)
    assert extractor.modality == modality
    frames, sound = torch.full((1, 96, 64, 3), 90, dtype=torch.uint8), torch.zeros(16_000)
    prepared = extractor.prepare(sound if find_extracted(modality).reads == "sound" else frames)
    assert len(extractor.infer(prepared.inputs, prepared.extras)) == len(prepared.inputs)


def test_an_input_is_a_side_or_a_width_and_a_height(tmp_path: Path) -> None:
    assert load_profile("full").entry("pose").input_size == 640
    assert load_profile("demo").entry("pose").input_size == (192, 288)
    pair = load_profile(_edited(tmp_path, ("input_size = 640", "input_size = [320, 640]")))
    assert pair.entry("pose").input_size == (320, 640)
    assert modality_identity("pose", pair) != modality_identity("pose", load_profile("full"))
    for wrong in ("[320]", "[320, 600]", "[320, 640, 3]", '"640"', "true"):
        with pytest.raises(ProfileError) as caught:
            load_profile(_edited(tmp_path, ("input_size = 640", f"input_size = {wrong}")))
        integer = "an integer of 32 or more, a multiple of 32"
        expected = f"is not {integer}, or 2 values, each {integer}"
        assert expected in str(caught.value)


def test_all_problems_are_named_at_once_with_table_key_and_what_is_allowed(tmp_path: Path) -> None:
    path = _edited(
        tmp_path,
        ("max_side = 1280", 'max_side = "1280"'),
        ("max_persons = 10", "max_person = 10"),
        ("input_size = 640", "input_size = 650"),
        ("thresholds = [0.6, 0.7, 0.7]", "thresholds = [0.6, 0.7]"),
        ('weights = "places365-resnet50"', 'weights = "places365-resnet51"'),
        ("{ cpu = 4, cuda = 32 }", "{ cpu = true, cuda = 32 }"),
        ("[appearance]", "[looks]"),
    )
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    message = str(caught.value)
    assert str(path) in message
    for expected in (
        "[sampling] max_side: '1280' is not an integer of 32 or more",
        "[pose] max_person: unknown; the keys are architecture, weights",
        "[pose] max_persons: missing; give an integer from 1 to 300",
        "[pose] input_size: 650 is not an integer of 32 or more, a multiple of 32",
        "[pose.batch_size] cpu: True is not an integer of 1 or more",
        "[face] thresholds: [0.6, 0.7] is not 3 values, each a number from 0.01 to 0.99",
        "[scene] weights: there are no weights 'places365-resnet51' (did you mean places365-resnet50?)",
        "[looks]: unknown; the tables are sampling, pose, appearance, face, scene",
        "[appearance]: missing",
    ):
        assert expected in message


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            ('weights = "rtmo-l-body7"', 'weights = "rtmo-s-body7"'),
            "rtmo-s-body7' are for the pose architecture rtmo-s",
        ),
        (('weights = "places365-resnet50"', 'weights = "imagenet-resnet50-v2"'), "are for the appearance architecture"),
        (("resize = 232", "resize = 200"), "[appearance] input_size: 224 px cannot be cut from 200 px"),
        (('"rtmo-l_16xb16-600e_body7-640x640"', '"yolo"'), "[pose] architecture: 'yolo' is not one of rtmo-t_8xb32"),
        (("score_threshold = 0.1", "score_threshold = nan"), "[pose] score_threshold: nan is not a number from 0"),
        (("[scene]", "scene = 3\n[other]"), "is not TOML"),
        (("stride = 10", "stride = "), "is not TOML"),
        (('"places365"', '"places"'), "[scene] categories: 'places' is not one of places365, demo8"),
        (('"inception-resnet-v1"', '"facenet"'), "'facenet' is not one of inception-resnet-v1, resnet10-w32"),
        (
            ('weights = "places365-resnet50"', 'weights = "bundled:places"'),
            "bundled:pose, bundled:scene, untrained:",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused(tmp_path: Path, edit: tuple[str, str], expected: str) -> None:
    with pytest.raises(ProfileError) as caught:
        load_profile(_edited(tmp_path, edit))
    assert expected in str(caught.value) or (expected == "is not TOML" and "[scene]" in str(caught.value))


def test_an_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(ProfileError, match="use one of demo, full, light, untrained"):
        load_profile("ful")


def test_batch_size_is_in_no_fingerprint_and_everything_else_is() -> None:
    profile = load_profile("untrained")
    other_batch = profile.with_options("pose", batch_size=BatchSize(1, 1))
    assert modality_identity("pose", other_batch) == modality_identity("pose", profile)
    for modality in extracted_names():
        entry, kept = profile.entry(modality), modality_identity(modality, profile)
        assert set(kept) == set(asdict(entry)) - {"batch_size"} | {"extractor_version"}
        changed = profile.with_options(modality, stride=entry.stride + 1)
        assert modality_identity(modality, changed) != kept


def test_weights_count_in_a_fingerprint_by_content_and_not_by_path(tmp_path: Path) -> None:
    for name, content in (("a.pth", b"one"), ("b.pth", b"one"), ("c.pth", b"two")):
        (tmp_path / name).write_bytes(content)
    identities = [
        modality_identity("scene", load_profile(_edited(tmp_path, ('"places365-resnet50"', f'"./{name}"'))))
        for name in ("a.pth", "b.pth", "c.pth")
    ]
    assert identities[0] == identities[1] != identities[2]


def test_a_relative_weight_path_counts_from_the_profiles_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.pth").write_bytes(b"x")
    path = _edited(tmp_path, ('"places365-resnet50"', '"own.pth"'))
    monkeypatch.chdir("/")
    assert load_profile(path).entry("scene").weights == str(tmp_path / "own.pth")


def test_a_weight_path_without_a_file_is_named(tmp_path: Path) -> None:
    profile = load_profile(_edited(tmp_path, ('"places365-resnet50"', '"gone.pth"')))
    with pytest.raises(WeightsError, match=r"gone\.pth cannot be read"):
        modality_identity("scene", profile)


def test_planning_imports_no_torch() -> None:
    code = (
        "import sys; from models.weights.profiles import *; from pipeline.modalities.registry import *\n"
        "for name in bundled_profiles():\n"
        "    [modality_identity(m, load_profile(name)) for m in extracted_names()]\n"
        "assert 'facenet_pytorch' not in sys.modules and 'pooch' not in sys.modules\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize("modality", extracted_names())
def test_the_untrained_profile_builds_every_extractor(modality: str) -> None:
    import torch

    from models.extractors.pose import MAX_CANDIDATES

    profile = load_profile("untrained")
    extractor = build_extractor(modality, profile, torch.device("cpu"))
    assert extractor.modality == modality
    assert extractor.batch_size == profile.entry(modality).batch_size.cpu
    assert MAX_CANDIDATES == 300, "the bound of max_persons in models.weights.profiles"


def test_missing_weights_stop_a_build_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    import torch

    with pytest.raises(WeightsError) as caught:
        build_extractor("scene", load_profile("full"), torch.device("cpu"), tmp_path)
    message = str(caught.value)
    assert task_command("FetchWeights", "--profile", "full") in message
    assert "http://places2.csail.mit.edu/models_places365/resnet50_places365.pth.tar" in message
    assert str(tmp_path / "resnet50_places365.pth.tar") in message
