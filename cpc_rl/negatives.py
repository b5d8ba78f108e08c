"""Which keys an anchor is told apart from: whole batch, queue, one trajectory or the others, and the hardest of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

Source = Literal["batch", "queue", "same_trajectory", "other_trajectories"]


class Origin(NamedTuple):
    """Where the frames behind ``N`` anchors or keys come from."""

    episode: Tensor
    """``(N,)`` int64, which trajectory."""
    step: Tensor
    """``(N,)`` int64, the place in it."""
    valid: Tensor
    """``(N,)`` bool: the frame lies within its trajectory. One beyond its end is neither a positive nor a negative."""
    fingerprint: Tensor
    """``(N,)`` int64, equal for equal observations; zeros where nobody asked for it."""


@dataclass(frozen=True)
class Negatives:
    """
    The negatives of a contrastive loss.

    Wherever not simply all other keys of the batch count, the positive's own frame is never one, though a queue or another
    window may hold it once more.

    :param source: ``"batch"``: all other keys of the batch. ``"queue"``: the keys of earlier batches alone (He et al. 2020).
        ``"same_trajectory"``: only keys of the anchor's own trajectory, which hides what is constant in it (background,
        level) from the loss. ``"other_trajectories"``: only keys of others
    :param mining: ``"hard"`` keeps the negatives of highest score alone, ``"semi_hard"`` the highest among those that score
        below the positive (Schroff et al. 2015, "FaceNet", section 3.2); ``None`` keeps all
    :param share: of the negatives that mining keeps, above 0 and up to 1
    :param exclude_near: keys of the positive's trajectory at most this many steps from it are no negatives; 0: its own frame
    :param mask_duplicates: keys whose observation equals the positive's, pixel for pixel, are no negatives
    :param queue_size: number of keys that the queue holds
    :param per_trajectory: windows that a batch holds of each trajectory it draws, so that ``"same_trajectory"`` finds some: 8
        for it, else 1, if ``None``
    :raises ValueError: if one makes no sense
    """

    source: Source = "batch"
    mining: Literal["hard", "semi_hard"] | None = None
    share: float = 0.25
    exclude_near: int = 0
    mask_duplicates: bool = False
    queue_size: int = 4096
    per_trajectory: int | None = None

    def __post_init__(self) -> None:
        sources = ("batch", "queue", "same_trajectory", "other_trajectories")
        if self.source not in sources:
            raise ValueError(f"The source of negatives is {self.source!r}, but it is one of {', '.join(sources)}.")
        if self.mining not in (None, "hard", "semi_hard"):
            raise ValueError(f"mining is {self.mining!r}, but it is 'hard', 'semi_hard' or None.")
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}, but mining keeps a share above 0 and at most 1.")
        if self.per_trajectory is None:
            object.__setattr__(self, "per_trajectory", 8 if self.source == "same_trajectory" else 1)
        assert self.per_trajectory is not None
        if self.exclude_near < 0 or self.queue_size < 1 or self.per_trajectory < 1:
            raise ValueError(
                f"exclude_near is {self.exclude_near}, queue_size is {self.queue_size} and per_trajectory is "
                f"{self.per_trajectory}, but they must be at least 0, 1 and 1."
            )

    @property
    def unrestricted(self) -> bool:
        """Whether all valid keys of the batch count, so that the loss itself gives the bound."""
        return self.source == "batch" and self.mining is None and self.exclude_near == 0 and not self.mask_duplicates

    def allowed(self, anchors: Origin, keys: Origin, targets: Tensor) -> Tensor:
        """
        Which keys may be negatives of which anchors; whether a key is valid, or the positive, is not looked at.

        :param anchors: of ``N`` anchors
        :param keys: of ``K`` keys
        :param targets: the key that is each anchor's positive, shape ``(N,)``, int64
        :return: shape ``(N, K)``, bool
        """
        allowed = torch.ones(len(targets), len(keys.episode), dtype=torch.bool, device=targets.device)
        same = anchors.episode[:, None] == keys.episode
        if self.source == "same_trajectory":
            allowed = allowed & same
        if self.source == "other_trajectories":
            allowed = allowed & ~same
        distance = (keys.step - keys.step[targets][:, None]).abs()
        near = (keys.episode == keys.episode[targets][:, None]) & (distance <= self.exclude_near)
        allowed = allowed & ~near
        if self.mask_duplicates:
            allowed = allowed & (keys.fingerprint != keys.fingerprint[targets][:, None])
        return allowed

    def mined(self, scores: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
        """
        The negatives that mining keeps, by the scores as they are now (without gradient).

        :param scores: shape ``(N, K)``
        :param targets: column of each positive, shape ``(N,)``, int64
        :param negatives: which may be kept, shape ``(N, K)``, bool
        :return: a part of ``negatives``; of a row with any, at least one
        """
        if self.mining is None:
            return negatives
        scores = scores.detach()
        eligible = negatives
        if self.mining == "semi_hard":
            below = negatives & (scores < scores.gather(1, targets[:, None]))
            # Where every negative scores above the positive, the lowest of them is the nearest to a semi-hard one.
            lowest = scores.masked_fill(~negatives, torch.inf).argmin(dim=1, keepdim=True)
            fallback = torch.zeros_like(negatives).scatter(1, lowest, True) & negatives
            eligible = torch.where(below.any(dim=1, keepdim=True), below, fallback)
        kept = (eligible.sum(dim=1, keepdim=True) * self.share).ceil()
        order = scores.masked_fill(~eligible, -torch.inf).argsort(dim=1, descending=True, stable=True)
        place = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
        rank = torch.empty_like(order).scatter(1, order, place)
        return eligible & (rank < kept)


NEGATIVES: dict[str, Negatives] = {
    "batch": Negatives(),
    "queue": Negatives("queue"),
    "same_trajectory": Negatives("same_trajectory"),
    "other_trajectories": Negatives("other_trajectories"),
    "hard": Negatives(mining="hard"),
    "semi_hard": Negatives(mining="semi_hard"),
}


def make_negatives(value: str | Mapping[str, Any] | Negatives) -> Negatives:
    """
    :param value: a name from :data:`NEGATIVES`, :class:`Negatives`, or its keywords as a mapping
    :raises ValueError: if it is none of these
    """
    if isinstance(value, Negatives):
        return value
    if isinstance(value, Mapping):
        try:
            return Negatives(**value)
        except TypeError as error:
            known = ", ".join(Negatives.__dataclass_fields__)
            raise ValueError(f"negatives is {dict(value)!r}, but its keywords are {known}.") from error
    if value not in NEGATIVES:
        raise ValueError(f"negatives is {value!r}, but it takes {', '.join(NEGATIVES)}, or the keywords of cpc_rl.Negatives.")
    return NEGATIVES[value]


def fingerprints(images: Tensor) -> Tensor:
    """
    A number for each image: equal for equal images, different for different ones but for one chance in 2^64 or so.

    :param images: shape ``(N, ...)``, uint8 or floating point
    :return: shape ``(N,)``, int64
    """
    flat = images.flatten(1).contiguous()
    flat = flat if flat.dtype in (torch.uint8, torch.float32) else flat.float()
    raw = flat.view(torch.uint8)
    raw = torch.nn.functional.pad(raw, (0, -raw.shape[1] % 8)).view(torch.int64)  # (N, ceil(bytes / 8))
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**63), 2**63 - 1, (raw.shape[1],), generator=generator, device="cpu").to(raw.device) | 1
    # Bits are mixed after the product: a sum of products alone would keep the low bits of every word apart.
    product = raw * factors
    return ((product ^ (product >> 29)) * factors.flip(0)).sum(dim=1)


def joint_fingerprints(images: Iterable[Tensor]) -> Tensor:
    """
    One number for each of ``N`` observations of several images: equal where all images are, and each is in its place.

    :param images: the entries, always in the same order, each of shape ``(N, ...)``, uint8 or floating point
    :return: shape ``(N,)``, int64; that of :func:`fingerprints` where there is one entry
    """
    return torch.stack([fingerprints(entry) * (2 * n + 1) for n, entry in enumerate(images)]).sum(dim=0)
