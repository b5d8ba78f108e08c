"""Hooks that do not outlast what they are for: on tensors, without keeping their owner alive, and on modules."""

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


def ends_itself(module: nn.Module, alive: Callable[[], bool], end: Callable[[], None]) -> RemovableHandle:
    """
    Put a hook before a module's passes that calls ``end`` at the first one for which ``alive`` is false any more: what an
    interrupted update left on a model goes so before the next ``learn()`` uses it.
    """

    # A function and no method: a momentum copy copies its module's hooks, and with a method all that it belongs to.
    def look(module: nn.Module, inputs: Any) -> None:
        if not alive():
            end()

    return module.register_forward_pre_hook(look)
