"""How much the auxiliary gradient weighs: a number, a schedule, or a ratio of gradient norms."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from cpc_rl.checks import check_number

Coefficient = float | Callable[[float], float] | Literal["auto", "ratio"]

LEAST = 0.05  # of the ratio: a head that knows nothing over the first features must be able to better them
FOLLOWED = 0.05  # share of the newest batch in the running average of what a head knows: some twenty head steps
FORGOTTEN = 0.005  # how fast what it has known sinks to what it knows: some two hundred head steps


class Balance(nn.Module):
    """
    The coefficient of the auxiliary loss.

    ``"ratio"`` holds ``||coef * dL_aux/dz|| / ||dL_rl/dz||``, the norms taken at the encoder's features ``z``, at
    ``ratio``, by running averages of both norms. All values stay tensors on the device, so that nothing waits for it.

    ``"auto"`` holds ``4 s (1 - s)`` of that. What the head knows is the share of its ceiling that its lower bound of the
    mutual information has reached, a running average; ``s``, cut to 0 .. 1, is that as soon as it rises, sinks to it over some
    two hundred head steps, and begins at a half. A head of wrong positives has nothing in its gradient but noise, and a ratio
    that is held makes it as strong as the agent's own. But a head that knows nothing yet, or no longer, may be what keeps the
    features from collapsing (plain PPO's may do so on rewards that are not scaled: benchmarks/results/raw_rewards), so it is
    given time. A twentieth is left in any case. For an objective without such a bound it is ``"ratio"``.

    A head that knows nearly all there is goes on making features longer, if it can, at the agent's cost. One that cannot
    (:attr:`cpc_rl.Objective.keeps_length`) does no harm then: beyond a half it keeps all of its say.

    :param coef: a number, a function of the remaining progress (1 at the start, 0 at the end) as SB3's schedules
        are, ``"auto"`` or ``"ratio"``
    :param ratio: the ratio that ``"ratio"`` holds, and ``"auto"`` at most
    :param decay: of the running averages, per head step
    :raises ValueError: if the coefficient is negative, not finite or of none of these kinds
    """

    rl_norm: Tensor
    auxiliary_norm: Tensor
    known: Tensor
    credit: Tensor

    def __init__(self, coef: Coefficient = "auto", ratio: float = 1.0, decay: float = 0.99) -> None:
        super().__init__()
        if isinstance(coef, str):
            if coef not in ("auto", "ratio"):
                raise ValueError(f"coef is {coef!r}, but it takes a number, a schedule, 'auto' or 'ratio'.")
        elif not callable(coef):
            coef = check_number("coef", coef, low=0)  # a negative one would train the encoder to lose information
        self.coef, self.decay = coef, decay
        self.ratio = check_number("gradient_ratio", ratio, low=0)
        if callable(coef):
            for remaining in (1.0, 0.5, 0.0):
                self.number(remaining)
        for name in ("rl_norm", "auxiliary_norm"):
            self.register_buffer(name, torch.zeros(()))
        self.register_buffer("known", torch.full((), -2.0))  # below -1 before the first batch
        self.register_buffer("credit", torch.full((), 0.5))

    def is_zero(self, progress_remaining: float) -> bool:
        """Whether the encoder is left alone: then its part of the backward pass can be saved."""
        if isinstance(self.coef, str):
            return self.ratio == 0
        return self.number(progress_remaining) == 0

    def number(self, progress_remaining: float) -> float:
        """
        The coefficient where it is a number or a schedule.

        :raises ValueError: a schedule gives none, or a negative one
        """
        assert not isinstance(self.coef, str)
        if not callable(self.coef):
            return float(self.coef)
        # A last rollout that goes on beyond the steps that were asked for has less than nothing remaining.
        remaining = max(progress_remaining, 0.0)
        return check_number(f"coef({remaining:g}), of the schedule,", self.coef(remaining), low=0)

    @torch.no_grad()
    def coefficient(
        self,
        rl_norm: Tensor | None,
        auxiliary_norm: Tensor,
        progress_remaining: float,
        known: Tensor | None = None,
        keeps_length: bool = False,
    ) -> Tensor:
        """
        Take this step's norms into account and return the coefficient.

        :param rl_norm: ``||dL_rl/dz||`` of this step, a scalar, or ``None`` where the algorithm has no such gradient
        :param auxiliary_norm: ``||dL_aux/dz||``, a scalar
        :param progress_remaining: from 1 at the start of training to 0 at its end
        :param known: lower bound of the mutual information over its ceiling, a scalar; ``None`` where there is no such thing
        :param keeps_length: whether the auxiliary gradient leaves the features' lengths alone
        """
        auxiliary_norm = auxiliary_norm.to(self.auxiliary_norm)  # maps of convolutions under autocast are of half precision
        if rl_norm is not None:
            rl_norm = rl_norm.to(self.rl_norm)
            # A step without a finite norm says nothing about the scale, and would spoil the average for good. Nor does one in
            # which no anchor counted (no negatives, no window that is long enough): its zero is that of no loss.
            counts = torch.isfinite(rl_norm) & torch.isfinite(auxiliary_norm) & (auxiliary_norm > 0)
            step = torch.where(counts, 1 - self.decay, 0.0)
            self.rl_norm.lerp_(torch.nan_to_num(rl_norm, posinf=0.0), step)
            self.auxiliary_norm.lerp_(torch.nan_to_num(auxiliary_norm, posinf=0.0), step)
        if not isinstance(self.coef, str):
            return torch.full_like(auxiliary_norm, self.number(progress_remaining))
        # Both averages start at zero and lag alike, so the lag cancels in their quotient.
        limits = torch.finfo(torch.float32)
        held = (self.ratio * self.rl_norm / self.auxiliary_norm.clamp(min=limits.tiny)).clamp(max=limits.max)
        # Where there is nothing to weigh there is no weight: before the first gradient the quotient has none, either.
        learnt = auxiliary_norm != 0
        held = torch.where(learnt, held, 0.0)
        if known is None or self.coef == "ratio":
            return held
        return held * self._room(known, keeps_length, learnt)

    def _room(self, known: Tensor, keeps_length: bool, learnt: Tensor) -> Tensor:
        """
        1 where the head knows half or may yet come to know it, next to nothing where it never does.

        :param learnt: whether the batch had anything to learn from; of another one nothing is noted
        """
        # Bounds of small batches scatter about zero: cut each one there, and nothing would look like something.
        known = torch.nan_to_num(known.to(self.known), neginf=-1.0).clamp(-1, 1)
        now = torch.where(self.known < -1, known, self.known.lerp(known, FOLLOWED))
        self.known.copy_(torch.where(learnt, now, self.known))
        credit = torch.maximum(self.known, self.credit.lerp(self.known, FORGOTTEN))
        self.credit.copy_(torch.where(learnt, credit, self.credit))
        share = self.credit.clamp(0, 0.5) if keeps_length else self.credit.clamp(min=0)
        return (4 * share * (1 - share)).clamp(min=LEAST)
