"""A published network made larger and smaller: by its authors' rule, by another, and to an exact budget.

    python examples/scale_a_published_network.py efficientnet_b0 --budget-flops 2e9

Nothing is trained; the network for the budget is written as a document that every command reads.
"""

import argparse
from pathlib import Path

import scalesearch
from scalesearch.architecture.budget import Budget, fit
from scalesearch.architecture.document import to_document
from scalesearch.documents import write_text

RULES = {
    "EfficientNet's": scalesearch.Coefficients(1.2, 1.1, 1.15),
    "mostly wider": scalesearch.Coefficients.from_shares(depth=0.1, width=0.8),
    "deeper alone": scalesearch.Coefficients(alpha=2, beta=1, gamma=1),
}


def line(network: scalesearch.Network) -> str:
    """Return a network's size and cost in words."""
    cost = network.cost()
    size = f"{network.blocks} blocks at {network.resolution} px"
    return f"{size}: {cost.flops / 1e6:,.1f} MFLOPs, {cost.params / 1e6:.2f} M parameters"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", nargs="?", default="efficientnet_b0")
    parser.add_argument("--budget-flops", type=float, default=2e9)
    parser.add_argument("--out", type=Path, default=Path("scaled.yaml"))
    asked = parser.parse_args()

    base = scalesearch.load(asked.network)
    print(f"{base.name}: {line(base)}")
    for phi in (-1, 1, 2):
        member = scalesearch.compound(base, RULES["EfficientNet's"], phi)
        print(f"phi = {phi}: {line(member)}")
    for name, coefficients in RULES.items():
        fitted = fit(base, coefficients, Budget(flops=asked.budget_flops))
        print(f"{name}, {fitted.share:.1%} of the budget at phi = {fitted.phi:.2f}: {line(fitted.network)}")

    chosen = fit(base, RULES["EfficientNet's"], Budget(flops=asked.budget_flops)).network
    asked.out.write_text(write_text(to_document(chosen)))
    again = scalesearch.load(asked.out)
    print(f"{asked.out}: {again.cost().flops:,} FLOPs, which are multiply-accumulates here")


if __name__ == "__main__":
    main()
