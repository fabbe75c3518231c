"""An operator of your own, costed, built and searched: the basic block of ResNet (He et al. 2016, figure 2).

Prints the cost of a network of it, also as torch counts it; with `--data cifar10` it searches among such.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

import scalesearch
from scalesearch.architecture.layers import Layer, Residual, Sequence, conv_unit
from scalesearch.architecture.operators import OPERATORS, Operator
from scalesearch.cli import app


def basic(in_channels: int, channels: int, stride: int, *, kernel: int = 3, act: str = "relu") -> Layer:
    """Return two convolutions, with a shortcut around them where the shape stays."""
    first, second = conv_unit(channels, kernel, stride, act=act), conv_unit(channels, kernel)
    return Residual(Sequence((("first", first), ("second", second))))


OPERATORS["basic"] = Operator(basic)  # when imported, so that the processes which train know it too
NETWORK = """
name: basic
resolution: 32
stem: {channels: 16, stride: 1, act: relu}
stages:
  - {operator: basic, channels: 32, repeats: 2}
  - {operator: basic, channels: 64, repeats: 2, stride: 2}
head: {channels: null}
"""
SPACE = "{include: basic.yaml, name: basics, stages: {all: {channels: {range: [16, 96], step: 8}}}}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="cifar10, digits or a folder: search too")
    parser.add_argument("--trials", default="20")
    parser.add_argument("--images", default="20000", help="training images of each candidate's proxy")
    asked = parser.parse_args()
    Path("basic.yaml").write_text(NETWORK)
    network = scalesearch.load("basic.yaml")
    module = scalesearch.build(network).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, 3, 32, 32))
    print("from its layers", network.cost().flops, network.cost().params)
    print("by torch", counter.get_total_flops() // 2, sum(one.numel() for one in module.parameters()))
    if asked.data:
        Path("basics.yaml").write_text(SPACE)
        command = ["run", "--space", "basics.yaml", "--budget-flops", "2e7", "--data", asked.data]
        command += ["--trials", asked.trials, "--rungs", asked.images, "--out", "runs/own_operator"]
        sys.exit(app(command, standalone_mode=False))


if __name__ == "__main__":  # trainings run in processes that import this file again
    main()
