"""Training in several processes: who they are, what they exchange, and how an error in one becomes the same in all.

`torchrun` starts the processes and tells each its number by the environment (RANK, WORLD_SIZE, MASTER_ADDR); without it
there is one process, and everything here costs nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..console import console, launched
from ..errors import UserError

T = TypeVar("T")

_SYNC_BUFFERS = "forward_sync_buffers"  # running statistics are exchanged after the step; older torch: another name
if _SYNC_BUFFERS not in signature(DistributedDataParallel).parameters:
    _SYNC_BUFFERS = "broadcast_buffers"
_LOST = ("connection", "gloo", "nccl", "socket", "timed out")  # in the messages of torch when a process is gone


@dataclass(frozen=True)
class Ranks:
    """This process among the `world` processes of a training. The `rank` 0 alone writes and prints: the writer."""

    rank: int = 0
    world: int = 1

    @property
    def is_writer(self) -> bool:
        """Whether this process writes the Run and prints."""
        return self.rank == 0

    def places(self, batch: int) -> np.ndarray:
        """Which places of a batch of `batch` images are this process's, int64.

        A stretch of the first half and its mirror image, so that the n-th of them and the n-th from their end mirror
        each other in the whole batch too: mixing a batch with its reverse needs no other process. See `streamorder`.
        """
        front = np.array_split(np.arange(batch // 2), self.world)[self.rank]
        centre = [batch // 2] if batch % 2 and self.rank == self.world - 1 else []
        return np.concatenate([front, centre, batch - 1 - front[::-1]]).astype(np.int64)

    def first(self, work: Callable[[], T]) -> T:
        """What `work` returns in the writer, which alone does it; an error there is raised in every process."""
        if self.world == 1:
            return work()
        told: list[Any] = [None, None]
        if self.is_writer:
            try:
                told[0] = work()
            except (UserError, OSError) as error:
                told[1] = error
        with self.watching():
            dist.broadcast_object_list(told, src=0)
        if told[1] is not None:
            raise told[1]
        return told[0]

    def together(self, work: Callable[[], T]) -> T:
        """What `work` returns here; every process does it, and an error in one of them is raised in all."""
        if self.world == 1:
            return work()
        error: Exception | None = None
        try:
            result = work()
        except (UserError, OSError) as caught:
            error = caught
        if self.sum(error is not None)[0]:
            errors: list[Exception | None] = [None] * self.world
            with self.watching():
                dist.all_gather_object(errors, error)
            raise next(found for found in errors if found is not None)
        return result

    def sum(self, *values: float) -> tuple[float, ...]:
        """The sum over all processes of each value, the same in all."""
        if self.world == 1:
            return tuple(float(value) for value in values)
        total = torch.tensor(values, dtype=torch.float64)
        with self.watching():
            dist.all_reduce(total)
        return tuple(total.tolist())

    def gather(self, value: T) -> list[T]:
        """The value of each process, in their order, in the writer; nothing elsewhere."""
        if self.world == 1:
            return [value]
        found: list[Any] | None = [None] * self.world if self.is_writer else None
        with self.watching():
            dist.gather_object(value, found, dst=0)
        return found or []

    @torch.no_grad()
    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Puts the mean over all processes into each tensor."""
        for flat, parts in self._flat(tensors):
            with self.watching():
                dist.all_reduce(flat)
            _put_back_(flat / self.world, parts)

    @torch.no_grad()
    def same_(self, tensors: Iterable[Tensor]) -> None:
        """Puts the writer's values into each tensor."""
        for flat, parts in self._flat(tensors):
            with self.watching():
                dist.broadcast(flat, src=0)
            _put_back_(flat, parts)

    def _flat(self, tensors: Iterable[Tensor]) -> Iterator[tuple[Tensor, Sequence[Tensor]]]:
        """The tensors of each type as one, to exchange: one message in place of hundreds."""
        if self.world == 1:
            return
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault(tensor.dtype, []).append(tensor)
        for parts in kinds.values():
            yield torch.cat([part.reshape(-1) for part in parts]), parts

    def wrapped(self, network: nn.Module, device: torch.device, *, partial: bool) -> nn.Module:
        """The network with its gradients averaged over all processes in the backward pass; itself where there is one.

        `partial`: some of its parameters get no gradient, and which ones changes.
        """
        if self.world == 1:
            return network
        own = [device] if device.type == "cuda" else None
        settings: dict[str, Any] = {"device_ids": own, "find_unused_parameters": partial, _SYNC_BUFFERS: False}
        with self.watching():
            return DistributedDataParallel(network, **settings)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Turns torch's error over a process that is gone into one line."""
        try:
            yield
        except RuntimeError as error:
            if self.world == 1 or not any(word in str(error).lower() for word in _LOST):
                raise
            raise UserError(
                "another process of this training ended or cannot be reached: the same command goes on from the last "
                "checkpoint, and torchrun --max-restarts does so by itself"
            ) from error


def _put_back_(flat: Tensor, parts: Sequence[Tensor]) -> None:
    for part, values in zip(parts, flat.split([part.numel() for part in parts])):
        part.copy_(values.view(part.shape))


@contextmanager
def joined() -> Iterator[Ranks]:
    """This process among those that torchrun started, joined inside the block; a world of one without it.

    A group that the caller has made is used, and left as it is; it has a backend for tensors on the CPU. Outside the
    writer nothing is printed inside the block.
    """
    if dist.is_initialized():
        yield Ranks(dist.get_rank(), dist.get_world_size())
        return
    if not launched():
        yield Ranks()
        return
    ranks = _meet()
    quiet = console().quiet
    console().quiet = quiet or not ranks.is_writer
    try:
        yield ranks
    finally:
        console().quiet = quiet
        dist.destroy_process_group()


def _meet() -> Ranks:
    """Joins the group of this start of the processes."""
    store, rank, world = next(iter(dist.rendezvous("env://")))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    ranks = Ranks(rank, world)
    with ranks.watching():
        own = dist.PrefixStore(name_of_start(store, rank, world), store)
        dist.init_process_group(backend, store=own, rank=rank, world_size=world)
    return ranks


def name_of_start(store: dist.Store, rank: int, world: int, *, patience: float = 600) -> str:
    """A name that the processes which are alive now share, and those of an earlier start do not.

    torchrun keeps its store when it starts the processes again, with the addresses of the dead in it (torch 2.13:
    whoever reads one before it is written anew cannot connect), and it has no number of the start that all machines
    agree on. So each process asks under a word of its own, and the first answers until all have its name.
    Raises RuntimeError where one does not come within `patience` seconds.
    """
    if rank:
        word = uuid4().hex
        store.set(f"ask/{rank}", word)
        store.wait([f"answer/{word}"], timedelta(seconds=patience))
        name = store.get(f"answer/{word}").decode()
        store.set(f"{name}/{rank}", "")
        return name
    name, answered, missing = uuid4().hex, {""}, set(range(1, world))
    give_up = time.monotonic() + patience
    while missing:
        for other in sorted(missing):
            if store.check([f"{name}/{other}"]):
                missing.remove(other)
            elif store.check([f"ask/{other}"]) and (word := store.get(f"ask/{other}").decode()) not in answered:
                store.set(f"answer/{word}", name)
                answered.add(word)
        if time.monotonic() > give_up:
            raise RuntimeError(f"timed out: process {min(missing)} of {world} did not come")
        time.sleep(0.02)
    return name


def local_device(device: torch.device, ranks: Ranks) -> torch.device:
    """The device of this process: on a machine with several GPUs each process takes one of its own."""
    if device.type != "cuda" or device.index is not None or ranks.world == 1:
        return device
    own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", ranks.rank)) % torch.cuda.device_count())
    torch.cuda.set_device(own)
    return own
