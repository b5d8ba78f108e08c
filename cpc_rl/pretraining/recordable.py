"""What of an environment a Minari dataset can hold."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

NUMBERS = spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary


class Recordable:
    """
    The observations of an environment as far as they are numbers: of a Dict space texts and the like are left out.

    :param env: that is recorded
    :param jpeg: whether its images will be stored as JPEG
    :ivar space: of what is kept
    :ivar left_out: names of the entries that are not
    :ivar spec: the environment's, or ``None`` if it cannot be written as text, as for one registered by its class
    :raises ValueError: if nothing is left, or actions or images cannot be stored
    """

    def __init__(self, env: gymnasium.Env, jpeg: bool) -> None:
        space = env.observation_space
        self.left_out: tuple[str, ...] = ()
        if isinstance(space, spaces.Dict):
            self.left_out = tuple(key for key, entry in space.items() if not _is_numbers(entry))
            space = spaces.Dict({key: entry for key, entry in space.items() if key not in self.left_out})
        for what, stored in (("observations", space), ("actions", env.action_space)):
            if not _is_numbers(stored) or (isinstance(stored, spaces.Dict) and not stored.spaces):
                raise ValueError(f"The environment's {what} are not numbers, which alone can be recorded: {stored}.")
        if jpeg:
            _check_jpeg(space)
        self.space: spaces.Space = space
        self.spec = _writable(env.spec)

    def __call__(self, observation: Any) -> Any:
        """What is kept of an observation, with arrays of its own."""
        if self.left_out:
            observation = {key: observation[key] for key in observation if key not in self.left_out}
        return _as_declared(copied(observation), self.space)


def copied(value: Any) -> Any:
    """With arrays of its own: many environments write each step into the arrays that they gave for the last one."""
    if isinstance(value, Mapping):
        return {key: copied(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(copied(inner) for inner in value)
    return value.copy() if isinstance(value, np.ndarray) else value


def _as_declared(observation: Any, space: spaces.Space) -> Any:
    """
    Whole numbers in the dtype that the space declares, as Stable-Baselines3's environments cast them: many give frames of
    another. Floats may be stored in another, such as 8 bits, and are cast when they are read.
    """
    if isinstance(space, spaces.Dict):
        return {key: _as_declared(value, space[key]) if key in space.keys() else value for key, value in observation.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_as_declared(value, part) for value, part in zip(observation, space.spaces, strict=True))
    if isinstance(observation, np.ndarray) and isinstance(space, spaces.Box) and space.dtype.kind != "f":
        return observation.astype(space.dtype, copy=False)
    return observation


def _is_numbers(space: spaces.Space) -> bool:
    if isinstance(space, spaces.Dict):
        return all(_is_numbers(entry) for entry in space.values())
    if isinstance(space, spaces.Tuple):
        return all(_is_numbers(entry) for entry in space.spaces)
    return isinstance(space, NUMBERS)


def _check_jpeg(space: spaces.Space) -> None:
    from minari.dataset.minari_storage import is_image_space

    if isinstance(space, spaces.Dict):
        for entry in space.values():
            _check_jpeg(entry)
    elif is_image_space(space) and space.shape is not None and space.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"jpeg stores images of shape (H, W) or (H, W, 3), but the environment's have {space.shape}: record without it."
        )


def _writable(spec: EnvSpec | None) -> EnvSpec | None:
    try:
        if spec is not None:
            spec.to_json()
    except Exception:  # what it raises depends on what is in it; the data does not need it
        return None
    return spec
