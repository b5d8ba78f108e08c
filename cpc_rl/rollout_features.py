"""Features that the collection of a rollout computed, kept as keys: one rollout old, as a memory bank's are."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cpc_rl.trajectories import Ints


class RolloutFeatures:
    """
    Listens to the extractor while the agent acts, and keeps what it gave out for each step of the newest rollout.

    Memory banks of features that are as old as the last visit: Wu, Xiong, Yu and Lin 2018, "Unsupervised Feature Learning via
    Non-Parametric Instance Discrimination", section 3.2.

    :param extractor: the features extractor that the policy acts with
    :param alive: says whether the ``learn()`` that this belongs to still runs
    """

    def __init__(self, extractor: nn.Module, alive: Callable[[], bool]) -> None:
        self.extractor, self.alive = extractor, alive
        self._handle: RemovableHandle | None = None
        self._last: Tensor | None = None
        self._steps: list[Tensor] = []
        self._all: Tensor | None = None  # (T, E, F)

    def begin(self) -> None:
        """A rollout begins."""
        self.end()
        self._all = None
        self._steps.clear()
        self._handle = self.extractor.register_forward_hook(self._keep)

    def note_step(self) -> None:
        """A step was made; the extractor's last pass was that of its observation."""
        if self._last is not None:
            self._steps.append(self._last)

    def end(self) -> None:
        """The rollout is over."""
        if self._handle is None:
            return
        self._handle.remove()
        self._handle = None
        self._all = torch.stack(self._steps) if self._steps else None
        self._steps.clear()

    def after(self, indices: Ints) -> Tensor | None:
        """
        The features of the frame after each of these transitions; what lies beyond the rollout means nothing.

        :param indices: ``(B,)``, as SB3's rollout buffers count them: environment after environment
        :return: ``(B, F)``, or ``None`` if the rollout was not seen as a whole
        """
        if self._all is None or self._all.shape[0] * self._all.shape[1] <= int(indices.max()):
            return None
        length = len(self._all)
        env, row = indices // length, indices % length
        rows, envs = (torch.as_tensor(i, device=self._all.device) for i in ((row + 1).clip(max=length - 1), env))
        return self._all[rows, envs]

    def _keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if not self.alive():
            self.end()
        elif not torch.is_grad_enabled():
            self._last = output.detach().flatten(1)
