"""The backward pass that SAC, TQC and CrossQ send through the critic's encoder and throw away."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from cpc_rl.minibatch import Minibatches, Rows
from cpc_rl.weak_hooks import ModuleHook


class SpareBackward:
    """
    Spares it. After the critic's step the actor's loss runs through the critic once more, on the same minibatch; the gradient
    that it leaves at the critic's encoder is erased before the next step. Detached there, all steps stay what they were, to
    the bit. (Those of stock updates. A subclass may step twice on a minibatch, or put a loss of its own after the step.)

    :param critic_extractor: the critic's features extractor, which no other optimiser than the critic's trains
    :param optimizer: the critic's
    :param minibatches: tells when a new minibatch begins
    :param alive: says whether the ``learn()`` that this belongs to still runs; an interrupted one may leave hooks behind
    """

    def __init__(
        self, critic_extractor: nn.Module, optimizer: Optimizer, minibatches: Minibatches, alive: Callable[[], bool]
    ) -> None:
        self.extractor, self.optimizer, self.minibatches = critic_extractor, optimizer, minibatches
        self.alive = alive
        self._stepped_on: Rows | None = None
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Put the hooks in place, before those that look at the features."""
        if not self._handles:
            self._handles.append(self.extractor.register_forward_hook(ModuleHook(self._cut)))
            self._handles.append(self.optimizer.register_step_post_hook(self._note))

    def detach(self) -> None:
        """Take them away."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._stepped_on = None

    def _note(self, *_: Any) -> None:
        self._stepped_on = self.minibatches.latest

    def _cut(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        if not self.alive():  # a pass of the extractor comes before any step of its optimiser
            self.detach()
            return None
        same_minibatch = self._stepped_on is not None and self.minibatches.latest is self._stepped_on
        return output.detach() if same_minibatch and output.requires_grad else None
