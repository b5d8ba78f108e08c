"""Which transitions a buffer handed out for an algorithm's update, so that a head can use the features of that very batch."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cpc_rl.sampling import ReplayWindows, RolloutWindows, Windows
from cpc_rl.trajectories import Ints

LOOKED_AT = 16  # rows of a batch that are compared with what is stored
LOOKS = 100  # batches, at most


class Rows(NamedTuple):
    """The transitions of one minibatch, and where their features lie in what the extractor gave out."""

    indices: Ints
    """``(B,)`` slots of a replay buffer, or places in the newest rollout."""
    env: Ints | None
    """``(B,)`` environments, for a replay buffer."""
    places: torch.Tensor | None
    """``(B,)`` rows of the features, where the algorithm pads its batch (RecurrentPPO); ``None``: the first ``B`` in order."""
    n_padded: int
    """Rows of the features that the extractor gives for this batch."""
    next_is_one_step: bool
    """``next_observations`` of the batch are one step ahead (not so with n-step returns)."""
    observations: Any
    """As the algorithm got them, ``(n_padded, *obs)``."""
    next_observations: Any = None
    """Likewise, of a replay buffer."""


class WatchedSamples:
    """
    Stands for a buffer's ``_get_samples`` and tells of every call. Where an interruption leaves it behind, it takes itself
    away in the next ``learn()``, and a pickled buffer holds the plain method in its place.
    """

    def __init__(self, minibatches: "Minibatches") -> None:
        self.minibatches, self.original = minibatches, minibatches.buffer._get_samples

    def __call__(self, batch_inds: Ints, *args: Any, **kwargs: Any) -> Any:
        if not self.minibatches.alive():
            self.minibatches.detach()
            return self.original(batch_inds, *args, **kwargs)
        return self.minibatches.watch(self.original, batch_inds, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.minibatches.buffer, "_get_samples")


class Minibatches:
    """
    Watches a buffer's ``_get_samples`` while an algorithm trains: an attribute of the instance, which :meth:`detach` takes
    away.

    :param buffer: the model's rollout or replay buffer
    :param windows: the source of windows over the same buffer
    :param alive: says whether the ``learn()`` that this belongs to still runs
    """

    def __init__(self, buffer: Any, windows: RolloutWindows | ReplayWindows, alive: Callable[[], bool]) -> None:
        self.buffer, self.windows, self.alive = buffer, windows, alive
        self.latest: Rows | None = None
        self.works = callable(getattr(buffer, "_get_samples", None))
        self._checked = False
        self._one_step: bool | None = None  # what is handed out as next is one step ahead; None: not seen yet
        self._looks = 0

    def attach(self) -> None:
        """Begin to watch; harmless if it already does."""
        if self.works and not isinstance(vars(self.buffer).get("_get_samples"), WatchedSamples):
            self.buffer._get_samples = WatchedSamples(self)

    def detach(self) -> None:
        """Leave the buffer as it was."""
        if isinstance(vars(self.buffer).get("_get_samples"), WatchedSamples):
            del self.buffer._get_samples
        self.latest = None

    def draw(
        self,
        rows: Rows,
        horizon: int,
        device: torch.device,
        keys: tuple[str, ...] | None,
        count: int,
        only: Sequence[int] | None = None,
    ) -> Windows:
        """
        The windows that begin at the first ``count`` transitions of a minibatch.

        :param rows: the minibatch, as :attr:`latest` had it
        :param only: the frames whose observations are needed, see :func:`cpc_rl.gathering.gather_windows`
        """
        # A window of one frame needs no gathering: the algorithm has the observations.
        at_hand = only != () and horizon == 0 and isinstance(rows.observations, torch.Tensor)
        only = () if at_hand else only
        if isinstance(self.windows, RolloutWindows):
            windows = self.windows.at(rows.indices[:count], horizon, device, keys, only)
        else:
            assert rows.env is not None
            windows = self.windows.at(rows.indices[:count], rows.env[:count], horizon, device, keys, only)
        if not at_hand:
            return windows
        first = rows.observations[:count] if rows.places is None else rows.observations[rows.places[:count]]
        return windows._replace(observations=first.unsqueeze(1))

    def watch(self, original: Callable[..., Any], batch_inds: Ints, *args: Any, **kwargs: Any) -> Any:
        """Call the buffer's own method and note what it handed out."""
        replay = isinstance(self.windows, ReplayWindows)
        state = np.random.get_state() if replay and self.buffer.n_envs > 1 else None
        samples = original(batch_inds, *args, **kwargs)
        self.latest = self._rows(np.asarray(batch_inds), samples, state) if self.works else None
        return samples

    def _rows(self, batch_inds: Ints, samples: Any, state: Any) -> Rows | None:
        if isinstance(self.windows, RolloutWindows):
            mask = getattr(samples, "mask", None)
            if mask is None or not hasattr(samples, "lstm_states"):
                return Rows(batch_inds, None, None, len(batch_inds), True, samples.observations)
            return Rows(batch_inds, None, (mask > 0).flatten().nonzero().squeeze(1), mask.numel(), True, samples.observations)
        # SB3 draws the environments inside of _get_samples: the same draw again, from the state before, gives the same.
        env = np.zeros(len(batch_inds), dtype=np.int64)
        if state is not None:
            again = np.random.RandomState()
            again.set_state(state)
            env = again.randint(0, high=self.buffer.n_envs, size=(len(batch_inds),))
        if not self._checked:
            self._check(batch_inds, env, samples)
        if not self.works:
            return None
        one_step = getattr(self.buffer, "n_steps", 1) == 1 and self._looks_one_step_ahead(batch_inds, env, samples)
        return Rows(batch_inds, env, None, len(batch_inds), one_step, samples.observations, samples.next_observations)

    def _looks_one_step_ahead(self, batch_inds: Ints, env: Ints, samples: Any) -> bool:
        """
        Whether a batch's next observations are the frames that follow, as far as it shows: buffers with n-step returns of
        their own have no ``n_steps``. Looked at until a frame differs from the one that follows it.
        """
        if self._one_step is not None:
            return self._one_step
        assert isinstance(self.windows, ReplayWindows)
        windows = self.windows.at(batch_inds[:LOOKED_AT], env[:LOOKED_AT], 2)
        mask, told = windows.mask.numpy(), False
        there = mask[:, 1]
        for stored, first, following in _images(windows.observations, samples.observations, samples.next_observations):
            # Where it hands out other pictures than it holds, augmented ones, say, nothing is known of them.
            handed = np.stack([first, following], axis=1)
            if not np.array_equal(stored[there, :2].astype(np.float32), handed[there].astype(np.float32)):
                self._one_step = False
                return False
            further = (stored[:, 2] != stored[:, 1]).any(axis=(1, 2, 3)) & mask[:, 2]
            told = told or bool(further.any())
        self._looks += bool(mask[:, 2].any())  # where no episode is that long nothing can be told, nor needs to
        if told or self._looks == LOOKS:
            self._one_step = told  # which makes keys of its own where nothing ever moves
        return True

    def _check(self, batch_inds: Ints, env: Ints, samples: Any) -> None:
        """Once, whether the transitions are those that we think: another kind of buffer may draw in another way."""
        self._checked = True
        stored = torch.from_numpy(np.asarray(self.buffer.actions[batch_inds, env])).float()
        self.works = torch.equal(samples.actions.cpu().float().view_as(stored), stored)
        if not self.works:
            warnings.warn(
                f"{type(self.buffer).__name__} does not tell which transitions it samples, so a head makes forward passes of "
                "its own, and no pass of the agent's is spared. For a head share_passes=False makes this the rule.",
                stacklevel=2,
            )


def _images(*observations: Any) -> Iterator[tuple[NDArray, ...]]:
    """The first image entries of each: ``(B, 3, C, H, W)`` of windows, and ``(B, C, H, W)``."""
    for key in observations[0] if isinstance(observations[0], Mapping) else (None,):
        entries = tuple((each if key is None else each[key])[:LOOKED_AT].cpu().numpy() for each in observations)
        if entries[1].ndim == 4:
            yield entries
