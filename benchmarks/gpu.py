"""All that is to be known of one GPU, in one call: how near to the decode limit, how far ahead of the chain, and why.

    python -m benchmarks.gpu --clips MANIFEST [--max-seconds 6] [--runs 2]

Runs benchmarks.extract (against the decode limit and bare passes), benchmarks.peers (against the chain of tools) and
benchmarks.owner (where the time of the thread that feeds the GPU goes, with the networks recorded as CUDA graphs and
without), one after the other, on the first GPU; each prints its tables and writes its JSON. One that fails does not
keep the others from running. Then prints both goals, and exits with 1 where one is missed or not known. On a machine of
16 cores and an H200 it is to take a few minutes. With --device cpu the same runs without a GPU, to try the script.
"""

import argparse
import json
import subprocess
import sys

from benchmarks.common import result_path, table
from models.device import resolve_device

DECODE_SHARE = 0.85  # of the clips/s that the cores decode
TIMES_THE_CHAIN = 15.0


def run(name: str, *words: str) -> bool:
    """Run a benchmark; whether it ended well."""
    print(f"\n== {name} {' '.join(words)}", flush=True)
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *words], check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", required=True, help="a manifest file of local clips, two at least")
    parser.add_argument("--max-seconds", default="6", help="of each clip (default: %(default)s)")
    parser.add_argument("--runs", default="2", help="turns of each side (default: %(default)s)")
    parser.add_argument("--device", default="cuda", help="default: %(default)s")
    options = parser.parse_args()
    device = resolve_device(options.device)  # raises where there is none, before anything else is done
    clips = ["--clips", options.clips, "--max-seconds", options.max_seconds]
    timed = [*clips, "--device", str(device), "--runs", options.runs]
    unrecorded = [*clips, "--unrecorded", "--version", "unrecorded"]
    runs = [("extract", timed), ("peers", timed), ("owner", clips), ("owner", unrecorded)]
    if failed := [name for name, words in runs if not run(name, *words)]:
        raise SystemExit(f"ended with an error, see above: {', '.join(failed)}")
    share, ahead = (json.loads(result_path(f"{name}-{device.type}").read_text()) for name in ("extract", "peers"))
    goals = [
        ["share of the decode limit", share["decode_share"], DECODE_SHARE],
        ["times the chain", ahead["speed_up"]["all"], TIMES_THE_CHAIN],
    ]
    print(table(goals, ["", "found", "goal"]))
    if any(found < goal for _, found, goal in goals):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
