"""What more compute buys: one search over several budgets, and the best candidate of each.

    python examples/budget_sweep.py --data cifar10 --budgets 5e6,1e7,2e7,4e7 --trials 40

Prints the deployed networks' exact costs beside the accuracies of their proxies. The proxies of a larger
budget are larger too; the accuracy of a deployed network itself comes from `scalesearch train`.
"""

import argparse
import sys

import scalesearch
from scalesearch.cli import app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="cifar10, digits or a folder")
    parser.add_argument("--budgets", default="5e6,1e7,2e7,4e7", help="multiply-accumulates, commas between")
    parser.add_argument("--trials", default="40")
    parser.add_argument("--images", default="20000", help="training images of each candidate's proxy")
    parser.add_argument("--out", default="runs/budget_sweep")
    asked = parser.parse_args()

    command = ["run", "--budget-flops", asked.budgets, "--data", asked.data, "--trials", asked.trials]
    if code := app([*command, "--rungs", asked.images, "--out", asked.out], standalone_mode=False):
        sys.exit(code)

    trials = [one for one in scalesearch.load_trials(asked.out) if one.complete and one.role == "search"]
    print(f"{'budget':>10} {'FLOPs':>12} {'params':>11}  n  best proxy, operators")
    for level in sorted({one.level for one in trials}):
        own = [one for one in trials if one.level == level]
        best = min(own, key=lambda one: one.outcome.val_loss)
        cost = f"{level:>10.3g} {best.deployed.flops:>12,} {best.deployed.params:>11,}"
        print(f"{cost} {len(own):>2}  {best.outcome.report_accuracy:.1%}, {best.pattern}")


if __name__ == "__main__":  # trainings run in processes that import this file again
    main()
