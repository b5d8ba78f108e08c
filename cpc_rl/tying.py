"""One encoder for actor and critic."""

from collections.abc import Callable

from torch import nn
from torch.utils.hooks import RemovableHandle

from cpc_rl.attachment import Site, choose_sites
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
        self.actor, self.alive = actor, alive
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
            loading = ModuleHook(lambda *given: self.detach())
            self._handles = [
                ends_itself(self.actor, self.alive, self.detach),
                self.actor.register_load_state_dict_pre_hook(loading),
            ]

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if not self.held:
            return
        for (mine, theirs), trained in zip(self.pairs, self.trained, strict=True):
            mine.data = theirs.data.clone()
            mine.requires_grad_(trained)
        for statistics, of_critic in self.buffers:
            statistics.data = of_critic.data.clone()
        self.held = False


def tie_encoders(sites: list[Site], alive: Callable[[], bool]) -> Tie:
    """
    The tie between the encoders of an actor and a critic, not attached yet.

    :param sites: a model's extractors, as :func:`cpc_rl.attachment.find_sites` finds them
    :param alive: says whether the ``learn()`` that this belongs to still runs
    :raises ValueError: if they have not an optimiser and an extractor each, or extractors of different structure
    """
    choose_sites(sites, "tied")
    extractors = {site.role: site.extractor for site in sites}
    return Tie(extractors["actor"], extractors["critic"], alive)
