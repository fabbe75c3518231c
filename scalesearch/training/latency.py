"""How long a network takes to answer: built, warmed up, and timed pass by pass.

Timed is what a caller waits for: the forward pass of one batch in evaluation mode without gradients, the
input on the device and in the memory format already. On CUDA it ends with the last kernel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from scalesearch.architecture.network import Network
from scalesearch.errors import InputError
from scalesearch.training.build import build
from scalesearch.training.process import peak_memory

T = TypeVar("T")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FEWEST, MOST = 5, 2000  # passes that count
WINDOW = 3  # passes whose median is compared with that of the next ones while warming up
STEADY = 0.05  # relative difference of two windows that counts as warm
WARM_SHARE = 0.25  # of the time limit that warming up may take


@dataclass(frozen=True)
class Conditions:
    """What a latency depends on besides network and machine.

    Attributes:
        batch: images a pass. device: cpu, cuda or cuda:N. threads: of the CPU.
        dtype: of weights and input, one of DTYPES. channels_last: the memory format; else contiguous.
    """

    batch: int = 1
    device: str = "cpu"
    threads: int = 1
    dtype: str = "float32"
    channels_last: bool = True

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"a dtype is one of {', '.join(DTYPES)}, but got {self.dtype!r}")
        for name in ("batch", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, but got {getattr(self, name)}")

    @property
    def cuda(self) -> bool:
        """Whether passes run on a GPU."""
        return self.device.startswith("cuda")

    @property
    def clock(self) -> str:
        """Which clock passes are timed by: "processor" or "wall".

        One thread's processor time is its latency without what other programs take of its core meanwhile,
        which on a shared machine can be many times more. Several threads wait for each other, and a GPU is
        waited for: there only the clock on the wall tells.
        """
        return "processor" if not self.cuda and self.threads == 1 else "wall"


@dataclass(frozen=True)
class Timing:
    """Seconds: median and quartiles of `n` times."""

    median: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Latency:
    """A measured network.

    Attributes:
        timing: of a pass, by the conditions' clock. wall: of a pass, by the clock on the wall.
        warm_up: passes before those that count. peak_memory: bytes of this process so far (CPU), or of
            torch's allocations on the device (CUDA).
    """

    conditions: Conditions
    timing: Timing
    wall: Timing
    warm_up: int
    peak_memory: int
    torch: str

    @property
    def images_per_second(self) -> float:
        """Images in a second, by the median."""
        return self.conditions.batch / self.timing.median


class Bench:
    """A module beside an input, ready to be timed; use it in inference mode.

    `shape` is that of one input without its batch axis: (channels, *size).
    """

    def __init__(self, module: nn.Module, shape: tuple[int, ...], conditions: Conditions) -> None:
        like: dict[str, Any] = {"device": conditions.device, "dtype": DTYPES[conditions.dtype]}
        self.conditions = conditions
        self._module = module.eval().to(**like)
        self._input = torch.randn((conditions.batch, *shape)).to(**like)
        if conditions.channels_last:
            formats = {4: torch.channels_last, 5: torch.channels_last_3d}
            arranged = formats[self._input.dim()]
            self._module = self._module.to(memory_format=arranged)
            self._input = self._input.to(memory_format=arranged)
        self.read = time.thread_time if conditions.clock == "processor" else time.perf_counter

    def run(self) -> Tensor:
        """Return the module's output, once it is there."""
        output: Tensor = self._module(self._input)
        self._wait()
        return output

    def once(self) -> tuple[float, float]:
        """Return the seconds of one pass by the conditions' clock, and by the clock on the wall."""
        self._wait()
        wall, own = time.perf_counter(), self.read()
        self.run()
        return self.read() - own, time.perf_counter() - wall

    def _wait(self) -> None:
        if self.conditions.cuda:
            torch.cuda.synchronize(self.conditions.device)


def warm_up(once: Callable[[], float], seconds: float) -> int:
    """Make passes until their time is steady, or for so many seconds; return how many.

    Steady: the medians of 3 passes and of the 3 before differ by at most 5 %.
    """
    began, taken = time.perf_counter(), [once()]
    while time.perf_counter() - began < seconds:
        taken.append(once())
        if len(taken) > 2 * WINDOW:  # the first pass also sets up kernels and memory
            before, now = np.median(taken[-2 * WINDOW : -WINDOW]), np.median(taken[-WINDOW:])
            if abs(now - before) <= STEADY * before:
                break
    return len(taken)


def repeated(once: Callable[[], T], seconds: float) -> list[T]:
    """Make passes for so many seconds, at least 5 and at most 2,000; return what each gave."""
    began, found = time.perf_counter(), list[T]()
    while len(found) < FEWEST or (len(found) < MOST and time.perf_counter() - began < seconds):
        found.append(once())
    return found


def timing_of(taken: Sequence[float]) -> Timing:
    """Summarise times in seconds."""
    median, low, high = np.quantile(taken, (0.5, 0.25, 0.75)).tolist()
    return Timing(median, low, high, len(taken))


def measure(
    network: Network | nn.Module,
    conditions: Conditions,
    *,
    seconds: float = 2.0,
    shape: tuple[int, ...] | None = None,
) -> Latency:
    """Measure the forward pass of a network in this process, for about `seconds`.

    A module needs the `shape` (channels, *size) of its input. Call `process.prepare_process` with the
    conditions' threads first, as before a training: it also flushes denormal numbers.
    """
    if isinstance(network, Network):
        module, shape = build(network), (network.in_channels, *network.input.size)
    else:
        module = network
    if shape is None:
        raise TypeError("a module does not say the shape of its input: give it")
    if conditions.cuda:
        torch.cuda.reset_peak_memory_stats(conditions.device)
    with torch.inference_mode():
        bench = Bench(module, shape, conditions)
        warm = warm_up(lambda: bench.once()[0], WARM_SHARE * seconds)
        passes = repeated(bench.once, (1 - WARM_SHARE) * seconds)
    return Latency(
        conditions=conditions,
        timing=timing_of([own for own, _ in passes]),
        wall=timing_of([wall for _, wall in passes]),
        warm_up=warm,
        peak_memory=peak_memory(torch.device(conditions.device)),
        torch=torch.__version__,
    )
