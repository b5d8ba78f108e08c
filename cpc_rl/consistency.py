"""DrAC: policy and value kept consistent under augmentation, for on-policy algorithms (Raileanu et al. 2021)."""

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

import torch
from stable_baselines3.common.distributions import Distribution, kl_divergence
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from cpc_rl.accumulation import accumulates
from cpc_rl.compiled import UncompiledHolders
from cpc_rl.guard import Guard
from cpc_rl.head import has_gradient, own_randomness
from cpc_rl.image_extractor import ImageExtractor
from cpc_rl.weak_hooks import ModuleHook, weak_hook


class ConsistencyInjection:
    """
    Adds the gradient of ``weight * (KL(pi(.|s) || pi(.|f(s))) + (V(s) - V(f(s)))^2)`` to the algorithm's own, where ``f`` is
    the extractor's augmentation, ``s`` the algorithm's minibatch, and what is said of ``s`` itself is held fixed.

    Raileanu et al. 2021, "Automatic Data Augmentation for Generalization in Reinforcement Learning", equations 3 to 5.
    Augmenting the minibatch itself would change the probability ratio, and with it the objective, of PPO and A2C.

    :param policy: an actor-critic policy without recurrence
    :param guard: shared with the heads' hooks, so that no pass is mistaken for the algorithm's
    :param alive: says whether the ``learn()`` that this belongs to still runs
    :param weight: alpha_r of the paper
    """

    def __init__(self, policy: Any, guard: Guard, alive: Callable[[], bool], weight: float = 0.1) -> None:
        self.policy, self.guard, self.alive, self.weight = policy, guard, alive, weight
        self._handles: list[RemovableHandle] = []
        self._uncompiled = UncompiledHolders(policy, [_extractor(policy)], alive)
        self._minibatch: Tensor | None = None
        self._additions: dict[nn.Parameter, Tensor] | None = None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained at this moment: the user may freeze and thaw at any time."""
        return [p for p in self.policy.parameters() if p.requires_grad]

    def attach(self) -> None:
        """Put the hooks in place; once, however often it is called."""
        if self._handles:
            return
        self._uncompiled.attach()
        self._handles.append(_extractor(self.policy).register_forward_pre_hook(ModuleHook(self._keep), with_kwargs=True))
        on_gradient = weak_hook(self._on_gradient)
        self._handles += [p.register_hook(partial(on_gradient, p)) for p in self.parameters]
        self._handles.append(self.policy.optimizer.register_step_post_hook(self._after_step))

    def detach(self) -> None:
        """Take every hook away; harmless if there is none."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._uncompiled.detach()
        self._minibatch = self._additions = None

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        if not self.guard.busy and torch.is_grad_enabled():
            self._minibatch = next(iter((*inputs, *named.values())))

    def _on_gradient(self, parameter: nn.Parameter, gradient: Tensor) -> Tensor | None:
        if self.guard.busy or self._minibatch is None or has_gradient(parameter) or not accumulates(parameter):
            return None
        if not self.alive():
            self.detach()
            return None
        if self._additions is None:
            self._additions = self._gradient(self._minibatch)
        addition = self._additions.get(parameter)
        return None if addition is None else gradient + addition

    def _after_step(self, *_: Any) -> None:
        self._minibatch = self._additions = None

    def _gradient(self, minibatch: Tensor) -> dict[nn.Parameter, Tensor]:
        with self.guard, own_randomness(minibatch.device), torch.enable_grad():
            loss = self.weight * self.loss(minibatch)
            parameters = self.parameters
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        return {p: g for p, g in zip(parameters, gradients, strict=True) if g is not None}

    def loss(self, minibatch: Tensor) -> Tensor:
        """
        :param minibatch: preprocessed observations, shape ``(N, C, H, W)``, float
        :return: mean over the minibatch of divergence and squared difference, scalar
        """
        extractor = _extractor(self.policy)
        assert extractor.augmentation is not None
        with torch.no_grad():
            distribution, values = _heads(self.policy, minibatch)
        view = extractor.augmentation(minibatch, generator=extractor.augment_generator)
        distribution_of_view, values_of_view = _heads(self.policy, view)
        return _divergence(distribution, distribution_of_view).mean() + F.mse_loss(values_of_view, values)


def _extractor(policy: Any) -> ImageExtractor:
    assert isinstance(policy.features_extractor, ImageExtractor)
    return policy.features_extractor


def _heads(policy: Any, observations: Tensor) -> tuple[Distribution, Tensor]:
    """
    Action distribution and values ``(N, 1)`` of preprocessed observations.

    A policy has one distribution object, which each pass fills anew: what is given is a copy, so that two can be compared.
    """
    if policy.share_features_extractor:
        latent_pi, latent_vf = policy.mlp_extractor(policy.features_extractor(observations))
    else:
        latent_pi = policy.mlp_extractor.forward_actor(policy.pi_features_extractor(observations))
        latent_vf = policy.mlp_extractor.forward_critic(policy.vf_features_extractor(observations))
    return copy(policy._get_action_dist_from_latent(latent_pi)), policy.value_net(latent_vf)


def _divergence(distribution: Any, of_view: Any) -> Tensor:
    """
    Kullback-Leibler divergence of each sample's action distribution from its view's, in nats, shape ``(N,)``.

    sb3-contrib's maskable distributions of several actions are not known to SB3's function. Their masks are not looked at.
    """
    if hasattr(distribution, "distributions"):
        pairs = zip(distribution.distributions, of_view.distributions, strict=True)
        return torch.stack([torch.distributions.kl_divergence(mine, other) for mine, other in pairs]).sum(dim=0)
    divergence = kl_divergence(distribution, of_view)
    return divergence.reshape(len(divergence), -1).sum(dim=1)
