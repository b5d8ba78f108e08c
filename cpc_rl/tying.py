"""One encoder for actor and critic."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cpc_rl.attachment import Site, check_roles, choose_sites
from cpc_rl.weak_hooks import ModuleHook, ends_itself


class Tie:
    """
    One encoder for both: the actor reads the critic's, detached (SAC-AE, CURL and DrQ do so).

    While it holds, the actor's parameters share the critic's memory and take no gradient; the optimisers' parameter
    groups and the names in the state dict stay as they are, so that plain SB3 loads the model. When it ends the actor
    keeps a copy. One that an interrupted update leaves ends before the actor's first pass in the next ``learn()``, and before
    the actor is given other weights, which are its own.

    :param actor: the actor's features extractor
    :param critic: the critic's
    :param alive: says whether the ``learn()`` that this belongs to still runs
    :raises ValueError: if the two are not of the same structure
    """

    def __init__(self, actor: nn.Module, critic: nn.Module, alive: Callable[[], bool]) -> None:
        self.actor, self.critic, self.alive = actor, critic, alive
        self.pairs = list(zip(actor.parameters(), critic.parameters(), strict=False))
        if [p.shape for p in actor.parameters()] != [p.shape for p in critic.parameters()]:
            raise ValueError(
                "encoder='tied' needs the same features extractor for actor and critic, but their parameters differ."
            )
        self.buffers = list(zip(actor.buffers(), critic.buffers(), strict=True))
        self.held = False
        self.trained: list[bool] = []  # which of the actor's parameters are, while it does not hold
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        if not self.held:
            self.trained = [mine.requires_grad for mine, _ in self.pairs]
        for mine, theirs in self.pairs:
            mine.data = theirs.data
            mine.grad = None
            mine.requires_grad_(False)
        for statistics, of_critic in self.buffers:  # of batch normalisations
            statistics.data = of_critic.data
        self.held = True
        if not self._handles:
            self._handles = [
                ends_itself(self.actor, self.alive, self.detach),
                self.actor.register_load_state_dict_pre_hook(ModuleHook(self._note_loading)),
            ]

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._untie()

    def _untie(self) -> None:
        if not self.held:
            return
        for (mine, theirs), trained in zip(self.pairs, self.trained, strict=True):
            mine.requires_grad_(trained)
            _part(mine, theirs)
        for statistics, of_critic in self.buffers:
            _part(statistics, of_critic)
        self.held = False

    def _note_loading(self, actor: nn.Module, state_dict: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
        """Weights that the actor is given are its own, unless the critic is given the same with them."""
        given = prefix.replace("actor", "critic", 1)
        for name, present in self.critic.state_dict().items():
            mine = state_dict.get(prefix + name)
            theirs = present if given == prefix else state_dict.get(given + name, present)
            if mine is not None and not torch.equal(mine.to(theirs.device), theirs):
                self._untie()
                return


def _part(mine: Tensor, theirs: Tensor) -> None:
    """A copy in place of memory that is shared; what was given memory of its own meanwhile keeps it."""
    if mine.data_ptr() == theirs.data_ptr():
        mine.data = theirs.data.clone()


def tie_encoders(sites: list[Site], alive: Callable[[], bool]) -> Tie:
    """
    The tie between the encoders of an actor and a critic, not attached yet.

    :param sites: a model's extractors, as :func:`cpc_rl.attachment.find_sites` finds them
    :param alive: says whether the ``learn()`` that this belongs to still runs
    :raises ValueError: if they have not an optimiser and an extractor each, or extractors of different structure
    """
    choose_sites(sites, "tied")
    check_roles(sites)
    extractors = {site.role: site.extractor for site in sites}
    return Tie(extractors["actor"], extractors["critic"], alive)
