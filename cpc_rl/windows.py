"""What a temporal window is, how it is cut, and how its actions are written as vectors."""

from typing import Literal, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor


class Windows(NamedTuple):
    """
    A batch of ``B`` windows of ``L = horizon + 1`` consecutive frames ``o_t, a_t, r_t, o_{t+1}, ...``.

    A window never leaves its trajectory: from the first frame that would, ``mask`` is ``False`` and the last true frame is
    repeated, with actions and rewards of zero.
    """

    observations: Tensor | dict[str, Tensor]
    """``(B, L, *obs)`` in the dtype that the buffer stores (uint8 images stay uint8); a dict of such for Dict spaces. Each
    ``[:, i]`` is contiguous."""
    actions: Tensor
    """``(B, L - 1, A)`` float32: one-hot for discrete spaces, in [-1, 1] for Box. ``actions[:, i]`` leads to frame i + 1."""
    rewards: Tensor
    """``(B, L - 1)`` float32, as the buffer stores them. ``rewards[:, i]`` came with frame i + 1."""
    mask: Tensor
    """``(B, L)`` bool: frame i lies in the trajectory of frame 0. A prefix of ``True``, at least the first."""
    episode: Tensor
    """``(B,)`` int64: which trajectory. Equal exactly where two windows come from the same one."""
    step: Tensor
    """``(B,)`` int64: the place of frame 0 in its trajectory, counted from its beginning, or from the oldest frame that was
    ever seen of it."""


def shorten(windows: Windows, horizon: int) -> Windows:
    """
    The beginnings of longer windows: what a window with this horizon shows from the same start. Nothing is copied.

    :param horizon: Frames after the first to keep; ``L`` becomes ``horizon + 1``.
    :raises ValueError: if the windows hold fewer frames.
    """
    longest = windows.mask.shape[1] - 1
    if not 0 <= horizon <= longest:
        raise ValueError(f"Windows with {longest} frames after the first can be cut to 0 to {longest}, but not to {horizon}.")
    observations = windows.observations
    if isinstance(observations, dict):
        observations = {key: frames[:, : horizon + 1] for key, frames in observations.items()}
    else:
        observations = observations[:, : horizon + 1]
    return windows._replace(
        observations=observations,
        actions=windows.actions[:, :horizon],
        rewards=windows.rewards[:, :horizon],
        mask=windows.mask[:, : horizon + 1],
    )


class ActionLayout(NamedTuple):
    """What the ``A`` entries of an action in :class:`Windows` mean."""

    kind: Literal["categorical", "binary", "continuous"]
    """One-hot groups, independent bits, or real numbers."""
    sizes: tuple[int, ...]
    """Categorical: the sizes of the one-hot groups, in order. Otherwise ``(A,)``. They sum to ``A``."""


def action_layout(action_space: spaces.Space) -> ActionLayout:
    """
    What kind of vector an action in :class:`Windows` is.

    :param action_space: Discrete or MultiDiscrete (categorical), MultiBinary (binary) or Box (continuous).
    :raises ValueError: for another kind of space.
    """
    if isinstance(action_space, spaces.Discrete):
        return ActionLayout("categorical", (int(action_space.n),))
    if isinstance(action_space, spaces.MultiDiscrete):
        return ActionLayout("categorical", tuple(action_space.nvec.ravel().tolist()))
    if isinstance(action_space, spaces.MultiBinary | spaces.Box):
        kind: Literal["binary", "continuous"] = "binary" if isinstance(action_space, spaces.MultiBinary) else "continuous"
        return ActionLayout(kind, (int(np.prod(action_space.shape)),))
    raise ValueError(
        f"Actions of a {type(action_space).__name__} space cannot be written as one vector. "
        "The known spaces are Discrete, MultiDiscrete, MultiBinary and Box."
    )


def action_dim(action_space: spaces.Space) -> int:
    """
    The length ``A`` of an action in :class:`Windows`.

    :param action_space: Discrete, MultiDiscrete, MultiBinary or Box.
    :raises ValueError: for another kind of space.
    """
    return sum(action_layout(action_space).sizes)


def encode_actions(actions: NDArray, action_space: spaces.Space, scaled: bool = False) -> NDArray[np.float32]:
    """
    Write stored actions as vectors.

    :param actions: ``(..., D)``, as SB3's buffers store them (D = 1 for Discrete, indices counted from 0).
    :param action_space: The space that they come from.
    :param scaled: Box only: they already lie in [-1, 1] (replay buffers, squashed Gaussians). Otherwise they are clipped to
        the bounds, as the environment saw them, and scaled; a side without finite bounds stays as it is.
    :return: ``(..., A)`` float32.
    """
    kind, sizes = action_layout(action_space)
    if kind == "categorical":
        first_places = np.cumsum(sizes) - np.array(sizes)  # where each component's one-hot begins
        encoded = np.zeros((*actions.shape[:-1], sum(sizes)), dtype=np.float32)
        np.put_along_axis(encoded, actions.astype(np.int64) + first_places, 1.0, axis=-1)
        return encoded
    encoded = actions.astype(np.float32)
    if isinstance(action_space, spaces.Box) and not scaled:
        low = action_space.low.astype(np.float32).ravel()
        high = action_space.high.astype(np.float32).ravel()
        encoded = np.clip(encoded, low, high)
        bounded = np.isfinite(low) & np.isfinite(high) & (high > low)
        encoded[..., bounded] = 2.0 * (encoded[..., bounded] - low[bounded]) / (high - low)[bounded] - 1.0
    return encoded
