"""The hooks by which an encoder is frozen or slowed down without a change to the model, its optimisers or its zip."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from cpc_rl.image_extractor import ImageExtractor
from cpc_rl.weak_hooks import ModuleHook

Alive = Callable[[], bool]


class Freeze:
    """
    Detaches what modules give out, and keeps them in evaluation mode. Their parameters keep ``requires_grad``, since TRPO asks
    for the gradient of each.

    :param modules: frozen while attached; those inside of others may be among them, for who calls them by themselves
    :param alive: says whether the ``learn()`` that this belongs to still runs; an interrupted one may leave hooks behind
    """

    def __init__(self, modules: Iterable[nn.Module], alive: Alive) -> None:
        self.modules = list(dict.fromkeys(modules))
        self.alive = alive
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Put the hooks in place; once, however often it is called."""
        if self._handles:
            return

        def rest(module: nn.Module, inputs: Any) -> None:
            if not self.alive():
                self.detach()
                return
            for part in module.modules():
                # This class has no mode but for its augmentation, which belongs to the agent's batch.
                if part.training and not isinstance(part, ImageExtractor):
                    part.training = False

        def cut(module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
            return output.detach() if self.alive() else None

        for module in self.modules:
            self._handles += [
                module.register_forward_pre_hook(ModuleHook(rest)),
                module.register_forward_hook(ModuleHook(cut)),
            ]

    def detach(self) -> bool:
        """Take the hooks away. Return whether there were any."""
        attached = bool(self._handles)
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        return attached


class StillCheck:
    """
    Whether what is frozen stays as it is in the first update. A graph that ``torch.compile`` made of what calls an extractor
    knows nothing of hooks on it, and not every such graph can be found.

    :param parameters: that are not to move
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self._before: list[Tensor] = []
        self._updates: int | None = None
        self._done = False

    def begin(self, updates: int) -> None:
        """:param updates: that the agent has made"""
        if not self._done:
            self._updates, self._before = updates, [p.detach().clone() for p in self.parameters]

    def end(self, updates: int) -> bool:
        """
        :param updates: that the agent has made by now
        :return: whether something moved; this is looked at once
        """
        if self._done or self._updates is None or updates == self._updates:
            return False
        moved = not all(torch.equal(p, before) for p, before in zip(self.parameters, self._before, strict=True))
        self._done, self._before = True, []
        return moved


class ScaledSteps:
    """
    Multiplies what each step of an optimiser adds to some of its parameters.

    :param optimizer: any
    :param parameters: those whose steps are scaled; others than the optimiser's are passed by
    :param scale: the factor
    :param alive: as for :class:`Freeze`
    """

    def __init__(self, optimizer: Optimizer, parameters: Iterable[nn.Parameter], scale: float, alive: Alive) -> None:
        self.optimizer, self.scale, self.alive = optimizer, scale, alive
        chosen = set(parameters)
        self.parameters = [p for group in optimizer.param_groups for p in group["params"] if p in chosen]
        self._moving: list[Tensor] = []
        self._before: list[Tensor] = []
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Put the hooks in place."""
        self._handles.append(self.optimizer.register_step_pre_hook(self._note))
        self._handles.append(self.optimizer.register_step_post_hook(self._scale))

    def detach(self) -> None:
        """Take them away; harmless if there is none."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._moving, self._before = [], []

    def _note(self, *_: Any) -> None:
        if not self.alive():
            self.detach()
            return
        self._moving = [p for p in self.parameters if p.grad is not None]
        self._before = [p.detach().clone() for p in self._moving]

    @torch.no_grad()
    def _scale(self, *_: Any) -> None:
        if self._moving:
            torch._foreach_lerp_(self._before, self._moving, self.scale)
            torch._foreach_copy_(self._moving, self._before)
        self._moving, self._before = [], []


class ScaledAssignments:
    """
    The same for TRPO, whose line search gives parameters new data and then looks at the features: what it assigned is scaled
    before they are computed.

    :param modules: whose parameters are scaled
    :param scale: the factor
    :param alive: as for :class:`Freeze`
    """

    def __init__(self, modules: Iterable[nn.Module], scale: float, alive: Alive) -> None:
        self.modules, self.scale, self.alive = list(modules), scale, alive
        self.parameters = list(dict.fromkeys(p for module in self.modules for p in module.parameters()))
        self._before: list[Tensor] = []
        self._seen: list[int] = []
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Remember where the parameters stand, and put the hooks in place."""
        self._before = [p.detach().clone() for p in self.parameters]
        self._seen = [p.data_ptr() for p in self.parameters]

        def catch(module: nn.Module, inputs: Any) -> None:
            if self.alive():
                self.catch_up()
            else:
                self._remove()

        self._handles = [module.register_forward_pre_hook(ModuleHook(catch)) for module in self.modules]

    def detach(self) -> None:
        """Scale what was assigned last, and take the hooks away; harmless if there is none."""
        if self._handles and self.alive():
            self.catch_up()
        self._remove()

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._before, self._seen = [], [], []

    @torch.no_grad()
    def catch_up(self) -> None:
        """Scale the parameters that have got new data since the last call; steps in place are not this class's."""
        for number, (parameter, before) in enumerate(zip(self.parameters, self._before, strict=True)):
            if parameter.data_ptr() != self._seen[number]:
                parameter.data = torch.lerp(before, parameter.detach(), self.scale)
                self._seen[number] = parameter.data_ptr()
