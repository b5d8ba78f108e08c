"""One head at work: an objective, its optimiser, its random generators and the weight of its gradient."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cpc_rl.balance import Balance
from cpc_rl.encoder import Encoder
from cpc_rl.objectives import Objective
from cpc_rl.sampling import Windows


class AuxiliaryGradient(NamedTuple):
    """
    :param encoder: what the auxiliary loss adds to the gradient of each of the encoder's parameters, already
        multiplied by the coefficient; empty if the coefficient is zero
    :param head: gradient of each trainable parameter of the head, not multiplied
    """

    encoder: dict[nn.Parameter, Tensor]
    head: list[Tensor | None]


class Head:
    """
    :param objective: what is maximised
    :param encoder: the agent's encoder that the gradient flows to
    :param balance: the coefficient
    :param learning_rate: of the head's own Adam; in ``"separate"`` mode it moves the encoder as well
    :param separate: whether the encoder takes its own step instead of having its gradient joined to the agent's
    :param seed: of the generators that draw windows and augmentations; nothing else in the process is touched
    """

    def __init__(
        self, objective: Objective, encoder: Encoder, balance: Balance, *, learning_rate: float, separate: bool, seed: int
    ) -> None:
        self.objective, self.encoder, self.balance = objective, encoder, balance
        self.separate = separate
        self.encoder_parameters = [p for p in encoder.parameters() if p.requires_grad]
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        self.device = self.encoder_parameters[0].device
        self.balance.to(self.device)
        self.window_generator = torch.Generator().manual_seed(seed)
        self.objective.generator = torch.Generator(self.device).manual_seed(seed + 1)
        trained = self.parameters + (self.encoder_parameters if separate else [])
        self.optimizer = torch.optim.Adam(trained, lr=learning_rate) if trained else None
        self.steps = 0
        self.last_features: Tensor | None = None

    def gradient(self, windows: Windows, rl_norm: Tensor | None, progress_remaining: float) -> tuple[AuxiliaryGradient, dict]:
        """
        Run the objective on a batch of windows and split the gradient at the features.

        :param windows: the batch
        :param rl_norm: norm of the agent's gradient at the features in this update, or ``None`` where there is none
        :param progress_remaining: from 1 to 0, for schedules
        :return: the gradients, and detached metrics by name
        """
        with own_randomness(self.device), torch.enable_grad(), self.encoder.recording() as features:
            loss, metrics = self.objective(self.encoder, windows)
            at_features_and_head = torch.autograd.grad(loss, [*features, *self.parameters], allow_unused=True)
        at_features, head = at_features_and_head[: len(features)], at_features_and_head[len(features) :]
        used = [(z, g) for z, g in zip(features, at_features, strict=True) if g is not None]
        norm = (
            torch.stack([torch.linalg.vector_norm(g) for _, g in used]).square().sum().sqrt() if used else loss.new_zeros(())
        )
        coef = self.balance.coefficient(rl_norm, norm, progress_remaining)
        metrics["coef"] = coef
        if rl_norm is not None:
            metrics["gradient_ratio"] = coef * norm / rl_norm.clamp(min=torch.finfo(torch.float32).tiny)
        encoder: dict[nn.Parameter, Tensor] = {}
        if used and not self.balance.is_zero(progress_remaining):
            gradients = torch.autograd.grad(
                [z for z, _ in used], self.encoder_parameters, grad_outputs=[coef * g for _, g in used], allow_unused=True
            )
            encoder = {p: g for p, g in zip(self.encoder_parameters, gradients, strict=True) if g is not None}
        self.last_features = features[0].detach() if features else None
        return AuxiliaryGradient(encoder, list(head)), metrics

    def step(self, gradient: AuxiliaryGradient) -> None:
        """Move the head (and, in separate mode, the encoder), then its momentum copies and queues."""
        if self.optimizer is not None:
            gradients = dict(zip(self.parameters, gradient.head, strict=True))
            if self.separate:
                gradients.update(gradient.encoder)
            with exchanged_gradients(gradients):
                self.optimizer.step()
        self.objective.after_step(self.encoder)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Everything that goes on where it stopped, as tensors and plain numbers only."""
        assert self.objective.generator is not None
        return {
            "objective": self.objective.state_dict(),
            "balance": self.balance.state_dict(),
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
            "window_generator": self.window_generator.get_state(),
            "objective_generator": self.objective.generator.get_state(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert self.objective.generator is not None
        self.objective.load_state_dict(state["objective"])
        self.balance.load_state_dict(state["balance"])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        self.window_generator.set_state(state["window_generator"])
        self.objective.generator.set_state(state["objective_generator"])
        self.steps = state["steps"]


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
