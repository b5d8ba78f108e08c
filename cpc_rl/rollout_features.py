"""Features that the collection of a rollout computed, kept as keys: one rollout old, as a memory bank's are."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cpc_rl.same_pixels import all_equal
from cpc_rl.trajectories import Ints
from cpc_rl.weak_hooks import ModuleHook

MOST = 64  # passes kept between two steps


class RolloutFeatures:
    """
    Listens to the extractor while the agent acts, and keeps what it gave out for each step of the newest rollout.

    Others may ask the policy for actions between two steps, as an ``EvalCallback`` does, or for values, to log them. Of all
    passes only the agent's own counts: that in which it also asks for the values of the observations that it acts in.

    Memory banks of features that are as old as the last visit: Wu, Xiong, Yu and Lin 2018, "Unsupervised Feature Learning via
    Non-Parametric Instance Discrimination", section 3.2.

    :param extractor: the features extractor that the policy acts with
    :param value_net: what it makes the values with, later in the same pass; ``predict`` does without
    :param observations: gives those that the agent acts in, raw, ``(E, *obs)``, until callbacks have been told of the step
    :param alive: says whether the ``learn()`` that this belongs to still runs
    """

    def __init__(
        self, extractor: nn.Module, value_net: nn.Module, observations: Callable[[], Any], alive: Callable[[], bool]
    ) -> None:
        self.extractor, self.value_net, self.observations, self.alive = extractor, value_net, observations, alive
        self._handles: list[RemovableHandle] = []
        self._newest: tuple[Tensor, Tensor] | None = None  # input and output of the newest pass, whosever it was
        self._passes: list[tuple[Tensor, Tensor]] = []  # of those with values since the last step
        self._steps: list[Tensor | None] = []
        self._all: Tensor | None = None  # (T, E, F)

    def begin(self) -> None:
        """A rollout begins."""
        self.end()
        self._all = None
        self._steps.clear()
        self._handles.append(self.extractor.register_forward_hook(ModuleHook(self._keep)))
        self._handles.append(self.value_net.register_forward_hook(ModuleHook(self._promote)))

    def note_step(self) -> None:
        """A step was made; one of the passes since the last step was the agent's."""
        passes, self._passes = self._passes, []
        if len(passes) > 1:
            acted_in = torch.as_tensor(self.observations(), device=passes[0][1].device)
            own = torch.stack([all_equal(given, acted_in) for given, _ in passes]).tolist()
            passes = [each for each, its in zip(passes, own, strict=True) if its]
        self._steps.append(passes[-1][1] if passes else None)

    def end(self) -> None:
        """The rollout is over."""
        if not self._handles:
            return
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._newest = None
        self._passes.clear()
        seen = [step for step in self._steps if step is not None]
        self._all = torch.stack(seen) if seen and len(seen) == len(self._steps) else None
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
        elif not torch.is_grad_enabled() and inputs:
            self._newest = inputs[0], output.detach().flatten(1)

    def _promote(self, *_: Any) -> None:
        if self._newest is not None and len(self._newest[1]) == len(self.observations()) and not torch.is_grad_enabled():
            self._passes = [*self._passes[1 - MOST :], self._newest]
        self._newest = None
