"""Momentum (exponential moving average) copies of modules, as MoCo (He et al. 2020) and CURL (Laskin et al. 2020) use them."""

import copy
from collections import OrderedDict
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def momentum_copy(module: Module) -> Module:
    """
    A deep copy of the module whose parameters take no gradient, without its forward hooks: they watch that module, and a bound
    method among them would take along whatever its object holds. Hooks before the forward pass stay, for they may make the
    weights (spectral normalisation).

    :raises ValueError: a forward that was assigned would go on computing with the module's own weights, or a part keeps
        tensors that PyTorch cannot copy
    """
    for part in module.modules():
        # Of a bound method the copy has its own, and so has what torch.compile makes of a module.
        forward = vars(part).get("forward")
        if forward is not None and not hasattr(part, "_orig_mod") and getattr(forward, "__self__", None) is not part:
            raise ValueError(
                f"The forward of {type(part).__name__} was assigned, as by extractor.forward = torch.compile(...), and "
                "that of a momentum copy would compute with the original's weights: call extractor.compile() instead."
            )
    without = {id(part._forward_hooks): OrderedDict[int, Any]() for part in module.modules()}
    try:
        return copy.deepcopy(module, without).requires_grad_(False)
    except RuntimeError as error:
        if "deepcopy" not in str(error):  # of memory, say
            raise
        raise ValueError(
            f"{type(module).__name__} keeps tensors that are computed and no parameters, as torch.nn.utils.weight_norm makes "
            "them, and no momentum copy can be made of it: use torch.nn.utils.parametrizations.weight_norm, or an objective "
            "without such a copy, as cpc."
        ) from error


def check_tau(tau: float, whose: str = "momentum encoder") -> None:
    """
    :param tau: step of a momentum copy
    :param whose: what it is called, for the message
    :raises ValueError: if it would never move, or overshoot
    """
    if not 0.0 < tau <= 1.0:
        raise ValueError(f"tau is {tau}, but the {whose} needs a step above 0 and at most 1.")


@torch.no_grad()
def momentum_update(target: nn.Module, source: nn.Module, tau: float) -> None:
    """
    Move every parameter of the target towards the source: ``target = (1 - tau) * target + tau * source``.

    Buffers (batch statistics) are copied, since an average of counters has no meaning, and so is the mode, training or
    evaluation: a copy may have been made in the other one.

    :param target: the momentum copy, changed in place
    :param source: the module that it follows, of the same structure
    :param tau: step towards the source, between 0 (stay) and 1 (copy)
    :raises ValueError: if the structures differ
    """
    targets: list[Tensor] = list(target.parameters())
    sources: list[Tensor] = list(source.parameters())
    if [p.shape for p in targets] != [p.shape for p in sources]:
        raise ValueError(
            "momentum_update takes two modules of the same structure, but their parameters differ in number or shape."
        )
    if targets:  # an identity has none
        torch._foreach_lerp_(targets, sources, tau)
    for buffer, other in zip(target.buffers(), source.buffers(), strict=True):
        buffer.copy_(other)
    for part, other_part in zip(target.modules(), source.modules(), strict=True):
        part.training = other_part.training
