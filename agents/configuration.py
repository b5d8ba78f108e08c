"""What a run is made of, as its ``config.yaml`` says it."""

import platform
from dataclasses import MISSING, asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from agents.errors import UserError
from agents.recipe import Recipe, recipe_from_dict
from cpc_rl.evaluation.table import flattened

PACKAGES = (
    *("stable-baselines3", "sb3-contrib", "gymnasium", "envpool", "ale-py", "minigrid", "dm_control", "mujoco"),
    *("torch", "numpy", "opencv-python-headless", "tensorboard"),
)


@dataclass(frozen=True)
class RunConfiguration:
    """
    All that decides what a run computes; two runs with equal ones are the same run.

    A run that starts from an encoder has it in its arm, behind an ``@``: ``none@atc-frozen``.

    The machine (device, processes) is no part of it, so that a run can be resumed elsewhere; EnvPool is, for its environments
    are others.
    """

    env: str
    arm: str
    seed: int
    timesteps: int
    n_envs: int
    pixels: bool
    render: str
    eval_freq: int
    eval_episodes: int
    final_episodes: int
    encoder: str | None
    recipe: Recipe
    encoder_train: str = "fine-tune"  # or "frozen": what becomes of the encoder that the run starts from
    unfreeze_at: int | None = None  # agent steps from which a frozen one is fine-tuned
    lr_scale: float = 1.0  # multiplies its steps
    envpool: bool = False  # trained on EnvPool's environments, which play other episodes with the same seed
    encoder_sha256: str | None = None  # of the encoder's file; None without one, and in runs of before this was written down

    @property
    def plain_arm(self) -> str:
        """The arm without what it says of a loaded encoder, as :func:`agents.arms.parse_arm` reads it."""
        return self.arm.partition("@")[0]

    def as_dict(self) -> dict[str, Any]:
        """Plain containers, in the order of the fields."""
        return {**asdict(self), "recipe": self.recipe.as_dict()}

    @staticmethod
    def from_dict(values: Any, origin: str) -> "RunConfiguration":
        """
        Read what :meth:`as_dict` gave.

        :param origin: the file, for error messages
        :raises UserError: something is missing or unknown
        """
        names = [item.name for item in fields(RunConfiguration)]
        later = [item.name for item in fields(RunConfiguration) if item.default is not MISSING]  # older files lack them
        if not isinstance(values, dict) or {*later, *values} != set(names):
            raise UserError(f"{origin} does not describe a run: its part 'run' should hold {', '.join(names)}.")
        return RunConfiguration(**{**values, "recipe": recipe_from_dict(values["recipe"], origin)})

    def differences(self, other: "RunConfiguration") -> list[str]:
        """
        Where two configurations differ: dotted names with both values. What was in the encoder's file is compared where both
        know it.
        """
        mine, theirs = flattened(self.as_dict()), flattened(other.as_dict())
        if self.encoder is not None and other.encoder is not None and None in (self.encoder_sha256, other.encoder_sha256):
            mine["encoder_sha256"] = theirs["encoder_sha256"] = None
        return [
            f"{name} is {mine.get(name)} and was {theirs.get(name)}"
            for name in dict.fromkeys([*mine, *theirs])
            if mine.get(name) != theirs.get(name)
        ]


def installed_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
