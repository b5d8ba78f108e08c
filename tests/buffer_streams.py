"""Transitions of stacked frames with everything that a buffer may meet, for tests that compare two buffers."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

CHANNELS, SIDES = 2, (3, 2)
EVENTS = ("reset", "interrupt", "garble")


def space(n_stack: int, as_dict: bool = False, dtype: Any = np.uint8) -> spaces.Space:
    image = spaces.Box(0, 255, (n_stack * CHANNELS, *SIDES), dtype)
    if not as_dict:
        return image
    vector = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    single = spaces.Box(0, 255, (1, *SIDES), np.uint8)
    return spaces.Dict({"camera": image, "vector": vector, "room": spaces.Discrete(7), "map": single})


class Stream:
    """
    Environments as a VecFrameStack shows them. Frames of zeros and frames like the one before come up often, so that stacks
    look alike where they are not.

    :param repeat: After a reset the first frame fills the stack, else zeros do.
    :param end: Chance that a step ends an episode; half of the ends are timeouts.
    """

    def __init__(self, n_envs: int, n_stack: int, repeat: bool, end: float, seed: int, as_dict: bool = False):
        self.n_envs, self.n_stack, self.repeat, self.end, self.as_dict = n_envs, n_stack, repeat, end, as_dict
        self.rng = np.random.default_rng(seed)
        self.stacks = np.zeros((n_envs, n_stack, CHANNELS, *SIDES), dtype=np.uint8)
        self.reset()

    def _frames(self) -> NDArray[np.uint8]:
        frames = self.rng.integers(0, 256, (self.n_envs, CHANNELS, *SIDES), dtype=np.uint8)
        kind = self.rng.random(self.n_envs)
        frames[kind < 0.1] = 0
        frames[kind > 0.85] = self.stacks[kind > 0.85, -1]
        return frames

    def _begin(self, envs: NDArray[np.bool_]) -> None:
        frames = self._frames()
        self.stacks[envs] = frames[envs, None] if self.repeat else 0
        self.stacks[envs, -1] = frames[envs]

    def reset(self) -> None:
        """Without an end of the episodes."""
        self._begin(np.ones(self.n_envs, dtype=bool))
        self.shown = self.stacks.copy()

    def interrupt(self) -> None:
        """A step that is not stored: what SB3 shows next is a step old."""
        self.stacks = np.concatenate((self.stacks[:, 1:], self._frames()[:, None]), axis=1)

    def garble(self) -> None:
        """Stacks of which no frame need be known."""
        self.stacks = self.rng.integers(0, 3, self.stacks.shape, dtype=np.uint8)
        self.shown = self.stacks.copy()

    def _observe(self, stacks: NDArray) -> Any:
        images = stacks.reshape(self.n_envs, -1, *SIDES)
        # Transposed from channels last, as VecTransposeImage gives them
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        if not self.as_dict:
            return images
        vector = stacks.reshape(self.n_envs, -1)[:, :3].astype(np.float32)
        room = stacks[:, -1, 0, 0, 0].astype(np.int64) % 7
        return {"camera": images, "vector": vector, "room": room, "map": images[:, -1:].copy()}

    def step(self) -> tuple[Any, Any, NDArray, NDArray, NDArray, list[dict[str, Any]]]:
        """:return: The arguments of a replay buffer's ``add()``, with actions of ``Box(-1, 1, (2,))``."""
        obs = self._observe(self.shown)
        self.interrupt()
        next_obs = self._observe(self.stacks)
        done = self.rng.random(self.n_envs) < self.end
        late = done & (self.rng.random(self.n_envs) < 0.5)
        self._begin(done)
        self.shown = self.stacks.copy()
        action = self.rng.uniform(-1, 1, (self.n_envs, 2)).astype(np.float32)
        reward = self.rng.normal(size=self.n_envs).astype(np.float32)
        return obs, next_obs, action, reward, done, [{"TimeLimit.truncated": bool(flag)} for flag in late]
