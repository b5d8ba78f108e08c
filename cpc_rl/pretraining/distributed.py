"""Several processes at one training: who they are, rows gathered over them, and gradients summed over them."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

PATIENCE = timedelta(seconds=45)  # a process that waits longer for the others than this takes them for dead


def rank() -> int:
    """The number of this process; 0 where there is one alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """The number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def share(count: int, number: int, parts: int) -> slice:
    """The rows that one of several processes has of ``count``: consecutive, as even as can be."""
    return slice(count * number // parts, count * (number + 1) // parts)


def any_process(flag: bool, device: torch.device) -> bool:
    """
    Whether the flag is set in any of the processes. All must ask, and all get the same answer.

    :param device: that this process exchanges on
    """
    if world_size() == 1:
        return flag
    found = torch.tensor(int(flag), dtype=torch.int32, device=device)
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return bool(found.item())


@contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """
    Within this block the processes that ``torchrun`` started know each other, over NCCL on GPUs and gloo on CPUs. Does nothing
    where there is one process, or where they know each other already.
    """
    if distributed.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    store, number, count = next(distributed.rendezvous("env://", timeout=PATIENCE))
    store.set_timeout(PATIENCE)
    # The launcher's store outlives a group, whose addresses a later one would take for its own.
    before = store.add(f"cpc_rl/groups of {number}", 1)
    distributed.init_process_group(
        backend,
        timeout=PATIENCE,
        store=distributed.PrefixStore(f"cpc_rl/{before}", store),
        rank=number,
        world_size=count,
    )
    try:
        yield
    finally:
        distributed.destroy_process_group()


@torch.no_grad()
def gather_rows(part: Tensor, count: int) -> Tensor:
    """
    The rows of all processes, one process after the other.

    :param part: the rows of this one, as :func:`share` gives them, shape ``(n, ...)``
    :param count: rows of all
    :return: shape ``(count, ...)``
    """
    parts = world_size()
    if parts == 1:
        return part
    sizes = [len(range(count)[share(count, number, parts)]) for number in range(parts)]
    sent = part.to(torch.uint8) if part.dtype == torch.bool else part
    padded = sent.new_zeros((max(sizes), *part.shape[1:]))
    padded[: len(part)] = sent
    received = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(received, padded)
    return torch.cat([rows[:size] for rows, size in zip(received, sizes, strict=True)]).to(part.dtype)


class GatherWithGradient(torch.autograd.Function):
    """
    :func:`gather_rows` with a gradient, where **every process computes the same loss** of the gathered rows: the gradient at
    this process's rows is then in its own hands, and nothing has to be exchanged on the way back.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor, count: int) -> Tensor:
        ctx.mine = share(count, rank(), world_size())
        return gather_rows(part, count)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][ctx.mine].contiguous(), None


class SumWithGradient(torch.autograd.Function):
    """The sum over all processes, where the loss is the sum of what each makes of it: the gradient is summed as well."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        value = value.clone()
        distributed.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone()
        distributed.all_reduce(gradient)
        return gradient


@torch.no_grad()
def sum_gradients(parameters: Iterable[nn.Parameter], divide: int = 1) -> None:
    """
    Sum the gradients of all processes, in place, in one message.

    :param divide: what the sums are divided by: the number of processes, where each has the whole gradient already and only
        rounding may differ
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if world_size() == 1 or not gradients:
        return
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    flat.div_(divide)
    for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))
