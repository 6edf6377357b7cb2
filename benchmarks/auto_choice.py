"""Whether `export --to auto` takes the best file: its choice, held against another run that measured longer.

    python benchmarks/runtimes.py --threads 1 --files DIR --peer-python PEERS/bin/python
    python benchmarks/auto_choice.py --files DIR

`auto` measures every file of a Bundle in turns on one thread for as long as it does by default. Its choice is looked up
in the last row of benchmarks/results/runtimes.jsonl that was measured on this machine: how much slower it is there than
the best. Rows go to benchmarks/results/auto_choice.jsonl.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mobilenets.deploy.auto import SECONDS, THREADS
from mobilenets.deploy.bench import bench
from mobilenets.deploy.machine import machine
from runtimes import NETWORKS, ROWS, kind_of, rows_of
from turns import where_and_when

CHOICES = Path(__file__).resolve().parent / "results" / "auto_choice.jsonl"


def main() -> None:
    """Chooses, compares, appends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", required=True, type=Path, help="the folder that runtimes.py wrote")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--size", type=int, default=224)
    arguments = parser.parse_args()
    here = kind_of(machine())
    for network in arguments.networks.split(","):
        rows = [r for r in rows_of(ROWS) if r["network"] == network and r["threads"] == THREADS]
        rows = [r for r in rows if r["size"] == arguments.size and kind_of(r["machine"]) == here]
        if not rows:
            print(f"{network}: not measured on this machine by runtimes.py")
            continue
        bundle = arguments.files / f"{network}_{arguments.size}" / "bundle"
        files = bench(bundle, threads=(THREADS,), seconds=SECONDS)["files"]
        chosen = f"{files[0]['runtime']} {files[0]['precision']}"
        times = {
            name: arm["ms"]
            for name, arm in rows[-1]["arms"].items()
            if name in {f"{row['runtime']} {row['precision']}" for row in files}
        }
        best = min(times, key=lambda name: times[name])
        row = {"network": network, "size": arguments.size, "chosen": chosen, "best": best}
        row["ratio"] = times[chosen] / times[best]
        row |= {"chosen_ms": times[chosen], "best_ms": times[best], "seen_ms": files[0]["median_ms"]}
        print(f"{network}: auto takes {chosen} ({times[chosen]:.2f} ms); best {best} ({times[best]:.2f} ms)")
        with CHOICES.open("a") as file:
            file.write(json.dumps(row | where_and_when()) + "\n")


if __name__ == "__main__":
    main()
