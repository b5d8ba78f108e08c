"""The hooks that bring a head's gradient into an algorithm's own update, in place only while ``train()`` runs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from cpc_rl.accumulation import accumulates
from cpc_rl.attachment import Site
from cpc_rl.encoder import widened
from cpc_rl.feature_map import map_module
from cpc_rl.guard import Guard
from cpc_rl.head import NOTHING, AuxiliaryGradient, Head, Metrics, Norms, has_gradient
from cpc_rl.minibatch import Rows
from cpc_rl.sampling import Windows
from cpc_rl.shared import Shared
from cpc_rl.shared_pass import SharedPass
from cpc_rl.weak_hooks import ModuleHook, weak_hook


class Injection:
    """
    Joint mode: when the algorithm's backward pass reaches a parameter of the encoder, its gradient grows by the
    auxiliary one before it is accumulated, so the algorithm's own clipping acts on the sum. Separate mode: the head's
    optimiser moves the encoder right after the algorithm's has.

    Only the first backward pass after a ``zero_grad()`` counts (the parameter's ``.grad`` is ``None`` or zero then): SAC and
    TD3 send the actor's gradient through the critic's encoder as well, and throw it away. What the user asks of
    ``torch.autograd.grad`` is left alone.

    :param site: the encoder and its optimisers
    :param head: the head
    :param guard: shared by all hooks of the model
    :param draw: gives a batch of windows for each of some objectives, by name, or ``None`` while there are too few
    :param alive: says whether the ``learn()`` that this belongs to still runs; an interrupted one may leave hooks behind
    :param progress: remaining progress, from 1 to 0
    :param report: takes the metrics of a head step, and its windows where they are whole, by the objectives' names
    :param every: the head steps with every n-th update of the encoder
    :param rl_norm: whether the agent's gradient can be measured at the features (not so for TRPO)
    :param shared_pass: where the objectives that can get the features that the algorithm computed, or ``None``
    """

    def __init__(
        self,
        site: Site,
        head: Head,
        *,
        guard: Guard,
        draw: Callable[[Head, tuple[str, ...]], dict[str, Windows] | None],
        alive: Callable[[], bool],
        progress: Callable[[], float],
        report: Callable[[dict[str, Metrics], dict[str, Windows]], None],
        every: int = 1,
        rl_norm: bool = True,
        shared_pass: SharedPass | None = None,
    ) -> None:
        self.site, self.head, self.guard = site, head, guard
        self.draw, self.alive, self.progress, self.report = draw, alive, progress, report
        self.every, self.rl_norm = every, rl_norm
        self.shared_pass = shared_pass
        self.updates = 0
        self.fed: set[str] = set()  # objectives that had windows, and that lacked them, in this learn()
        self.starved: set[str] = set()
        self.watched: set[str] = set()  # where a pass that could be differentiated was seen in this learn()
        self.measured: set[str] = set()  # where a gradient of the agent's was
        self.reached = False  # whether there was one anywhere
        self._given: set[nn.Parameter] = set()  # parameters that the update's first backward pass has come to
        self._waiting: tuple[str, ...] | None = None  # objectives whose turn has not come in this update; None before it
        self._handles: list[RemovableHandle] = []
        self._output_hook = weak_hook(self._on_output_gradient)
        self._pending: AuxiliaryGradient | None = None
        self._squared_norms: dict[str, list[Tensor]] = {"features": [], "maps": []}
        self._map_norm: Tensor | None = None  # of the last update: this one's is known only after the layers behind the map
        self._places = {name: "maps" if term.objective.local else "features" for name, term in head.terms.items()}
        self._reads_maps = "maps" in self._places.values()
        self._own_part: Tensor | None = None  # of what goes on from the features: the length of the agent's gradient there

    def attach(self) -> None:
        """Put the hooks in place; once, however often it is called."""
        if self._handles:
            return
        parameters = self.head.encoder_parameters
        if not parameters:  # frozen by the user since: a joint head rests, and one of its own step has nothing to move
            return
        if self.shared_pass is not None:
            self._handles += self.shared_pass.hooks(self.guard)
        if self.rl_norm:
            for extractor in self._extractors:
                if "features" in self._places.values():
                    self._handles.append(extractor.register_forward_hook(ModuleHook(partial(self._watch, "features"))))
                if self._reads_maps:
                    self._handles.append(map_module(extractor).register_forward_hook(ModuleHook(partial(self._watch, "maps"))))
            hooked = parameters[:1] if self.head.separate else parameters
            on_gradient = weak_hook(self._on_gradient)
            self._handles += [p.register_hook(partial(on_gradient, p)) for p in hooked]
        self._handles += [o.register_step_post_hook(self._after_step) for o in self.site.optimizers]

    @property
    def _extractors(self) -> list[nn.Module]:
        return list(dict.fromkeys(self.site.encoder.extractors.values()))  # entries may share one

    @property
    def hooked(self) -> list[nn.Module]:
        """The modules whose calls are watched."""
        maps = [map_module(extractor) for extractor in self._extractors] if self._reads_maps else []
        target = None if self.shared_pass is None else self.shared_pass.target
        return [self.site.extractor, *self._extractors, *maps, *([] if target is None else [target])]

    @property
    def unmeasured(self) -> list[str]:
        """
        The objectives whose gradient has nothing to be weighed by: the agent's came to the encoder in this ``learn()``, but
        never by what the extractors gave out, or their convolutions where the objective reads maps.
        """
        if not self.rl_norm or self.head.separate or not self.reached:
            return []
        return [name for name, place in self._places.items() if place not in self.measured]

    def detach(self) -> None:
        """Take every hook away; harmless if there is none."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._take_norms()
        self._pending = self._waiting = None
        self._given.clear()

    def _watch(self, place: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if self.guard.busy or not output.requires_grad:
            return
        self.watched.add(place)
        given = inputs[0] if inputs and place == "features" else None
        # A hook that held the output itself would keep it alive: the two would refer to each other.
        output.register_hook(partial(self._output_hook, place, given, output.detach()))

    def _on_output_gradient(self, place: str, given: Any, output: Tensor, gradient: Tensor) -> Tensor | None:
        if not any(map(accumulates, self.head.encoder_parameters)):
            return None
        self.measured.add(place)
        self._squared_norms[place].append(widened(gradient).square().sum())
        self.reached = True
        if place != "features" or self.shared_pass is None or self.guard.busy or not self.alive():
            return None
        if self._later_pass():
            return None
        rows = self.shared_pass.rows_of(given)
        if rows is None:
            return None
        together = self._share(self.shared_pass, rows, output, gradient)
        if together is not None and self._reads_maps:
            self._own_part = torch.linalg.vector_norm(gradient) / torch.linalg.vector_norm(together).clamp(min=1e-12)
        return together

    def _later_pass(self, parameter: nn.Parameter | None = None) -> bool:
        """
        Whether this backward pass is not the first one since ``zero_grad()``.

        :param parameter: that it has come to, or ``None`` if it has come to the features
        """
        if self.head.separate and parameter is not None:  # the one that is hooked
            return has_gradient(parameter)
        if self._waiting is None:
            return any(map(has_gradient, self.head.encoder_parameters))
        # Once an update has begun, the gradients that are there may be of this very pass.
        return bool(self._given) if parameter is None else parameter in self._given

    def _share(self, shared_pass: SharedPass, rows: Rows, output: Tensor, gradient: Tensor) -> Tensor | None:
        """The objectives that can take the algorithm's features do; their gradient joins that of the features."""
        names = tuple(name for name in self._begin() if self.head.terms[name].shares)
        batch = shared_pass.batch(self.head, names, rows, output) if names else None
        if batch is None:
            return None
        norms = Norms(features=torch.linalg.vector_norm(gradient))
        self._run(names, batch.windows, norms, batch.shared, show=batch.whole)
        assert self._pending is not None
        return None if self._pending.anchors is None else batch.added(gradient, self._pending.anchors)

    def _on_gradient(self, parameter: nn.Parameter, gradient: Tensor) -> Tensor | None:
        if self.guard.busy or not accumulates(parameter):  # the head's own backward pass comes by here as well
            return None
        if not self.alive():
            self.detach()
            return None
        if self._later_pass(parameter):
            self._take_norms()
            return None
        self.reached = True
        if self.head.separate:
            return None
        self._given.add(parameter)
        self._run_waiting()
        addition = None if self._pending is None else self._pending.encoder.get(parameter)
        return None if addition is None else gradient + addition

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self.alive():
            self.detach()
            return
        if self.head.separate and optimizer is self.site.optimizers[0]:
            self._run_waiting()
        self._note_map_norm(self._take_norms())
        if self._pending is not None and self._pending.names:
            self.head.step(self._pending)
        self._pending = self._waiting = None
        self._given.clear()

    def _begin(self) -> tuple[str, ...]:
        """The objectives whose turn has not come in this update."""
        if self._waiting is None:
            self.updates += 1
            self._waiting = tuple(self.head.terms) if self.updates % self.every == 0 else ()
            self._pending = NOTHING
        return self._waiting

    def _run_waiting(self) -> None:
        """The objectives that are left draw windows and make passes of their own."""
        names = self._begin()
        if not names:
            return
        self._note_map_norm(norms := self._take_norms())
        rl_norms = Norms(norms.features, self._map_norm)
        windows = self.draw(self.head, names)
        if windows is None:
            self._waiting = ()
            self.starved |= set(names)
            return
        self._run(names, windows, rl_norms)

    def _run(
        self,
        names: tuple[str, ...],
        windows: dict[str, Windows],
        rl_norms: Norms,
        shared: Shared | None = None,
        show: bool = True,
    ) -> None:
        assert self._pending is not None and self._waiting is not None
        with self.guard:
            gradient, metrics = self.head.gradient(windows, rl_norms, self.progress(), shared)
        self._pending = self._pending.joined(gradient)
        self._waiting = tuple(name for name in self._waiting if name not in names)
        self.fed |= set(names)
        self.report(metrics, windows if show else {})

    def _note_map_norm(self, norms: Norms) -> None:
        """
        Of what comes to the map, the agent's own part: a head's gradient that joined it at the features comes along, and is
        taken to be as much of it here as it was there.
        """
        if norms.maps is not None:
            self._map_norm = norms.maps if self._own_part is None else norms.maps * self._own_part
            self._own_part = None

    def _take_norms(self) -> Norms:
        """The norms that were seen since the last call."""
        seen, self._squared_norms = self._squared_norms, {"features": [], "maps": []}
        return Norms(**{place: torch.stack(squared).sum().sqrt() for place, squared in seen.items() if squared})
