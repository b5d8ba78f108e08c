"""Hooks on tensors that do not keep their owner alive."""

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor


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
