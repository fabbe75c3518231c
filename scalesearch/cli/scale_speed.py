"""The measured speed in the table of `scale --rule all`; the part of the command that loads torch."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import torch

from scalesearch.cli.scale_tables import Attempt
from scalesearch.training.process import choose_device, prepare_process
from scalesearch.training.speed import choose_effort, images_per_second

SECONDS = 6.0
# Above these FLOPs a forward pass takes many seconds, or more memory than there may be.
LARGEST_MEASURED = {"cpu": 5e10, "cuda": 2e12}


def with_speed(attempts: list[Attempt], name: str) -> tuple[list[Attempt], dict[str, Any] | None]:
    """Return the attempts with images a second, and what these were measured on; None where nothing was."""
    device = choose_device(name)
    networks = list(dict.fromkeys(attempt.made.network for attempt in attempts if attempt.made))
    limit = LARGEST_MEASURED[device.split(":")[0]]
    largest = max((network.cost().flops for network in networks), default=0)
    if largest > limit:
        print(f"no speed: on {device} networks above {limit:g} FLOPs are not measured", file=sys.stderr)
    if not networks or largest > limit:
        return attempts, None
    prepare_process(torch.get_num_threads())
    print(
        f"measuring the speed of {len(networks)} different networks on {device} ...",
        file=sys.stderr,
        flush=True,
    )
    batch, rounds = choose_effort(networks, device=device, seconds=SECONDS)
    measured = images_per_second(networks, batch=batch, rounds=rounds, device=device)
    speeds = dict(zip(networks, measured, strict=True))
    rows = [replace(row, speed=speeds[row.made.network] if row.made else None) for row in attempts]
    return rows, _setting(device, batch, rounds)


def _setting(device: str, batch: int, rounds: int) -> dict[str, Any]:
    return {
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "threads": torch.get_num_threads(),
        "batch": batch,
        "rounds": rounds,
        "torch": torch.__version__,
    }
