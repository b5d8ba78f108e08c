"""The Atari games as Anand et al. 2019 show them to their encoders and probes."""

from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

HEIGHT, WIDTH, SKIP, MOST_IDLE = 210, 160, 4, 30


class RawAtari(gym.Wrapper):
    """
    Grey frames at full size, ``(210, 160, 1)`` uint8. Each action is played for 4 frames, of the last two the brighter of each
    pixel is seen; up to 30 idle frames at first; an episode ends with a life, and the next one goes on with the lives that
    are left; where the game has a FIRE button it is pressed at the beginning of an episode, and the next action after it.

    As the wrappers of OpenAI Baselines that the authors use do it; grey is the emulator's own instead of OpenCV's.

    :param game: as ``ale_py`` names it, such as ``"pong"`` or ``"ms_pacman"``
    """

    def __init__(self, game: str) -> None:
        gym.register_envs(ale_py)
        name = "".join(part.capitalize() for part in game.split("_"))
        super().__init__(gym.make(f"{name}NoFrameskip-v4", obs_type="grayscale", disable_env_checker=True))
        self.observation_space = spaces.Box(0, 255, (HEIGHT, WIDTH, 1), np.uint8)
        self._over = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[NDArray, dict[str, Any]]:
        if self._over or seed is not None:
            self._new_game(seed, options)
        else:
            self._play(0)
        if "FIRE" in self.env.unwrapped.get_action_meanings():  # type: ignore[attr-defined]
            for action in (1, 2):
                self._play(action)
                if self._over:
                    self._new_game(None, options)
        self._lives = self._ale.lives()
        return self._frame(), {}

    def step(self, action: Any) -> tuple[NDArray, float, bool, bool, dict[str, Any]]:
        reward = self._play(int(action))
        lost = self._ale.lives() < self._lives
        return self._frame(), reward, self._over or lost, False, {}

    @property
    def _ale(self) -> ale_py.ALEInterface:
        return self.env.unwrapped.ale  # type: ignore[attr-defined]

    def _new_game(self, seed: int | None, options: dict[str, Any] | None) -> None:
        self.env.reset(seed=seed, options=options)
        for _ in range(int(self.env.unwrapped.np_random.integers(1, MOST_IDLE + 1))):
            self._ale.act(0)
            if self._ale.game_over():
                self.env.reset()
        self._over = False
        self._screens = [self._ale.getScreenGrayscale()]

    def _play(self, action: int) -> float:
        """One action for 4 frames; only the last two are drawn."""
        code = self.env.unwrapped._action_set[action]  # type: ignore[attr-defined]
        reward, self._screens = 0.0, []
        for frame in range(SKIP):
            reward += self._ale.act(code)
            self._over = self._ale.game_over()
            if frame >= SKIP - 2 or self._over:
                self._screens.append(self._ale.getScreenGrayscale())
            if self._over:
                break
        return reward

    def _frame(self) -> NDArray[np.uint8]:
        return np.max(self._screens, axis=0)[:, :, None]
