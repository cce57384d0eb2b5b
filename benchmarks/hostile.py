"""The product under attack: what is damaged, hostile or taken away must cost itself and nothing else.

    python -m benchmarks.hostile films                    # 1,000 films that are damaged or lie
    python -m benchmarks.hostile films --clips 100 --seed 7
    python -m benchmarks.hostile kills                    # 200 kill -9 of whole builds
    python -m benchmarks.hostile disk                     # 20 full disks, and read-only ones
    python -m benchmarks.hostile store                    # an S3 store that is slow, fails, or goes away
    python -m benchmarks.hostile together                 # two builds at once, 20 times
    python -m benchmarks.hostile damage                   # 200 damaged files of finished workspaces

A part is a module with `add_options` and `run`, and a line in PARTS; its results stand under its name in one file,
beside those of the others. The benchmark fails where a part counts anything that must not be.
"""

import argparse
from types import ModuleType

from benchmarks import hostile_damage, hostile_disk, hostile_films, hostile_kills, hostile_store, hostile_together
from benchmarks.common import save

PARTS: dict[str, ModuleType] = {
    "films": hostile_films,
    "kills": hostile_kills,
    "disk": hostile_disk,
    "store": hostile_store,
    "together": hostile_together,
    "damage": hostile_damage,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for name, part in PARTS.items():
        part.add_options(parts.add_parser(name, description=part.__doc__))
    options = parser.parse_args()
    results = PARTS[options.part].run(options)
    save("hostile", {options.part: results}, keep_others=True)
    if any(results["must_be_0"].values()):
        raise SystemExit(f"not all are 0: {results['must_be_0']}")


if __name__ == "__main__":
    main()
