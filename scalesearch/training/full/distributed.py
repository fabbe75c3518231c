"""Several processes with one training: each takes its share of every batch, and all end up equal.

Started by torchrun, which sets RANK, WORLD_SIZE and LOCAL_RANK. Gradients are averaged by torch's
DistributedDataParallel, over gloo on the CPU and nccl on CUDA; what the processes say to each other besides
goes over gloo, so that it does not wait for a device.

Batch norm normalises each process's share by the share's own statistics, as everywhere without synchronised
batch norm: with many processes and small shares that is noisier than one process with the whole batch. The
moving averages are those of the first process; torch hands them to the others before every step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from scalesearch.errors import InputError

T = TypeVar("T")
PATIENCE = timedelta(days=2)  # of those that wait for a data set to be decoded


@dataclass(frozen=True)
class Ranks:
    """The processes that share a training, seen from one of them.

    Attributes:
        rank: of this process, from 0; the first alone writes files and speaks.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def sums(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all processes, in double precision."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor)
        summed: list[float] = tensor.tolist()
        return summed

    def any(self, said: bool) -> bool:
        """Return whether any process says so."""
        return self.sums([float(said)])[0] > 0

    def first_says(self, value: T) -> T:
        """Return what the first process says, in every process; plain data."""
        if self.world == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said, src=0, device=torch.device("cpu"))
        return said[0]

    def in_turn(self, prepare: Callable[[], T]) -> T:
        """Return what `prepare` returns: the first process of each machine fills the caches, then the others.

        Where it fails in one of them, that one's error is raised there and InputError in the others.
        """
        if self.world == 1:
            return prepare()
        group = dist.new_group(backend="gloo", timeout=PATIENCE)
        assert isinstance(group, dist.ProcessGroup)  # this process is one of its members
        found = list[T]()
        for leading in (True, False):
            failed = None
            if (local_rank() == 0) is leading:
                try:
                    found.append(prepare())
                except BaseException as error:  # the others wait for this one, whatever it ends with
                    failed = error
            said = torch.tensor(float(failed is not None))
            dist.all_reduce(said, group=group)
            if failed is not None:
                raise failed
            if said > 0:
                raise InputError("the training cannot begin: another of its processes says why")
        return found[0]

    def parallel(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return a module with the same parameters whose gradients are averages over the processes."""
        if self.world == 1:
            return model
        return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)

    def unshared(self, parallel: nn.Module) -> AbstractContextManager[None]:
        """Within the context, gradients are added up here and not yet averaged over the processes."""
        if isinstance(parallel, DistributedDataParallel):
            return parallel.no_sync()
        return nullcontext()

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the first one's buffers, such as batch norm's moving averages."""
        if self.world > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)


ALONE = Ranks()


def local_rank() -> int | None:
    """Return this process's number on its machine where torchrun started it, else None."""
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        return None
    return int(os.environ.get("LOCAL_RANK", "0"))


def own_device(name: str) -> torch.device:
    """Return this process's device: with several on a machine, "cuda" is one GPU for each."""
    device, own = torch.device(name), local_rank()
    if device.type != "cuda":
        return device
    if own is not None and device.index is None:
        if own >= torch.cuda.device_count():
            raise InputError(
                f"torchrun needs a GPU for each process of a machine, but there are "
                f"{torch.cuda.device_count()} and this is process {own}"
            )
        device = torch.device("cuda", own)
    torch.cuda.set_device(device)
    return device


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Meet the other processes that torchrun started, for as long as the context lasts."""
    if local_rank() is None or int(os.environ["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
