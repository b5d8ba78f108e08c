"""Hyper-parameters that change over a run, written in a recipe as names and numbers."""

from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule

from agents.errors import UserError


def read_value(value: Any) -> Any:
    """
    What a recipe's hyper-parameter means to Stable-Baselines3.

    ``{schedule: linear, start: 3.0e-4, end: 0.0}`` is a straight line from the first to the last agent step, or gets to its
    end after the given ``fraction`` of them. Stable-Baselines3's own class is used, so that a saved model needs nothing else.

    :raises UserError: a mapping that describes no schedule
    """
    if not isinstance(value, dict):
        return value
    if value.get("schedule") != "linear":
        raise UserError(f"The schedule {value.get('schedule')!r} is unknown; a recipe can have 'linear', with start and end.")
    unknown = sorted(set(value) - {"schedule", "start", "end", "fraction"})
    if unknown or not {"start", "end"} <= set(value):
        raise UserError(f"A linear schedule has start, end and, if wanted, fraction; the recipe's has {sorted(value)}.")
    return LinearSchedule(float(value["start"]), float(value["end"]), float(value.get("fraction", 1.0)))


class EntropySchedule(BaseCallback):
    """
    Moves ``ent_coef``, which on-policy algorithms take as a number only. It keeps no state, so that a resumed run goes on.

    :param schedule: the coefficient by the remaining progress, 1 to 0
    """

    def __init__(self, schedule: LinearSchedule):
        super().__init__()
        self.schedule = schedule

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        # The model's own progress is brought up to date only after this, and before the update.
        remaining = 1.0 - self.num_timesteps / self.model._total_timesteps
        self.model.ent_coef = self.schedule(remaining)  # type: ignore[attr-defined]


def read_hyperparameters(hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """All of an algorithm's keywords, schedules built and lists turned into the tuples that Stable-Baselines3 asks for."""
    return {name: tuple(value) if isinstance(value, list) else read_value(value) for name, value in hyperparameters.items()}
