"""What the objectives with negatives have in common: scores, negatives, the bound that is trained, and its figures."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cpc_rl.encoder import Encoder
from cpc_rl.key_queue import KeyQueue
from cpc_rl.losses import Contrast, contrast_metrics, info_nce, masked_mean
from cpc_rl.negatives import Negatives, Origin, joint_fingerprints, make_negatives
from cpc_rl.nets import at_length
from cpc_rl.objectives.base import Objective
from cpc_rl.objectives.bound import TrainedBound
from cpc_rl.sampling import Windows


class Part(NamedTuple):
    """One contrast of an objective, which may have several."""

    loss: Tensor
    """Scalar, nats."""
    contrast: Contrast
    """Row for row, over all of the batch that is like the positives, whatever the negatives: accuracy and bound compare."""
    rows: Tensor
    """``(N,)`` bool: which anchors count."""
    estimate: Tensor
    """Scalar, nats: what the chosen estimator says of the same."""


class ContrastiveObjective(Objective):
    """
    An objective with negatives. A subclass maps anchors and keys to vectors whose inner product is the score.

    :param horizon: frames after ``t`` that a window must hold
    :param temperature: divides the scores
    :param negatives: a name from :data:`cpc_rl.negatives.NEGATIVES`, :class:`cpc_rl.Negatives`, or its keywords
    :param estimator: the bound that is maximised: ``"infonce"``, or another of :mod:`cpc_rl.estimators`
    :param queue_dim: length of a key, where the objective has one kind of keys and so may have a queue of them
    :param feature_length: what :meth:`read` brings features to; ``None`` leaves them as they are
    :param contrasts: how many contrasts the objective makes of a batch, each of which is then told apart by ``which``
    :raises ValueError: if one makes no sense
    """

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int,
        *,
        horizon: int = 0,
        temperature: float = 1.0,
        negatives: str | Mapping[str, Any] | Negatives = "batch",
        estimator: str = "infonce",
        augment: Any = "random_shift",
        shuffled: bool = False,
        queue_dim: int | None = None,
        feature_length: float | None = None,
        contrasts: int = 1,
    ) -> None:
        super().__init__(encoder, action_dim, horizon=horizon, augment=augment, shuffled=shuffled)
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature}, but scores are divided by it: it must be above 0.")
        if feature_length is not None and not feature_length > 0:
            raise ValueError(
                f"feature_length is {feature_length}, but it is the length that features are brought to: above 0, or None."
            )
        self.temperature, self.feature_length = temperature, feature_length
        self.bound = TrainedBound(estimator, contrasts)
        self.keeps_length = feature_length is not None
        self.negatives = make_negatives(negatives)
        assert self.negatives.per_trajectory is not None
        self.per_trajectory = self.negatives.per_trajectory
        self.queue: KeyQueue | None = None
        if self.negatives.source == "queue":
            if queue_dim is None:
                raise ValueError(
                    f"{type(self).__name__} contrasts several kinds of keys, so that it has no queue: choose other negatives."
                )
            self.queue = KeyQueue(self.negatives.queue_size, queue_dim)
        self._fresh: tuple[Tensor, Origin] | None = None

    @property
    def estimator(self) -> str:
        """The name of the bound that is maximised."""
        return self.bound.name

    def read(self, features: Tensor) -> Tensor:
        """Features ``(..., F)`` as the head reads them: see :func:`cpc_rl.nets.at_length`."""
        return at_length(features, self.feature_length)

    def origin(self, windows: Windows, first: int = 0, last: int | None = None, entry: str | None = None) -> Origin:
        """
        Where the frames ``first .. last - 1`` of every window come from, in the order of :func:`flatten_time`.

        :param last: all from ``first`` on if ``None``
        :param entry: the one image of a Dict that the keys show; all if ``None``
        """
        mask = windows.mask[:, first:last]  # (B, n)
        offsets = torch.arange(first, first + mask.shape[1], device=mask.device)
        steps = (windows.step.to(mask.device)[:, None] + offsets).flatten()
        episodes = windows.episode.to(mask.device)[:, None].expand_as(mask).flatten()
        prints = torch.zeros_like(steps)
        if self.negatives.mask_duplicates:
            observations = windows.observations
            if isinstance(observations, Mapping):
                images = list(observations.values()) if entry is None else [observations[entry]]
            else:
                images = [observations]
            prints = joint_fingerprints(image[:, first:last].flatten(0, 1) for image in images)
        return Origin(episodes, steps, mask.flatten(), prints)

    def contrast(
        self,
        anchors: Tensor,
        keys: Tensor,
        anchors_at: Origin,
        keys_at: Origin,
        targets: Tensor,
        exclude: Tensor | None = None,
        reported: Tensor | None = None,
        which: int = 0,
    ) -> Part:
        """
        Contrast anchors with keys by their inner products.

        :param anchors: shape ``(N, D)``
        :param keys: shape ``(K, D)``; also kept for the queue, where there is one
        :param anchors_at: of the anchors
        :param keys_at: of the keys
        :param targets: the column of each anchor's right positive, shape ``(N,)``, int64; exchanged where ``shuffled`` says so
        :param exclude: keys that are never candidates (an anchor itself), shape ``(N, K)``, bool
        :param reported: keys that accuracy and bound are over, shape ``(K,)``, bool; all if ``None``
        :param which: of the objective's ``contrasts`` this is, from 0: an estimator that keeps a constant keeps one for each
        """
        scores = anchors @ keys.T
        if self.queue is not None:
            if torch.is_grad_enabled():  # an evaluation puts nothing into the queue
                self._fresh = keys.detach(), keys_at
            scores = torch.cat([scores, anchors @ self.queue.keys.T.to(anchors.dtype)], dim=1)
            keys_at = Origin(*(torch.cat(pair) for pair in zip(keys_at, self.queue.origin, strict=True)))
        return self.contrast_scores(scores, anchors_at, keys_at, targets, exclude, reported, which)

    def contrast_scores(
        self,
        scores: Tensor,
        anchors_at: Origin,
        keys_at: Origin,
        targets: Tensor,
        exclude: Tensor | None = None,
        reported: Tensor | None = None,
        which: int = 0,
    ) -> Part:
        """
        As :meth:`contrast`, of scores ``(N, K)`` before the temperature.

        With ``exclude`` or ``reported`` narrower than the scores, their columns are the first ones.
        """
        scores = scores / self.temperature
        counting = anchors_at.valid & keys_at.valid[targets]  # the right positive exists
        # Where negatives are of the anchor's own trajectory, a wrong positive of another one could be told by that alone.
        # Where they are of others, one of its own could be.
        own, others = (
            anchors_at.episode if self.negatives.source == s else None for s in ("same_trajectory", "other_trajectories")
        )
        targets = self.positives(targets, counting, own, others)
        positives = torch.zeros_like(scores, dtype=torch.bool).scatter(1, targets[:, None], True)
        candidates = keys_at.valid & ~positives  # (N, K)
        if exclude is not None:
            candidates[:, : exclude.shape[1]] &= ~exclude
        negatives = candidates
        if not self.negatives.unrestricted:
            in_batch = torch.arange(scores.shape[1], device=scores.device) < scores.shape[1] - self._queued
            negatives = candidates & self.negatives.allowed(anchors_at, keys_at, targets)
            negatives = negatives & ~in_batch if self.queue is not None else negatives  # MoCo: those of the queue alone
            negatives = self.negatives.mined(scores, targets, negatives)
            candidates = candidates & in_batch
        if reported is not None:
            candidates = candidates.clone()
            candidates[:, : len(reported)] &= reported
        rows = counting & negatives.any(dim=1)
        moves = torch.is_grad_enabled()  # an evaluation moves no running mean
        loss, contrast, estimate = self._loss(scores, targets, positives, negatives, rows, which=which, moves=moves)
        if not self.negatives.unrestricted or reported is not None:
            # Chosen negatives make another task, and queued keys differ from fresh ones by the age of their encoder: a head
            # that notices it scores without knowing anything. Reported is what the batch's keys of the positives' kind say.
            rows = counting & candidates.any(dim=1)
            with torch.no_grad():
                _, contrast, estimate = self._loss(
                    scores, targets, positives, candidates, rows, which=which, reported=True, moves=moves
                )
        detached = Contrast(contrast.loss.detach(), contrast.correct, contrast.ceiling)
        return Part(loss, detached, rows, estimate.detach())

    @property
    def _queued(self) -> int:
        return 0 if self.queue is None else len(self.queue.keys)

    def _loss(
        self, scores: Tensor, targets: Tensor, positives: Tensor, negatives: Tensor, rows: Tensor, **bound: Any
    ) -> tuple[Tensor, Contrast, Tensor]:
        """Loss, InfoNCE row for row, and the estimate of mutual information that the estimator gives."""
        contrast = info_nce(scores, targets, negatives | positives)
        loss = masked_mean(contrast.loss, rows)
        if self.estimator == "infonce":
            return loss, contrast, masked_mean(contrast.ceiling, rows) - loss
        estimate = self.bound(scores, positives & rows[:, None], negatives & rows[:, None], **bound)
        return -estimate, contrast, estimate

    def result(self, parts: Sequence[Part]) -> tuple[Tensor, dict[str, Tensor]]:
        """
        :return: the mean of the parts' losses, and the metrics over all of them: ``loss``, ``accuracy``, ``mi_lower_bound``
            and ``mi_ceiling`` (InfoNCE over all candidates), and ``mi_<estimator>`` where another one is trained
        """
        loss = torch.stack([part.loss for part in parts]).mean()
        rows = torch.cat([part.rows for part in parts])
        metrics = contrast_metrics(
            Contrast(*(torch.cat(column) for column in zip(*(part.contrast for part in parts), strict=True))), rows
        )
        metrics["loss"] = loss.detach()
        if self.estimator != "infonce":
            metrics[f"mi_{self.estimator}"] = torch.stack([part.estimate for part in parts]).mean()
        return loss, metrics

    def after_step(self, encoder: Encoder) -> None:
        """Momentum copies of a subclass first (it calls this one); the keys of the last batch then enter the queue."""
        if self.queue is not None and self._fresh is not None:
            self.queue.enqueue(*self._fresh)
        self._fresh = None
