"""Several processes that work as one, started by torchrun: which of them this is, and what they share.

    torchrun --nproc-per-node 2 train.py ...      # one process a GPU; on a CPU they talk through gloo

Without torchrun there is one process, of rank 0, and nothing here does anything.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn

from progress import say

PATIENCE = timedelta(hours=2)  # of what is said between processes: one may index a large data set meanwhile
_talk: distributed.ProcessGroup | None = None  # what Python objects go through; gradients have a group of their own


class FirstFailedError(RuntimeError):
    """The first process could not prepare what the others wait for; it says why."""


@dataclass(frozen=True)
class Ranks:
    """rank: of this process, from 0; size: how many there are; local: its number on this machine."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def say(self, message: str) -> None:
        """A line on stderr, from the first alone."""
        if self.first:
            say(message)

    @property
    def device(self) -> str:
        """Its own, for --device."""
        return f"cuda:{self.local % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process does what stands below, then the others do: they find on the disk what it has made.

        Raises FirstFailedError on the others when it failed.
        """
        if not self.first and not self.gather(None)[0]:
            raise FirstFailedError
        try:
            yield
        except BaseException:
            if self.first:
                self.gather(False)
            raise
        if self.first:
            self.gather(True)

    def share(self, items: list) -> list:
        """This process's part of a list that all of them have."""
        return items[self.rank :: self.size]

    def gather(self, item) -> list:
        """What each process gave, in the order of ranks, on all of them. Raises RuntimeError when one is lost."""
        if self.size == 1:
            return [item]
        items = [None] * self.size
        distributed.all_gather_object(items, item, group=_talk)
        return items

    def any(self, flag: bool) -> bool:
        """Whether it is so on any process; all of them ask at the same place."""
        if self.size == 1:
            return flag
        said = torch.tensor(int(flag))
        distributed.all_reduce(said, distributed.ReduceOp.MAX, group=_talk)
        return bool(said)

    def add(self, sums: torch.Tensor) -> torch.Tensor:
        """The sum over the processes, on all of them, in place; where the tensor lies."""
        if self.size > 1:
            distributed.all_reduce(sums)
        return sums

    def same_buffers(self, *networks: nn.Module) -> None:
        """The first process's batch statistics for all. Each has averaged over its own images alone."""
        if self.size > 1:
            for network in networks:
                for buffer in network.buffers():
                    distributed.broadcast(buffer, 0)

    def wait(self) -> None:
        """Until all processes are here. Raises RuntimeError when one is lost."""
        self.gather(None)


ALONE = Ranks()


def join() -> Ranks:
    """This process among those that torchrun started. Each takes the GPU with its local number."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    ranks = Ranks(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(ranks.local % torch.cuda.device_count())
    global _talk
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    _talk = distributed.new_group(backend="gloo", timeout=PATIENCE)
    return ranks


def leave() -> None:
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def lost(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error) or "NCCL" in str(error)
