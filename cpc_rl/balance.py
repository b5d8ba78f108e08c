"""How much the auxiliary gradient weighs: a number, a schedule, or a ratio of gradient norms that is held."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Coefficient = float | Callable[[float], float] | Literal["auto"]


class Balance(nn.Module):
    """
    The coefficient of the auxiliary loss.

    ``"auto"`` holds ``||coef * dL_aux/dz|| / ||dL_rl/dz||``, the norms taken at the encoder's features ``z``, at
    ``ratio``, by running averages of both norms. All values stay tensors on the device, so that nothing waits for it.

    :param coef: a number, a function of the remaining progress (1 at the start, 0 at the end) as SB3's schedules
        are, or ``"auto"``
    :param ratio: the ratio that ``"auto"`` holds
    :param decay: of the running averages, per head step
    :raises ValueError: if the coefficient is negative or of none of these kinds
    """

    rl_norm: Tensor
    auxiliary_norm: Tensor

    def __init__(self, coef: Coefficient = "auto", ratio: float = 1.0, decay: float = 0.99) -> None:
        super().__init__()
        if isinstance(coef, str):
            if coef != "auto":
                raise ValueError(f"coef is {coef!r}, but it takes a number, a schedule or 'auto'.")
        elif not callable(coef) and coef < 0:
            raise ValueError(f"coef is {coef}, but a negative coefficient would train the encoder to lose information.")
        if ratio < 0:
            raise ValueError(f"gradient_ratio is {ratio}, but a ratio of norms is not negative.")
        self.coef, self.ratio, self.decay = coef, ratio, decay
        for name in ("rl_norm", "auxiliary_norm"):
            self.register_buffer(name, torch.zeros(()))

    def is_zero(self, progress_remaining: float) -> bool:
        """Whether the encoder is left alone: then its part of the backward pass can be saved."""
        if self.coef == "auto":
            return self.ratio == 0
        return self.number(progress_remaining) == 0

    def number(self, progress_remaining: float) -> float:
        """The coefficient where it is a number or a schedule."""
        assert not isinstance(self.coef, str)
        return float(self.coef(progress_remaining) if callable(self.coef) else self.coef)

    @torch.no_grad()
    def coefficient(self, rl_norm: Tensor | None, auxiliary_norm: Tensor, progress_remaining: float) -> Tensor:
        """
        Take this step's norms into account and return the coefficient.

        :param rl_norm: ``||dL_rl/dz||`` of this step, a scalar, or ``None`` where the algorithm has no such gradient
        :param auxiliary_norm: ``||dL_aux/dz||``, a scalar
        :param progress_remaining: from 1 at the start of training to 0 at its end
        """
        if rl_norm is not None:
            # A step without a finite norm says nothing about the scale, and would spoil the average for good.
            finite = torch.isfinite(rl_norm) & torch.isfinite(auxiliary_norm)
            step = torch.where(finite, 1 - self.decay, 0.0)
            self.rl_norm.lerp_(torch.nan_to_num(rl_norm, posinf=0.0), step)
            self.auxiliary_norm.lerp_(torch.nan_to_num(auxiliary_norm, posinf=0.0), step)
        if self.coef == "auto":
            # Both averages start at zero and lag alike, so the lag cancels in their quotient.
            return self.ratio * self.rl_norm / self.auxiliary_norm.clamp(min=torch.finfo(torch.float32).tiny)
        return torch.full_like(auxiliary_norm, self.number(progress_remaining))
