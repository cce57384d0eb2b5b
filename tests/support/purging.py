"""Purging without Luigi, and what a workspace holds afterwards."""

from contextlib import nullcontext
from pathlib import Path

from pipeline.purge.job import Place
from pipeline.purge.proof import Proof
from pipeline.purge.purge import carry_out, conclude, jobs, plan_purge
from pipeline.purge.request import Request
from tests.end_to_end.workspaces import contents


def purge(workspace: Path | str, *clip_ids: str, creators: tuple[str, ...] = ()) -> tuple[list[Place], Proof]:
    """Purge clips, or those of creators; the places that were changed, and the proof of the last job."""
    places: list[Place] = []
    for job in jobs(plan_purge(str(workspace), Request(clip_ids, creators))):
        places += carry_out(str(workspace), job, lambda work: nullcontext())
        proof = conclude(str(workspace), job)
    return places, proof


def lasting(workspace: Path) -> dict[str, str]:
    """What two purges of one workspace must leave alike: all but the tombstones' salt, and locks."""
    return {
        name: digest
        for name, digest in contents(workspace).items()
        if name != "tombstones.json" and not name.startswith(".locks/")
    }
