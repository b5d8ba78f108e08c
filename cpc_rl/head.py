"""One head at work: its objectives, their optimiser, random generators and the weights of their gradients."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cpc_rl.balance import Balance
from cpc_rl.encoder import Encoder, Recording, widened
from cpc_rl.objectives import Objective
from cpc_rl.sampling import Windows
from cpc_rl.shared import Shared

Metrics = dict[str, Tensor]
LEFT_OUT, DETACHED = "left out", "detached"  # among the metrics: 1 for a step that was, and for a loss without the encoder


@dataclass
class Term:
    """
    One objective of a head.

    :param objective: what is maximised
    :param balance: the coefficient
    :param weight: multiplies the coefficient
    :param short_of_frames: whether the algorithm's rollouts end too soon after most of their frames for its horizon
    :param augment_given: whether the user asked for an augmentation, and did not leave it at the objective's own
    :param agent_augments: whether the algorithm's own batches are augmented
    :param unaugmented: whether all that it read last are the algorithm's own features, of images as they are
    """

    objective: Objective
    balance: Balance
    weight: float = 1.0
    short_of_frames: bool = False
    augment_given: bool = False
    agent_augments: bool = False
    unaugmented: bool = False

    @property
    def shares(self) -> bool:
        """
        Whether it can do with the algorithm's minibatch. Not so if that is short of frames, or where a batch must hold several
        windows of each trajectory: a random draw from a replay buffer hardly has two of one, and even of 64 rows of a rollout
        many are alone.
        """
        return self.objective.can_share and self.objective.per_trajectory == 1 and not self.short_of_frames

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those of the objective that are trained."""
        return [p for p in self.objective.parameters() if p.requires_grad]


class Norms(NamedTuple):
    """Norms of the agent's gradient in one update, ``None`` where there is none: at the features, and at the feature maps."""

    features: Tensor | None = None
    maps: Tensor | None = None


class AuxiliaryGradient(NamedTuple):
    """
    :param encoder: what the auxiliary losses add to the gradient of each of the encoder's parameters, already
        multiplied by their coefficients; empty if these are zero
    :param anchors: the same for the shared anchors, ``(B, F)``; ``None`` if there are none
    :param head: gradient of each trainable parameter of the objectives that took part, not multiplied
    :param names: of these objectives
    """

    encoder: dict[nn.Parameter, Tensor]
    anchors: Tensor | None
    head: Mapping[nn.Parameter, Tensor | None]
    names: tuple[str, ...]

    def joined(self, other: "AuxiliaryGradient") -> "AuxiliaryGradient":
        """Both together, as two groups of objectives of one update give them."""
        encoder = dict(self.encoder)
        for p, g in other.encoder.items():
            encoder[p] = encoder[p] + g if p in encoder else g
        anchors = self.anchors if other.anchors is None else other.anchors
        if self.anchors is not None and other.anchors is not None:
            anchors = self.anchors + other.anchors
        return AuxiliaryGradient(encoder, anchors, {**self.head, **other.head}, self.names + other.names)


NOTHING = AuxiliaryGradient({}, None, {}, ())


class Head:
    """
    :param terms: the objectives by name
    :param encoder: the agent's encoder that the gradient flows to
    :param learning_rate: of the head's own Adam; in ``"separate"`` mode it moves the encoder as well, once for all objectives
    :param separate: whether the encoder takes its own step instead of having its gradient joined to the agent's
    :param seed: of the generators that draw windows and augmentations; nothing else in the process is touched
    """

    def __init__(
        self, terms: Mapping[str, Term], encoder: Encoder, *, learning_rate: float, separate: bool, seed: int
    ) -> None:
        self.terms, self.encoder, self.separate = dict(terms), encoder, separate
        if not self.encoder_parameters:
            raise ValueError("A head trains the encoder, and all parameters of this one have requires_grad=False.")
        self.parameters = [p for term in self.terms.values() for p in term.parameters]
        for name, term in self.terms.items():
            if set(term.parameters) & set(encoder.parameters()):
                raise ValueError(
                    f"The objective {name!r} keeps parameters of the encoder among its own: it may read or copy the encoder "
                    "(cpc_rl.momentum), but keep no reference to it."
                )
        self.device = self.encoder_parameters[0].device
        self.window_generator = torch.Generator().manual_seed(seed)
        for number, term in enumerate(self.terms.values()):
            term.balance.to(self.device)
            term.objective.generator = torch.Generator(self.device).manual_seed(seed + 1 + 100 * number)
        trained = self.parameters + (list(encoder.parameters()) if separate else [])  # what is frozen now may be thawed
        fused = self.device.type in ("cpu", "cuda")  # half of the loop's time (benchmarks/less_work.md)
        self.optimizer = torch.optim.Adam(trained, lr=learning_rate, fused=fused) if trained else None
        self.steps = 0

    @property
    def encoder_parameters(self) -> list[nn.Parameter]:
        """What of the encoder is trained at this moment: the user may freeze and thaw it at any time."""
        return [p for p in self.encoder.parameters() if p.requires_grad]

    def gradient(
        self, windows: Mapping[str, Windows], rl_norms: Norms, progress_remaining: float, shared: Shared | None = None
    ) -> tuple[AuxiliaryGradient, dict[str, Metrics]]:
        """
        Run objectives on their batches of windows and split the gradient at what the encoder gave out.

        :param windows: the batches, by the names of the objectives that take part
        :param rl_norms: of the agent's gradient in this update
        :param progress_remaining: from 1 to 0, for schedules
        :param shared: features of the windows that the algorithm has computed
        :return: the gradients, and detached metrics by the objectives' names
        """
        total, metrics = NOTHING, {}
        for name, batch in windows.items():
            term = self.terms[name]
            rl_norm = rl_norms.maps if term.objective.local else rl_norms.features
            gradient, metrics[name] = self._term_gradient(name, batch, rl_norm, progress_remaining, shared)
            total = total.joined(gradient)
        return total, metrics

    def _term_gradient(
        self, name: str, windows: Windows, rl_norm: Tensor | None, progress_remaining: float, shared: Shared | None
    ) -> tuple[AuxiliaryGradient, Metrics]:
        term = self.terms[name]
        parameters = term.parameters
        with own_randomness(self.device), torch.enable_grad(), self.encoder.recording() as recording:
            if shared is not None:
                shared = shared._replace(anchors=shared.anchors.detach().requires_grad_())
                recording.features.append(shared.anchors)
            given = (self.encoder, windows) if shared is None else (self.encoder, windows, shared)
            loss, metrics = checked(name, term.objective(*given))
            features_alone = shared is not None and shared.next_keys is not None and term.objective.horizon == 1
            term.unaugmented = features_alone and term.objective.takes_next_keys and not term.agent_augments
            outputs = recording.outputs + ([] if shared is None else [shared.anchors])
            places = recording.maps if term.objective.local else []
            # All of the gradient at a map comes through the features as well, on a way that is needed again below.
            retain = bool(places)
            gradients = torch.autograd.grad(
                loss, [*outputs, *places, *parameters], allow_unused=True, retain_graph=retain or None
            )
        at_outputs = [(z, g) for z, g in zip(outputs, gradients, strict=False) if g is not None]
        metrics[DETACHED] = torch.full((), float(not at_outputs and not recording.frozen))
        norm = _norm(loss, recording, at_outputs, gradients[len(outputs) : len(outputs) + len(places)])
        # A step whose gradient is not finite is left out: one would make the agent's parameters NaN for good.
        finite = torch.isfinite(norm)
        norm = torch.where(finite, norm, 0.0)
        metrics[LEFT_OUT] = (~finite).float()
        at_outputs = [(z, torch.where(finite, g, 0.0)) for z, g in at_outputs]
        coef = term.weight * term.balance.coefficient(
            rl_norm, norm, progress_remaining, _known(metrics), term.objective.keeps_length
        )
        metrics["coef"] = coef
        if rl_norm is not None:
            metrics["gradient_ratio"] = coef * norm / rl_norm.clamp(min=torch.finfo(torch.float32).tiny)
        of_head = [None if g is None else torch.where(finite, g, 0.0) for g in gradients[len(outputs) + len(places) :]]
        head = dict(zip(parameters, of_head, strict=True))
        if term.balance.is_zero(progress_remaining):
            return AuxiliaryGradient({}, None, head, (name,)), metrics
        anchors = None
        if shared is not None:
            anchors = next((coef * g for z, g in at_outputs if z is shared.anchors), None)
            at_outputs = [(z, g) for z, g in at_outputs if z is not shared.anchors]
        encoder: dict[nn.Parameter, Tensor] = {}
        if at_outputs:
            given_out = [coef * g for _, g in at_outputs]
            trained = self.encoder_parameters
            found = torch.autograd.grad([z for z, _ in at_outputs], trained, grad_outputs=given_out, allow_unused=True)
            # Zero times what is not finite within the encoder is not zero.
            encoder = {p: torch.where(finite, g, 0.0) for p, g in zip(trained, found, strict=True) if g is not None}
        return AuxiliaryGradient(encoder, anchors, head, (name,)), metrics

    def step(self, gradient: AuxiliaryGradient) -> None:
        """Move the head (and, in separate mode, the encoder), then its momentum copies and queues."""
        if self.optimizer is not None:
            gradients: dict[nn.Parameter, Tensor | None] = {**dict.fromkeys(self.parameters), **gradient.head}
            if self.separate:  # where the head gives none, the agent's gradient is not to be stepped on a second time
                gradients |= {**dict.fromkeys(self.encoder.parameters()), **gradient.encoder}
            with exchanged_gradients(gradients):
                self.optimizer.step()
        for name in gradient.names:
            self.terms[name].objective.after_step(self.encoder)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Everything that goes on where it stopped, as tensors and plain numbers only."""
        return {
            "terms": {name: _term_state(term) for name, term in self.terms.items()},
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
            "window_generator": self.window_generator.get_state(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, term in self.terms.items():
            assert term.objective.generator is not None
            term.objective.load_state_dict(state["terms"][name]["objective"])
            # A state that an older version saved lacks the newer entries; they begin anew.
            term.balance.load_state_dict({**term.balance.state_dict(), **state["terms"][name]["balance"]})
            term.objective.generator.set_state(state["terms"][name]["generator"])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        self.window_generator.set_state(state["window_generator"])
        self.steps = state["steps"]


def checked(name: str, result: Any) -> tuple[Tensor, Metrics]:
    """
    What an objective returned, with its loss among the metrics.

    :raises ValueError: it is not a loss, from which a gradient can be taken, and a dict of scalar metrics
    """
    where = f"The objective {name!r} must return its loss and a dict of metrics"
    if not isinstance(result, tuple | list) or len(result) != 2 or not isinstance(result[1], Mapping):
        raise ValueError(f"{where}, but it returned {_kind(result)}.")
    loss, metrics = result
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise ValueError(f"{where}; the loss is a scalar tensor with a gradient, but it is {_kind(loss)}.")
    for key, value in metrics.items():
        if isinstance(value, Tensor) and value.numel() != 1:
            raise ValueError(f"{where}; metrics are scalars, but {key!r} is {_kind(value)}.")
    loss = loss.reshape(())
    scalars = {key: torch.as_tensor(value, device=loss.device).detach().reshape(()) for key, value in metrics.items()}
    return loss, {"loss": loss.detach(), **scalars}


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        graph = "" if value.requires_grad else ", without a gradient"
        return f"a tensor of shape {tuple(value.shape)}{graph}"
    if isinstance(value, tuple):
        return f"a tuple of {', '.join(map(_kind, value)) or 'nothing'}"
    return f"an object of {type(value).__name__}"


def _norm(
    loss: Tensor, recording: Recording, at_outputs: list[tuple[Tensor, Tensor]], at_maps: tuple[Tensor | None, ...]
) -> Tensor:
    """Norm of the auxiliary gradient: at the feature maps (all of it) if there are any, else at the features."""
    features = {id(z) for z in recording.features}
    counted = [g for g in at_maps if g is not None] or [g for z, g in at_outputs if id(z) in features]
    if not counted:
        return loss.new_zeros(())
    return torch.stack([torch.linalg.vector_norm(widened(g)) for g in counted]).square().sum().sqrt()


def _known(metrics: Metrics) -> Tensor | None:
    """Share of its ceiling that an objective's bound has reached, where it has one."""
    if not {"mi_lower_bound", "mi_ceiling"} <= metrics.keys():
        return None
    return metrics["mi_lower_bound"] / metrics["mi_ceiling"].clamp(min=torch.finfo(torch.float32).tiny)


def _term_state(term: Term) -> dict[str, Any]:
    assert term.objective.generator is not None
    return {
        "objective": term.objective.state_dict(),
        "balance": term.balance.state_dict(),
        "generator": term.objective.generator.get_state(),
    }


def has_gradient(parameter: nn.Parameter) -> bool:
    """Whether a backward pass has left something since ``zero_grad()``, which takes a gradient away or fills it with zeros."""
    return parameter.grad is not None and bool(parameter.grad.any())


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Dropout and the like inside the encoder or head must not move the generators that the agent draws from."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextmanager
def exchanged_gradients(gradients: dict[nn.Parameter, Tensor | None]) -> Iterator[None]:
    """Within this block the parameters carry these gradients; afterwards those that the agent left there."""
    before = {p: p.grad for p in gradients}
    try:
        for p, g in gradients.items():
            p.grad = g
        yield
    finally:
        for p, g in before.items():
            p.grad = g
