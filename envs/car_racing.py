"""CarRacing with the ends of its version 2, over the installed Gymnasium's code."""

from typing import Any

from gymnasium.envs.box2d.car_racing import CarRacing


class CarRacingV2(CarRacing):
    """
    ``CarRacing-v2``: a finished lap truncates the episode, as a time limit does, where version 3 terminates it.

    Leaving the playfield terminates it with a reward of -100 in both. Nothing else of the task differs.
    ``info["lap_finished"]``, which came with version 3, is kept.
    """

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """
        One step of 1/50 s.

        :param action: as in ``CarRacing-v3``; None, as ``reset`` passes it, moves the car without a reward or an end.
        :return: observation, reward, terminated, truncated, info.
        """
        observation, reward, terminated, truncated, info = super().step(action)
        if terminated:
            # In one step the car can both finish the lap and leave the playfield; info then tells of the second only.
            truncated = truncated or self.new_lap or self.tile_visited_count == len(self.track)
            terminated = not info["lap_finished"]
        return observation, reward, terminated, truncated, info
