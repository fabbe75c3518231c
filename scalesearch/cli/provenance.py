"""What results are made with, and what is said beside those that prove nothing."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

DEMONSTRATION = (
    "demonstration data: {name} stands in for real photographs such as CIFAR-10, and nothing is claimed. "
    "Give real images with --data cifar10, or --data and a folder of class folders or Parquet files."
)


def versions() -> dict[str, str]:
    """Return what the numbers were made with."""
    packages = ("scalesearch", "torch", "torchvision", "optuna", "numpy")
    return {"python": platform.python_version()} | {package: version(package) for package in packages}


def notice(data: Mapping[str, Any]) -> str | None:
    """Return the heading of results on stand-in data."""
    return DEMONSTRATION.format(name=data["name"]) if data["demonstration"] else None
