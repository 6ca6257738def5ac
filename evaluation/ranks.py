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
from torch import distributed

PATIENCE = timedelta(hours=2)  # one process may index a large data set while the others wait


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

    @property
    def device(self) -> str:
        """Its own, for --device."""
        return f"cuda:{self.local % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process does what stands below, then the others do: they find on the disk what it has made."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def share(self, items: list) -> list:
        """This process's part of a list that all of them have."""
        return items[self.rank :: self.size]

    def gather(self, item) -> list:
        """What each process gave, in the order of ranks, on all of them. Raises RuntimeError when one is lost."""
        if self.size == 1:
            return [item]
        items = [None] * self.size
        distributed.all_gather_object(items, item)
        return items

    def wait(self) -> None:
        """Until all processes are here. Raises RuntimeError when one is lost."""
        if self.size > 1:
            distributed.barrier()


ALONE = Ranks()


def join() -> Ranks:
    """This process among those that torchrun started. Each takes the GPU with its local number."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    ranks = Ranks(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(ranks.local % torch.cuda.device_count())
    # Python objects are exchanged on the CPU also where gradients go from card to card.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
    return ranks


def leave() -> None:
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def lost(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error) or "NCCL" in str(error)
