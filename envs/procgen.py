"""
Procgen's sixteen games as Gymnasium environments (Cobbe et al., 2020, https://arxiv.org/abs/1912.01588), played by EnvPool.

Every level is drawn from a number. An agent is trained on few of them (``num_levels=200``) and evaluated on all
(``num_levels=0``): the difference between the two returns is the generalisation gap.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

GAMES = (
    *("bigfish", "bossfight", "caveflyer", "chaser", "climber", "coinrun", "dodgeball", "fruitbot"),
    *("heist", "jumper", "leaper", "maze", "miner", "ninja", "plunder", "starpilot"),
)
OPTIONS = (
    *("use_sequential_levels", "center_agent", "use_backgrounds", "use_monochrome_assets", "restrict_themes"),
    *("use_generated_assets", "paint_vel_info", "use_easy_jump"),
)
FIRST = np.zeros(1, np.int32)  # which of the pool's environments: its only one


def pool_name(game: str, distribution: str = "easy") -> str:
    """
    EnvPool's id of a game.

    :param game: one of ``GAMES``.
    :param distribution: how hard the levels are: ``easy`` or ``hard``, and in some games ``extreme``, ``memory`` or
        ``exploration``.
    :return: such as ``CoinrunEasy-v0``.
    """
    return f"{game.capitalize()}{distribution.capitalize()}-v0"


class ProcgenGame(gym.Env):
    """
    One game that observes its (64, 64, 3) uint8 picture and has Procgen's fifteen actions.

    An episode is one level. The time limit is the game's own, in steps, and truncates; Procgen itself calls that an end like
    any other. ``info["level_seed"]`` is the level's number.

    A seed given to :meth:`reset` decides that level and all later ones, whatever was played before.

    :param game: one of ``GAMES``.
    :param distribution: as in :func:`pool_name`.
    :param num_levels: how many levels there are; 0: all, 2^31 of them.
    :param start_level: the first level's number; no matter where there are all.
    :param render_mode: ``"rgb_array"`` or None; there is no larger picture than the observation.
    :param options: those in ``OPTIONS``, all of them truth values, as Procgen has them.
    :raises ImportError: without the package EnvPool, or without Qt 5, which its Procgen draws with.
    :raises ValueError: if there is no such game, distribution or option.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(
        self,
        game: str,
        distribution: str = "easy",
        num_levels: int = 0,
        start_level: int = 0,
        render_mode: str | None = None,
        **options: Any,
    ):
        try:
            import envpool
        except ImportError as error:
            raise ImportError("it needs the package envpool, which pip install -e '.[envpool]' brings.") from error
        self.name, self.render_mode = pool_name(game, distribution), render_mode
        if self.name not in envpool.list_all_envs():
            raise ValueError(f"EnvPool's Procgen has no game {game!r} with the distribution {distribution!r}.")
        wrong = [option for option in options if option not in OPTIONS]
        if wrong:
            raise ValueError(f"Procgen has no option {wrong[0]!r}; it has num_levels, start_level, {', '.join(OPTIONS)}.")
        self.options = {"num_levels": num_levels, "start_level": start_level, **options}
        envpool.make_spec(self.name, **self.options)  # says now what is missing
        self._make = envpool.make_gymnasium
        self._pool: Any = None
        self.picture = np.zeros((64, 64, 3), np.uint8)
        self.observation_space = spaces.Box(0, 255, self.picture.shape, np.uint8)
        self.action_space = spaces.Discrete(15)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """
        :return: the first picture of a level, and its number as ``level_seed``.
        """
        super().reset(seed=seed)
        if seed is not None or self._pool is None:  # EnvPool fixes its seed when it is made, which takes a few milliseconds
            own = int(self.np_random.integers(2**31))
            self._pool = self._make(self.name, num_envs=1, num_threads=1, env_seed=[own], **self.options)
        pictures, info = self._pool.reset(FIRST)
        return self._see(pictures), {"level_seed": int(info["level_seed"][0])}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """
        :param action: 0 to 14.
        :return: picture, reward, terminated, truncated, and the level's number as ``level_seed``.
        """
        pictures, rewards, terminated, truncated, info = self._pool.step(np.array([action], np.int32), FIRST)
        level = {"level_seed": int(info["level_seed"][0])}
        return self._see(pictures), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), level

    def render(self) -> np.ndarray | None:
        """
        :return: the newest picture, (64, 64, 3) uint8, if that was asked for.
        """
        return None if self.render_mode is None else self.picture

    def close(self) -> None:
        """End EnvPool's thread."""
        self._pool = None

    def _see(self, pictures: np.ndarray) -> np.ndarray:
        """EnvPool's (1, 3, 64, 64) as a picture of its own."""
        self.picture = np.ascontiguousarray(np.moveaxis(pictures[0], 0, -1))
        return self.picture
