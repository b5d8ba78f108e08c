"""Which frames a probe learns from and which it is judged by, and which variables are worth asking for."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Split(NamedTuple):
    """Three masks of shape ``(N,)``, bool."""

    train: NDArray[np.bool_]
    validation: NDArray[np.bool_]
    test: NDArray[np.bool_]


def split_episodes(
    episodes: NDArray, *, shares: tuple[float, float] = (0.7, 0.1), min_length: int = 0, seed: int = 0
) -> Split:
    """
    Whole episodes for training, validation and test, so that no test frame has a neighbour in training.

    Anand et al. 2019 take 70%, 10% and 20% and leave out episodes of 64 frames and less.

    :param episodes: which episode each frame is of, shape ``(N,)``, int
    :param shares: of the episodes, for training and validation; the rest is for the test, each gets at least one
    :param min_length: only episodes with more frames than this take part
    :param seed: of their order
    :raises ValueError: if fewer than three episodes are left
    """
    numbers, lengths = np.unique(episodes, return_counts=True)
    numbers = numbers[lengths > min_length]
    if len(numbers) < 3:
        raise ValueError(
            f"A probe needs at least 3 episodes (training, validation, test) of more than {min_length} frames, but the data "
            f"has {len(numbers)}: record more frames."
        )
    numbers = np.random.default_rng(seed).permutation(numbers)
    first = int(np.clip(int(shares[0] * len(numbers) + 1e-9), 1, len(numbers) - 2))
    second = int(np.clip(int(sum(shares) * len(numbers) + 1e-9), first + 1, len(numbers) - 1))
    parts = numbers[:first], numbers[first:second], numbers[second:]
    return Split(*(np.isin(episodes, part) for part in parts))


def without_duplicates(split: Split, fingerprints: NDArray) -> Split:
    """
    Leave out test frames that training or validation holds too, pixel for pixel (Anand et al. 2019 do).

    :param fingerprints: equal where two frames are, shape ``(N,)``, such as of :func:`cpc_rl.negatives.fingerprints`
    """
    known = np.isin(fingerprints, fingerprints[split.train | split.validation])
    return split._replace(test=split.test & ~known)


def label_entropy(labels: NDArray) -> float:
    """
    Entropy of how often each value occurs, in nats.

    :param labels: shape ``(N,)``
    """
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(shares * np.log(shares)).sum())
