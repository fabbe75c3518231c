"""How much memory the tensors of a forward pass take at once."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that operations made and that are still there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:  # a view, or what an operation changed in place
            return
        self._known.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def peak_memory(module: nn.Module, images: Tensor) -> int:
    """Return the bytes of weights, images and the tensors alive at once in one pass in evaluation mode.

    What libraries take as workspace inside one operation is not counted, so that the figure belongs to the
    network and not to a machine.
    """
    state: int = sum(tensor.nbytes for tensor in module.state_dict().values())
    alive = _Alive()
    with torch.no_grad(), alive:
        module.eval()(images)
    images_size: int = images.nbytes
    return state + images_size + alive.peak
