"""The hooks that bring a head's gradient into an algorithm's own update, in place only while ``train()`` runs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from cpc_rl.attachment import Site
from cpc_rl.feature_map import map_module
from cpc_rl.head import AuxiliaryGradient, Head, Metrics, Norms
from cpc_rl.sampling import Windows

NOTHING = AuxiliaryGradient({}, [])


class Guard:
    """Marks the passes that are our own, so that no hook takes them for the algorithm's. One for all hooks of a model."""

    busy = False

    def __enter__(self) -> None:
        self.busy = True

    def __exit__(self, *_: object) -> None:
        self.busy = False


class Injection:
    """
    Joint mode: when the algorithm's backward pass reaches a parameter of the encoder, its gradient grows by the
    auxiliary one before it is accumulated, so the algorithm's own clipping acts on the sum. Separate mode: the head's
    optimiser moves the encoder right after the algorithm's has.

    Only the first backward pass after a ``zero_grad()`` counts (the parameter's ``.grad`` is ``None`` then): SAC and
    TD3 send the actor's gradient through the critic's encoder as well, and throw it away.

    :param site: the encoder and its optimisers
    :param head: the head
    :param guard: shared by all hooks of the model
    :param draw: gives a batch of windows for each objective by its name, or ``None`` while there are too few
    :param alive: says whether the ``learn()`` that this belongs to still runs; an interrupted one may leave hooks behind
    :param progress: remaining progress, from 1 to 0
    :param report: takes the metrics of a head step and its windows, by the objectives' names
    :param every: the head steps with every n-th update of the encoder
    :param rl_norm: whether the agent's gradient can be measured at the features (not so for TRPO)
    """

    def __init__(
        self,
        site: Site,
        head: Head,
        *,
        guard: Guard,
        draw: Callable[[Head], dict[str, Windows] | None],
        alive: Callable[[], bool],
        progress: Callable[[], float],
        report: Callable[[dict[str, Metrics], dict[str, Windows]], None],
        every: int = 1,
        rl_norm: bool = True,
    ) -> None:
        self.site, self.head, self.guard = site, head, guard
        self.draw, self.alive, self.progress, self.report = draw, alive, progress, report
        self.every, self.rl_norm = every, rl_norm
        self.updates = 0
        self._handles: list[RemovableHandle] = []
        self._pending: AuxiliaryGradient | None = None
        self._squared_norms: dict[str, list[Tensor]] = {"features": [], "maps": []}

    def attach(self) -> None:
        """Put the hooks in place; once, however often it is called."""
        if self._handles:
            return
        parameters = self.head.encoder_parameters
        if self.rl_norm:
            local = [term.objective.local for term in self.head.terms.values()]
            for extractor in self.site.encoder.extractors.values():
                if not all(local):
                    self._handles.append(extractor.register_forward_hook(partial(self._watch, "features")))
                if any(local):
                    self._handles.append(map_module(extractor).register_forward_hook(partial(self._watch, "maps")))
            hooked = parameters[:1] if self.head.separate else parameters
            self._handles += [p.register_hook(partial(self._on_gradient, p)) for p in hooked]
        self._handles += [o.register_step_post_hook(self._after_step) for o in self.site.optimizers]

    def detach(self) -> None:
        """Take every hook away; harmless if there is none."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._take_norms()
        self._pending = None

    def _watch(self, place: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if self.guard.busy or not output.requires_grad:
            return
        output.register_hook(lambda gradient: self._squared_norms[place].append(gradient.square().sum()))

    def _on_gradient(self, parameter: nn.Parameter, gradient: Tensor) -> Tensor | None:
        if self.guard.busy:  # the head's own backward pass comes by here as well
            return None
        if not self.alive():
            self.detach()
            return None
        if parameter.grad is not None:
            self._take_norms()
            return None
        if self.head.separate:
            return None
        if self._pending is None:
            self._pending = self._next_gradient()
        addition = self._pending.encoder.get(parameter)
        return None if addition is None else gradient + addition

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self.alive():
            self.detach()
            return
        if self.head.separate and optimizer is self.site.optimizers[0]:
            self._pending = self._next_gradient()
        if self._pending is not None and self._pending is not NOTHING:
            self.head.step(self._pending)
        self._pending = None

    def _next_gradient(self) -> AuxiliaryGradient:
        rl_norms = self._take_norms()
        self.updates += 1
        windows = self.draw(self.head) if self.updates % self.every == 0 else None
        if windows is None:
            return NOTHING
        with self.guard:
            gradient, metrics = self.head.gradient(windows, rl_norms, self.progress())
        self.report(metrics, windows)
        return gradient

    def _take_norms(self) -> Norms:
        """The norms that were seen since the last call."""
        seen, self._squared_norms = self._squared_norms, {"features": [], "maps": []}
        return Norms(**{place: torch.stack(squared).sum().sqrt() for place, squared in seen.items() if squared})
