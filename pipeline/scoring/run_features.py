"""The features that a run learned from, and whether a profile makes them still. Imports nothing heavy."""

from models.weights.profiles import Profile
from pipeline.core.errors import DataError, ProfileError
from pipeline.features.chosen import Features
from pipeline.modalities.registry import load_profile
from pipeline.runs.run import Run


def run_profile(run_folder: Run, name: str, given: str = "") -> Profile:
    """The profile that a run was made with.

    Args:
        name: of the run, for messages.
        given: name of a profile, or path of its TOML file, in place of what the run says; "": none.

    Raises:
        DataError: the run's was none of vdv's own, and none is given.
        ProfileError: as of load_profile.
    """
    if given:
        return load_profile(given)
    stated = " and ".join(run_folder.about["profiles"])
    try:
        return load_profile(stated)
    except ProfileError as error:
        raise DataError(
            f"run {name} was made with the profile {stated!r}, which is none of vdv's own; give its TOML file"
            " with --profile"
        ) from error


def run_features(run_folder: Run, name: str, profile: Profile) -> Features:
    """The features of the run's modalities, as the profile makes them.

    Args:
        name: of the run, for messages.

    Raises:
        DataError: the run learned from others.
    """
    run = run_folder.about
    made = run["data"]["features"]
    features = Features.of(profile, ",".join(made))
    others = [spec.modality for spec in features.specs if made[spec.modality] not in (None, spec.fingerprint)]
    if others:
        raise DataError(
            f"run {name} learned from other {', '.join(others)} features than the profile"
            f" {features.profile.name} makes now: it was made with {' and '.join(run['profiles'])},"
            " and since then the profile, its weights or vdv's features have changed. Give the run's own profile"
            " with --profile, or train a new run with BuildVDV"
        )
    return features
