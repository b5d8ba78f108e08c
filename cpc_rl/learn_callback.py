"""What the callbacks that work between rollouts and updates have in common."""

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback


class LearnCallback(BaseCallback):
    """
    A callback that ``learn()`` itself must call: one that an event callback calls hears of steps alone, and could do nothing.

    :raises RuntimeError: at its first step, if no rollout was begun
    """

    idle = False
    """Whether it has nothing to do, and so may be anywhere."""
    _begun = False

    def init_callback(self, model: BaseAlgorithm) -> None:
        """As in SB3."""
        self._begun = False
        super().init_callback(model)

    def on_rollout_start(self) -> None:
        """As in SB3."""
        self._begun = True
        super().on_rollout_start()

    def on_step(self) -> bool:
        """As in SB3."""
        if not (self._begun or self.idle):
            raise RuntimeError(
                f"{type(self).__name__} is told of steps and not of rollouts and updates, as where it is given to "
                "EveryNTimesteps: give it to learn(callback=...) itself, in a list with others if there are any."
            )
        return super().on_step()
