"""Tasks before a build: published weights fetched, a manifest made of what other programs say about clips."""

from typing import TYPE_CHECKING

import luigi

from models.weights.catalogue import cache_folder, is_available
from models.weights.fetch import fetch
from pipeline.modalities.registry import load_profile, profile_weights
from tasks.console import say
from tasks.option_types import AskedOption, PatternsOption
from tasks.terminal_text import manifest_text

if TYPE_CHECKING:
    from pipeline.ingest.make_manifest import ManifestOptions


class FetchWeights(luigi.Task):
    """Downloads and verifies the weights of a profile into the cache; what is there already is not fetched again."""

    profile = luigi.Parameter(default="full", description="full, light, or the path of a TOML file")
    weights_cache = luigi.Parameter(default="", description="folder; default: $VDV_WEIGHTS or the user's cache folder")

    def complete(self) -> bool:
        return all(is_available(name, self.weights_cache or None) for name in self._names())

    def run(self) -> None:
        for name in self._names():
            fetch(name, self.weights_cache or None)
        say(self.place())

    def place(self) -> str:
        """Where the weights are, in words."""
        return f"weights of the profile {self.profile} are in {cache_folder(self.weights_cache or None)}"

    def _names(self) -> tuple[str, ...]:
        return profile_weights(load_profile(self.profile))


@FetchWeights.event_handler(luigi.Event.DEPENDENCY_PRESENT)
def _nothing_to_do(task: FetchWeights) -> None:
    say(f"nothing to do: {task.place()}")


class MakeManifest(luigi.Task):
    """Makes a manifest of clips and of what yt-dlp, TikTok's Research API or a CSV export says about them.

    Prints which field each column is made of, and which clips and records are left out, before anything is written.
    With one cell that has two readings, nothing is.
    """

    clips = luigi.Parameter(description="folder of the clips, a glob in quotes, or a URL of either")
    manifest = luigi.Parameter(description="file to be made, .csv or .parquet; another one there is not overwritten")
    about = PatternsOption(
        "what is known of the clips: a .json, .jsonl or .csv file, or a glob of them; may be given several times."
        " Without it, the info.json of yt-dlp beside each clip"
    )
    map = PatternsOption(
        "fields of the columns that are not found by name: likes=Likes,followers='Creator followers'; likes= leaves one"
        " empty"
    )
    challenge = luigi.Parameter(default="", description="the challenge of all clips")
    challenge_from = luigi.Parameter(
        default="",
        description="what the challenge is to be read from: hashtag:renegade,savage, or music, or music:ID,ID",
    )
    asked = AskedOption[str]()

    def complete(self) -> bool:
        self._options()  # a wrong option is an error before anything starts
        return False  # made anew each time; a file that is equal is left alone

    def run(self) -> None:
        from pipeline.ingest.exports.plan import write_manifest
        from pipeline.ingest.make_manifest import plan_manifest

        plan = plan_manifest(self._options())
        say(manifest_text(plan))
        say(f"written: {plan.path}" if write_manifest(plan) else f"{plan.path} is there already, and equal")

    def _options(self) -> "ManifestOptions":
        from pipeline.ingest.make_manifest import ManifestOptions

        return ManifestOptions.of(self.clips, self.manifest, self.about, self.map, self.challenge, self.challenge_from)
