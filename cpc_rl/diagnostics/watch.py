"""Says in words when a representation goes wrong, and keeps what is needed to see that it moves."""

import math
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from cpc_rl.diagnostics.representation import dormant_units, effective_rank, feature_norm, linear_cka, uniformity
from cpc_rl.encoder import Encoder, Observations, probing

COLLAPSED_RANK = 1.5  # untrained NatureCNNs on the pixel control set and CarRacing have 2 and more, of 128 frames
COLLAPSED_FLUSHES = 3  # in a row, before it is said
CHANCE = 1.5  # times 1/K counts as chance
CHANCE_FLUSHES = 20  # in a row, before it is said: 2,000 head steps


class Watch:
    """
    The figures of one encoder over a training, and the warnings that they give rise to. Each warning comes once.

    :param name: of what is watched, for the warnings
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._batch: Observations | None = None
        self._first: Tensor | None = None
        self._collapsed, self._at_chance = 0, 0

    @torch.no_grad()
    def figures(self, encoder: Encoder, anchors: Observations, features: Tensor) -> dict[str, float]:
        """
        ``effective_rank``, ``uniformity``, ``dormant_units``, ``feature_norm``, and ``cka_to_first``: the similarity of the
        features of the first call's frames, now and then.

        :param encoder: what is watched
        :param anchors: raw frames; those of the first call are kept
        :param features: of the frames of this call, augmented or not, shape ``(N, F)``
        """
        if self._batch is None:
            self._batch = {k: v.clone() for k, v in anchors.items()} if isinstance(anchors, Mapping) else anchors.clone()
        with probing(encoder):  # a batch normalisation must not learn from looking
            now = encoder(self._batch)
        if self._first is None:
            self._first = now.clone()
        rank = float(effective_rank(features))
        self._note_rank(rank)
        return {
            "effective_rank": rank,
            "uniformity": float(uniformity(features)),
            "dormant_units": float(dormant_units(features)),
            "feature_norm": float(feature_norm(features)),
            "cka_to_first": float(linear_cka(self._first, now)),
        }

    def _note_rank(self, rank: float) -> None:
        self._collapsed = self._collapsed + 1 if rank < COLLAPSED_RANK else 0
        if self._collapsed == COLLAPSED_FLUSHES:
            warnings.warn(
                f"{self.name}: the representation has collapsed. The effective rank of its features was below "
                f"{COLLAPSED_RANK} {COLLAPSED_FLUSHES} times in a row (now {rank:.2f}): observations look nearly the same. "
                "A lower coef or learning rate, or an objective with negatives, may help.",
                stacklevel=2,
            )

    def note_accuracy(self, accuracy: float, ceiling: float) -> None:
        """
        :param accuracy: share of anchors that found their positive, since the last call
        :param ceiling: logarithm of the number of candidates, nats
        """
        chance = math.exp(-ceiling)
        self._at_chance = self._at_chance + 1 if accuracy <= CHANCE * chance else 0
        if self._at_chance == CHANCE_FLUSHES:
            warnings.warn(
                f"{self.name}: the accuracy ({accuracy:.4f}) has been that of guessing among {1 / chance:.0f} candidates for "
                f"{CHANCE_FLUSHES} entries of the log. The head has learnt nothing: the positives may not be predictable from "
                "the anchors, or the learning rate may be too low or too high.",
                stacklevel=2,
            )
