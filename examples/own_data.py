"""Search on images of your own: a folder with one folder a class.

    python examples/own_data.py my_photos/ --budget-flops 2e9 --trials 40

Prints what was found and how sure that is. The run folder holds the rest; the same command goes on.
"""

import argparse
import json
import sys
from pathlib import Path

import scalesearch
from scalesearch.cli import app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="one folder a class, image files in them")
    parser.add_argument("--budget-flops", default="2e9", help="multiply-accumulates of the deployed network")
    parser.add_argument("--trials", default="40")
    parser.add_argument("--images", default="20000", help="training images of each candidate's proxy")
    parser.add_argument("--out", type=Path, default=Path("runs/own_data"))
    asked = parser.parse_args()

    command = ["run", "--budget-flops", asked.budget_flops, "--data", str(asked.folder)]
    command += ["--trials", asked.trials, "--rungs", asked.images, "--out", str(asked.out)]
    if code := app(command, standalone_mode=False):
        sys.exit(code)

    report = json.loads((asked.out / "report.json").read_text())
    best, data = report["best"], report["data"]
    network = scalesearch.load(asked.out / "best" / "network.yaml")
    print(f"{len(data['classes'])} classes: {', '.join(data['classes'])}")
    print(f"deployed: {network.cost().flops:,} FLOPs at {network.resolution} px, not trained yet")
    low, high = best["proxy_interval"]
    print(f"its proxy: {best['proxy_accuracy']:.1%} ({low:.1%} to {high:.1%}) on validation images")
    print(f"candidates that the data cannot tell from it: {best['ties'] or 'none'}")
    print(f"next: scalesearch train {asked.out}:best --data {asked.folder}")


if __name__ == "__main__":  # trainings run in processes that import this file again
    main()
