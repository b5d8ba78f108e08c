"""Recipes: what to train an environment's agent with, as YAML files of names and numbers."""

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_origin

import yaml

from agents.algorithms import DISCRETE_ONLY, MASKABLE_ONLY, find_algorithm
from agents.errors import UserError

RECIPES = Path(__file__).parent / "recipes"
# An environment's family has recipes of its own: the beginning of the ids, and the algorithm that is taken when none is named.
PIXEL_CONTROL = ("PixelCartPole", "PixelPendulum", "PixelAcrobot", "PixelMountainCar", "PixelCatch")
FAMILIES = {
    "CarRacing": "carracing",
    **dict.fromkeys(PIXEL_CONTROL, "pixelcontrol"),
    "MiniGrid": "minigrid",
    "procgen/": "procgen",
    "dm_control/": "dmc",
    "ALE/": "atari",
}
FAMILY_ALGORITHM = {
    "carracing": "ppo",
    "pixelcontrol": "ppo",
    "minigrid": "ppo",
    "procgen": "ppo",
    "dmc": "sac",
    "atari": "qrdqn",
}

T = TypeVar("T")


@dataclass(frozen=True)
class EnvironmentSettings:
    """How an environment is seen and acted in."""

    frame_skip: int = 1  # environment steps for each of the agent's
    frame_stack: int = 4  # newest frames that make an observation
    size: int = 84  # height and width of a frame in pixels
    grayscale: bool = True
    actions: str = "native"  # "discrete" or "continuous" where an environment has both
    render: str = "fast"  # the picture to train on where there are two
    env_kwargs: dict[str, Any] = field(default_factory=dict)  # keywords of the environment itself


@dataclass(frozen=True)
class EvaluationSettings:
    """How often and how long the agent is evaluated."""

    count: int = 12  # evaluations spread over a run, besides the one before it
    episodes: int = 5
    final_episodes: int = 20  # of the last evaluation, on tracks that no other one used
    deterministic: bool = True  # the policy's most likely or mean actions; False: actions drawn from it, as in training
    epsilon: float = 0.0  # share of discrete actions that are drawn uniformly instead, such as gets games out of a loop
    env_kwargs: dict[str, Any] = field(default_factory=dict)  # what differs from the training's: other levels


@dataclass(frozen=True)
class Recipe:
    """Everything that makes a run but for its arm, seed and machine. A value of ``None`` leaves the callee's default."""

    algorithm: str  # the class's name, in lower case
    timesteps: int  # agent steps, summed over environments
    policy: str = "CnnPolicy"
    n_envs: int = 1
    hyperparameters: dict[str, Any] = field(default_factory=dict)  # the algorithm's keywords
    exploration_noise: float = 0.0  # standard deviation of the Gaussian that a deterministic actor's actions get
    environment: EnvironmentSettings = field(default_factory=EnvironmentSettings)
    lives_as_episodes: bool = False  # a lost life ends the learner's episode; evaluations are of whole games
    reward_sign: bool = False  # learn from the rewards' signs; like the following, in training alone
    reward_scale: float = 1.0  # multiplies the rewards that the algorithm learns from; every return reported is the raw one
    policy_kwargs: dict[str, Any] = field(default_factory=dict)  # the policy's further keywords
    extractor: dict[str, Any] = field(default_factory=lambda: {"name": "nature_cnn"})  # name, and the extractor's keywords
    objective: str = "cpc"
    objective_kwargs: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the objective's name
    callback: dict[str, Any] = field(default_factory=dict)  # ContrastiveCallback's other keywords
    replay_buffer: str = "frames"  # each frame stored once, or "stock"; without a stack always Stable-Baselines3's own
    channels_last: bool = False  # how a CPU stores the convolutions' weights, see agents.memory.put_channels_last
    augmentation: str = "random_shift"  # of the RL batch, in the arms that have one
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)

    def as_dict(self) -> dict[str, Any]:
        """The recipe as plain containers, as :func:`recipe_from_dict` reads it."""
        return asdict(self)


def load_recipe(env_id: str, algorithm: str) -> Recipe:
    """
    The recipe for an environment and an algorithm.

    That is ``<algorithm>_<family>.yaml`` where there is one. Other algorithms take ``default_<algorithm>.yaml``, with what
    ``<family>.yaml`` says of an environment that has a family. Under ``environments`` a file says by their ids what is other
    in some of the family.

    :param env_id: a Gymnasium id
    :param algorithm: an algorithm's name, in any case
    :raises UserError: an unknown algorithm
    """
    name = find_algorithm(algorithm).__name__.lower()
    family = environment_family(env_id)
    if family is None:
        return read_recipe(RECIPES / f"default_{name}.yaml")
    own = RECIPES / f"{name}_{family}.yaml"
    if own.exists():
        return recipe_from_dict(_read_for(own, env_id), own.name)
    values = {**_read_yaml(RECIPES / f"default_{name}.yaml"), **_read_for(RECIPES / f"{family}.yaml", env_id)}
    if name in (*DISCRETE_ONLY, *MASKABLE_ONLY):
        values["environment"] = {**values["environment"], "actions": "discrete"}
    return recipe_from_dict(values, f"{family}.yaml with default_{name}.yaml")


def environment_family(env_id: str) -> str | None:
    """The family that an environment belongs to, if any."""
    registered = _registered_id(env_id)
    names = (registered, registered.rpartition("/")[2])
    return next((family for start, family in FAMILIES.items() if any(name.startswith(start) for name in names)), None)


def read_recipe(file: Path) -> Recipe:
    """
    Read one recipe.

    :raises UserError: no YAML mapping, or as :func:`recipe_from_dict` does
    """
    return recipe_from_dict(_read_yaml(file), file.name)


def recipe_from_dict(values: dict[str, Any], origin: str) -> Recipe:
    """
    Build a recipe from plain containers.

    :param values: what a YAML file holds
    :param origin: where that was, for error messages
    :raises UserError: an unknown key, a missing one, a value of another type, or a whole number below 1
    """
    recipe = _build(Recipe, values, origin)
    find_algorithm(recipe.algorithm)
    return recipe


def _read_for(file: Path, env_id: str) -> dict[str, Any]:
    """What a family's file says of one environment."""
    values = _read_yaml(file)
    for name, value in values.pop("environments", {}).get(_registered_id(env_id), {}).items():
        values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value
    return values


def _registered_id(env_id: str) -> str:
    """An id without the module that Gymnasium lets stand before it, as in ``ale_py:ALE/Pong-v5``."""
    return env_id.rpartition(":")[2]


def _build(cls: type[T], values: Any, origin: str) -> T:
    """A dataclass from a mapping, nested ones too."""
    if not isinstance(values, dict):
        raise UserError(f"The recipe {origin} must be a mapping of names to values, and is {values!r}.")
    known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(str(name) for name in values if name not in known)
    if unknown:
        raise UserError(f"The recipe {origin} has the unknown key {unknown[0]!r}; known are {', '.join(known)}.")
    built: dict[str, Any] = {}
    for name, value in values.items():
        kind = known[name].type
        if isinstance(kind, type) and is_dataclass(kind):
            built[name] = _build(kind, value, f"{origin}, under {name},")
        else:
            # Python 3.10 takes dict[str, ...] for a type, too, and then does not let it be asked about.
            plain = kind if isinstance(kind, type) and get_origin(kind) is None else dict
            built[name] = _read_value(value, plain, f"The recipe {origin} has {name}: {value!r}, which")
    try:
        return cls(**built)
    except TypeError:
        raise UserError(f"The recipe {origin} must at least say its algorithm and timesteps.") from None


def _read_value(value: Any, kind: type, said: str) -> Any:
    """One value of a recipe. Every whole number in it counts something that there is no run without."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is float and whole:
        return float(value)
    if kind is int and whole and value < 1:
        raise UserError(f"{said} must be 1 or more.")
    if not isinstance(value, kind) or (kind is int and not whole):
        raise UserError(f"{said} should be of type {kind.__name__}.")
    return value


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"The recipe {file} cannot be read: {' '.join(str(error).split())}.") from None
    if not isinstance(values, dict):
        raise UserError(f"The recipe {file} must be a mapping of names to values.")
    return values
