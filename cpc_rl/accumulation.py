"""Which backward passes are an update's, and which give gradients out."""

import torch
from torch import nn
from torch.autograd.graph import get_gradient_edge


def accumulates(parameter: nn.Parameter) -> bool:
    """
    Whether the backward pass that is under way adds to this parameter's gradient.

    ``torch.autograd.grad`` does not: it hands gradients to whoever asked, to log their norms, say, or to penalise them, and
    hooks on tensors hear of it all the same. To be called from such a hook.

    :param parameter: one that requires a gradient
    """
    ask = getattr(torch._C, "_will_engine_execute_node", None)  # what PyTorch's own hooks over several tensors ask
    if ask is None:
        return True
    try:
        return ask(get_gradient_edge(parameter).node)
    except RuntimeError:  # its answer about a leaf whose gradient torch.autograd.grad was asked for
        return False
