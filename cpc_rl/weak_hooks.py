"""Hooks that do not outlast what they are for: on tensors, without keeping their owner alive, and on modules and no copies."""

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def weak_hook(method: Callable[..., Tensor | None]) -> Callable[..., Tensor | None]:
    """
    A function that calls a method for as long as somebody else holds the method's object, and does nothing afterwards.

    Autograd's graph holds the hooks of its tensors where Python's garbage collector cannot look. The distribution that an
    on-policy agent keeps from its last minibatch holds such a graph: hooks that held the model from there would keep it, and
    its buffers, for as long as the process lives.

    :param method: bound; takes what the hook is given, and returns another gradient or ``None``
    """
    reference = weakref.WeakMethod(method)

    def call(*given: Any) -> Tensor | None:
        method = reference()
        return None if method is None else method(*given)

    return call


class ModuleHook:
    """
    A hook on a module that its copies and pickles are without: others may copy or send a policy in the midst of ``learn()``,
    for self-play or to evaluate it elsewhere, and whatever a hook belongs to would come along.

    :param function: called with what the hook is given
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *given: Any) -> Any:
        return self.function(*given)

    def __deepcopy__(self, memo: dict[int, Any]) -> "ModuleHook":
        return ModuleHook(_nothing)

    def __reduce__(self) -> tuple[type["ModuleHook"], tuple[Callable[..., None]]]:
        return ModuleHook, (_nothing,)


def _nothing(*given: Any) -> None:
    """The hook of a copy."""


def ends_itself(module: nn.Module, alive: Callable[[], bool], end: Callable[[], None]) -> RemovableHandle:
    """
    Put a hook before a module's passes that calls ``end`` at the first one for which ``alive`` is false any more: what an
    interrupted update left on a model goes so before the next ``learn()`` uses it.
    """

    def look(module: nn.Module, inputs: Any) -> None:
        if not alive():
            end()

    return module.register_forward_pre_hook(ModuleHook(look))
