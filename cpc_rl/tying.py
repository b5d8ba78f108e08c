"""One encoder for actor and critic."""

from torch import nn

from cpc_rl.attachment import Site, choose_sites


class Tie:
    """
    One encoder for both: the actor reads the critic's, detached (SAC-AE, CURL and DrQ do so).

    While it holds, the actor's parameters share the critic's memory and take no gradient; the optimisers' parameter
    groups and the names in the state dict stay as they are, so that plain SB3 loads the model. When it ends the actor
    keeps a copy.

    :param actor: the actor's features extractor
    :param critic: the critic's
    :raises ValueError: if the two are not of the same structure
    """

    def __init__(self, actor: nn.Module, critic: nn.Module) -> None:
        self.pairs = list(zip(actor.parameters(), critic.parameters(), strict=False))
        if [p.shape for p in actor.parameters()] != [p.shape for p in critic.parameters()]:
            raise ValueError(
                "encoder='tied' needs the same features extractor for actor and critic, but their parameters differ."
            )
        self.buffers = list(zip(actor.buffers(), critic.buffers(), strict=True))
        self.held = False

    def attach(self) -> None:
        for mine, theirs in self.pairs:
            mine.data = theirs.data
            mine.grad = None
            mine.requires_grad_(False)
        for statistics, of_critic in self.buffers:  # of batch normalisations
            statistics.data = of_critic.data
        self.held = True

    def detach(self) -> None:
        if not self.held:
            return
        for mine, theirs in self.pairs:
            mine.data = theirs.data.clone()
            mine.requires_grad_(True)
        for statistics, of_critic in self.buffers:
            statistics.data = of_critic.data.clone()
        self.held = False


def tie_encoders(sites: list[Site]) -> Tie:
    """
    The tie between the encoders of an actor and a critic, not attached yet.

    :param sites: a model's extractors, as :func:`cpc_rl.attachment.find_sites` finds them
    :raises ValueError: if they have not an optimiser and an extractor each, or extractors of different structure
    """
    choose_sites(sites, "tied")
    extractors = {site.role: site.extractor for site in sites}
    return Tie(extractors["actor"], extractors["critic"])
