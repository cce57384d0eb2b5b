"""From a profile to the four extractors, and to what stands for each in a fingerprint. Imports torch only to build."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.weights import catalogue as weights_module
from models.weights.profiles import MODALITIES, AppearanceEntry, Entry, FaceEntry, PoseEntry, Profile, SceneEntry

if TYPE_CHECKING:
    import torch

    from models.extractors.extractor import Extractor

# Raised by one when an extractor's own code changes its results: then its features are made anew.
EXTRACTOR_VERSIONS = {"pose": 2, "face": 1, "scene": 1, "appearance": 1}


def modality_identity(modality: str, profile: Profile) -> dict[str, Any]:
    """Everything that decides a modality's features beside the pixels; needs no network, no torch and no download.

    Raises:
        ProfileError: there is no such modality.
        WeightsError: a path names a weight file that is not there.
    """
    entry = profile.entry(modality)
    identity = {"extractor_version": EXTRACTOR_VERSIONS[modality], **entry.identity()}
    identity |= {name: weights_module.identity(value) for name, value in _weights_of(entry).items()}
    return identity


def profile_weights(profile: Profile) -> tuple[str, ...]:
    """The weights that a profile names, each once: what FetchWeights fetches."""
    return tuple(dict.fromkeys(name for m in MODALITIES for name in _weights_of(profile.entry(m)).values()))


def is_trained(profile: Profile) -> dict[str, bool]:
    """Of each modality, whether its features mean anything: False for random weights."""
    return {modality: weights_module.is_trained(profile.entry(modality).weights) for modality in MODALITIES}


def build_extractor(
    modality: str, profile: Profile, device: torch.device, cache: str | Path | None = None
) -> Extractor:
    """The extractor of a modality with its weights loaded, on `device`.

    Args:
        cache: folder of downloaded weights, see `weights.cache_folder`.

    Raises:
        ProfileError: there is no such modality, or an option does not suit its network.
        WeightsError: the weights are not at hand, do not verify, or do not fit the architecture.
    """
    from models.weights.checkpoints import load_state_dict

    entry = profile.entry(modality)
    found = weights_module.resolve(entry.weights, cache, profile=profile.name)
    state = load_state_dict(found.path) if found.path else None
    batch_size = entry.batch_size.cuda if device.type == "cuda" else entry.batch_size.cpu
    common: dict[str, Any] = {"device": device, "batch_size": batch_size, "seed": found.seed}

    # Each is imported only where it is built: mmpose alone takes seconds.
    if isinstance(entry, PoseEntry):
        from models.extractors.pose import PoseExtractor

        return PoseExtractor(
            entry.architecture,
            state,
            input_size=entry.input_size,
            max_persons=entry.max_persons,
            score_threshold=entry.score_threshold,
            nms_threshold=entry.nms_threshold,
            **common,
        )
    if isinstance(entry, FaceEntry):
        from models.extractors.face import FaceExtractor
        from models.extractors.face_cascade import DetectorOptions

        detector = DetectorOptions(entry.min_face_size, entry.thresholds)
        return FaceExtractor(
            state, architecture=entry.architecture, max_faces=entry.max_faces, detector=detector, **common
        )

    from models.extractors.resnet import Preprocessing

    if isinstance(entry, SceneEntry):
        from models.extractors.places365 import category_set
        from models.extractors.scene import SceneExtractor

        squeezed = Preprocessing((entry.resize, entry.resize), entry.input_size)
        names, indoor = category_set(entry.categories)
        return SceneExtractor(
            state,
            architecture=entry.architecture,
            categories=names,
            indoor=indoor,
            preprocessing=squeezed,
            **common,
        )
    if isinstance(entry, AppearanceEntry):
        from models.extractors.appearance import AppearanceExtractor

        kept = Preprocessing(entry.resize, entry.input_size)
        return AppearanceExtractor(state, architecture=entry.architecture, preprocessing=kept, **common)
    raise AssertionError(f"no extractor for {type(entry).__name__}")


def _weights_of(entry: Entry) -> dict[str, str]:
    names = {"weights": entry.weights}
    if isinstance(entry, FaceEntry):
        names["detector_weights"] = entry.detector_weights
    return names
