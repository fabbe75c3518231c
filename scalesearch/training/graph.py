"""How steps are carried out: recorded once and repeated, or with a compiled network, or as they come.

A small network on a GPU is bound by the launching of its kernels, which a CUDA graph does away with. Not yet
measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scalesearch.errors import InputError
from scalesearch.training.augment import Size
from scalesearch.training.batches import Batch

WARM_UP = 3

Step = Callable[[Batch, Size], None]
# Takes a function over memory that stays in place; returns one that repeats what it does.
Record = Callable[[Callable[[], None]], Callable[[], None]]


@dataclass(frozen=True)
class Execution:
    """How steps are carried out; it changes speed, and results within rounding only.

    Attributes:
        graph: on CUDA, record a step as a CUDA graph at each input size; the CPU has no such thing. Not yet
            measured on a GPU.
        compile: let torch.compile compile the network, at each input size anew. On the CPU each architecture
            costs the compiler far longer than a short training saves (docs/decisions/0006-compile.md).
    """

    graph: bool = True
    compile: bool = False


DEFAULT = Execution()


def compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the network as compiled code that draws the random numbers of the plain one.

    It is compiled as a whole or not at all: torch's ways back to plain execution, at code that it cannot
    compile and after too many input sizes, raise RuntimeError or torch's own exceptions.
    """
    torch.compiler.reset()  # it would count other networks against its limit of recompilations
    whole: Any = torch.compile(model, dynamic=False, fullgraph=True, options={"fallback_random": True})
    return whole  # type: ignore[no-any-return]


def check_compiler(device: torch.device | str) -> None:
    """Raise InputError where torch.compile does not work: the CPU needs a C++ compiler, CUDA needs Triton.

    Compiles one addition, which takes seconds, and many on a machine's first time.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler

    x = torch.zeros(8, device=device)
    try:
        if x.device.type == "cpu":
            get_cpp_compiler()  # what torch has compiled before, it would load without one
        torch.compile(lambda x: x + 1, fullgraph=True)(x)
    except RuntimeError as error:
        cause = str(error).partition("\n")[0]
        raise InputError(f"--compile needs a compiler that torch can use here, but {cause}") from error


def record_cuda_graph(function: Callable[[], None]) -> Callable[[], None]:
    """Return what replays `function`'s kernels on the current stream, which must not be the default one.

    Recording does not carry them out. Raises RuntimeError where something cannot be recorded, and
    torch.OutOfMemoryError; there is no silent way back to single launches.
    """
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            function()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        rule = "a step must be recordable as a CUDA graph (Execution(graph=False) trains without)"
        raise RuntimeError(f"{rule}, but {error}") from error
    return graph.replay


class Recorder:
    """Takes steps: at each input size the first ones as they come, then by repeating one that is recorded.

    The first steps are steps of the training like all others; in them libraries choose their algorithms
    and the optimizers make their buffers, which must not happen while recording. A step of another batch
    size, the training's last, is taken as it comes. A recorded step reads the batch from memory that stays
    in place; whatever else differs between steps must be a tensor that the caller fills beforehand.

    Args:
        step: everything that a step does on the device.
        batch_size: of the steps that are worth recording.
        device: where the batch goes.
        record: `record_cuda_graph`, or what does the same elsewhere.
    """

    def __init__(
        self, step: Step, batch_size: int, device: torch.device, record: Record = record_cuda_graph
    ) -> None:
        self._step, self._batch_size, self._device, self._record = step, batch_size, device, record
        self._begin(())

    def _begin(self, size: Size) -> None:
        self._size, self._taken = size, 0
        self._batch: Batch | None = None
        self._repeat: Callable[[], None] | None = None  # drops the former size's, and its memory

    def take(self, batch: Batch, size: Size) -> None:
        """Take the step of a batch (on the host) at an input size."""
        if size != self._size:
            self._begin(size)
        if self._taken < WARM_UP or len(batch.images) != self._batch_size:
            self._taken += 1
            self._step(batch.to(self._device), size)
            return
        self._fill(batch)
        if self._repeat is None:
            self._repeat = self._recorded(size)
        self._repeat()

    def _fill(self, batch: Batch) -> None:
        if self._batch is None:
            self._batch = batch.to(self._device).clone()
        else:
            self._batch.fill(batch)

    def _recorded(self, size: Size) -> Callable[[], None]:
        static = self._batch
        assert static is not None, "a step is recorded over a batch that is there"
        return self._record(lambda: self._step(static, size))
