"""Where windows may begin in recorded episodes, and how a batch of them is drawn."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Starts:
    """
    All valid starts, numbered: with a horizon of 1 or more every frame that another one follows, else every frame.

    :param lengths: ``(E,)`` frames of each episode
    :param horizon: frames after the first
    """

    def __init__(self, lengths: Ints, horizon: int) -> None:
        self.counts = np.maximum(lengths - min(horizon, 1), 0)  # (E,)
        self.ends = np.cumsum(self.counts)

    @property
    def total(self) -> int:
        """Number of valid starts."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def draw(self, count: int, per_trajectory: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """
        Draw distinct starts, uniformly from all valid ones.

        :param per_trajectory: if more than 1, starts come in groups of so many of one episode (all where it has fewer), side
            by side; a group's episode is that of a uniformly drawn start, and its starts are uniform in the episode
        :return: episodes and first frames, both ``(count,)``
        :raises ValueError: if there are fewer
        """
        if self.total < count:
            raise ValueError(
                f"The data has {self.total} windows, but a batch has {count}: record more, or make the batch smaller."
            )
        if per_trajectory == 1:
            return self.place(rng.choice(self.total, count, replace=False))
        wanted: dict[int, int] = {}
        for episode in self.place(rng.permutation(rng.choice(self.total, count, replace=False)))[0].tolist():
            missing = count - sum(wanted.values())
            if missing == 0:
                break
            had = wanted.get(episode, 0)
            wanted[episode] = had + min(per_trajectory, int(self.counts[episode]) - had, missing)
        episodes = np.repeat(list(wanted), list(wanted.values())).astype(np.int64)
        starts = [rng.choice(int(self.counts[e]), n, replace=False) for e, n in wanted.items()]
        return episodes, np.concatenate(starts).astype(np.int64)

    def place(self, numbers: Ints) -> tuple[Ints, Ints]:
        """Episodes and first frames of numbered starts."""
        episodes = np.searchsorted(self.ends, numbers, side="right")
        return episodes, numbers - (self.ends[episodes] - self.counts[episodes])
