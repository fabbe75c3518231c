"""What a process that trains has to set before its first tensor, and what it uses."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import resource
import sys
from pathlib import Path

import torch

from scalesearch.errors import InputError

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def prepare_process(threads: int) -> None:
    """Set the number of CPU threads and, on glibc, tune its allocator; call before the first tensor."""
    torch.set_num_threads(threads)
    # Late in training gradients of small networks reach denormal numbers, which the CPU computes slowly.
    torch.set_flush_denormal(True)
    if platform.libc_ver()[0] == "glibc":
        _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Make malloc keep freed memory for the next tensor.

    By default glibc maps every large block afresh from the kernel and gives it back when it is freed, so
    each activation map of each step costs page faults and zeroing: 20 to 50 % of the time of networks with
    wide maps. The price is that the process stays at its peak size.
    """
    libc = ctypes.CDLL(None)
    largest = 2**31 - 4097
    libc.mallopt(_M_MMAP_THRESHOLD, largest)
    libc.mallopt(_M_TRIM_THRESHOLD, largest)
    libc.mallopt(_M_TOP_PAD, 256 * 2**20)


def peak_memory(device: torch.device) -> int:
    """Return the peak in bytes: of this process on the CPU, else of torch's allocations on the device."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def usable_cores(control_group: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores this process may use: by its affinity, and by a container's share of time."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(allowed, _processor_time(control_group))))


def _processor_time(control_group: Path) -> float:
    """Return the cores' worth of processor time that a Linux control group (version 2 or 1) allows."""
    try:
        quota, period = (control_group / "cpu.max").read_text(encoding="utf-8").split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        limits = [control_group / "cpu" / f"cpu.cfs_{name}_us" for name in ("quota", "period")]
        quota_us, period_us = (int(limit.read_text(encoding="utf-8")) for limit in limits)
        return math.inf if quota_us < 0 else quota_us / period_us
    except (OSError, ValueError):
        return math.inf


def choose_device(name: str) -> str:
    """Return the device that a name stands for; InputError where there is no such device here."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device is auto, cpu, cuda or cuda:N, but got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device is auto, cpu, cuda or cuda:N, but got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices")
    return name
