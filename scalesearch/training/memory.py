"""Running out of memory: telling it from other errors, and giving the memory back."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")

# On the CPU a failed allocation is a plain RuntimeError; these are what torch's allocator, the C++ library
# and oneDNN say.
_SAID = ("can't allocate memory", "bad_alloc", "could not create a memory", "out of memory")


@dataclass(frozen=True)
class OutOfMemory:
    """An allocation failed; `message` is one line."""

    message: str


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is that of a failed allocation, on the CPU or a CUDA device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID)


def within_memory(run: Callable[[], T]) -> T | OutOfMemory:
    """Return what `run` returns, or that it ran out of memory; then all that it held is given back.

    Other errors pass. The error itself is not handed on: its traceback would keep the tensors alive.
    """
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        message = " ".join(str(error).split())[:200]
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return OutOfMemory(message)
