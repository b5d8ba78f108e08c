"""The bound on the mutual information that an objective with negatives trains, with the constants that it keeps."""

import torch
from torch import Tensor, nn

from cpc_rl.estimators import ESTIMATORS, mine
from cpc_rl.scores import log_mean_exp, moved_log_mean

ESTIMATOR_NAMES = (*ESTIMATORS, "mine")
# Their best critic is the log density ratio itself, no constant left free. A cosine over a small temperature lies far from it:
# so a running constant is taken off the scores, as the baseline of Poole et al. 2019, section 2.2. A bound stays a bound.
NEED_SCALE = ("nwj", "jsd", "smile")


class TrainedBound(nn.Module):
    """
    One of :mod:`cpc_rl.estimators` with the running means that some of them need, one for each contrast of an objective:
    scores of one contrast may lie far from another's. Negatives that are chosen have another mean than all of the batch, so
    that what is reported over these has one of its own.

    :param name: of the estimator
    :param contrasts: how many contrasts the objective has
    :raises ValueError: if there is no such estimator
    """

    log_means: Tensor
    """Running logarithms of the mean of exp(score) over the negatives: what is trained in row 0, what is reported in row 1."""

    def __init__(self, name: str, contrasts: int = 1) -> None:
        super().__init__()
        if name not in ESTIMATOR_NAMES:
            raise ValueError(f"There is no estimator {name!r}; there are {', '.join(ESTIMATOR_NAMES)}.")
        self.name = name
        if name == "mine" or name in NEED_SCALE:
            self.register_buffer("log_means", torch.full((2, contrasts), -torch.inf))

    def forward(
        self, scores: Tensor, positives: Tensor, negatives: Tensor, which: int = 0, reported: bool = False, moves: bool = True
    ) -> Tensor:
        """
        :param scores: shape ``(N, K)``
        :param positives: shape ``(N, K)``, bool
        :param negatives: shape ``(N, K)``, bool
        :param which: of the objective's contrasts, from 0
        :param reported: these negatives are reported over, others are trained with
        :param moves: whether the running means follow this batch; an evaluation does not move them
        :return: the estimate, scalar, nats
        """
        place = int(reported), which
        if self.name == "mine":
            estimate, log_mean = mine(scores, self.log_means[place], positives, negatives)
            self._keep(place, log_mean, moves)
            return estimate
        if self.name in NEED_SCALE:
            running, batch = self.log_means[place], log_mean_exp(scores.detach(), negatives)
            log_mean = torch.where(negatives.any(), moved_log_mean(running, batch), running)
            self._keep(place, log_mean, moves)
            scores = scores - torch.where(torch.isneginf(log_mean), 0.0, log_mean) + (self.name == "nwj")
        return ESTIMATORS[self.name](scores, positives, negatives)

    def _keep(self, place: tuple[int, int], log_mean: Tensor, moves: bool) -> None:
        if moves:
            moved = self.log_means.clone()  # a new tensor: a backward pass may still need the one before
            # It begins at -inf; of scores that are no numbers it would never recover.
            kept = torch.isfinite(log_mean) | torch.isneginf(log_mean)
            moved[place] = torch.where(kept, log_mean.detach(), moved[place])
            self.log_means = moved
