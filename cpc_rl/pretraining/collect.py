"""Record episodes of an environment as a Minari dataset."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import stable_baselines3
from gymnasium.error import Error as GymnasiumError
from stable_baselines3.common.base_class import BaseAlgorithm

from cpc_rl.pretraining.opening import MINARI, dataset_path
from cpc_rl.pretraining.policies import Policy, RandomPolicy, TrainedPolicy


class Collected(NamedTuple):
    """What a recording ended with."""

    folder: Path
    steps: int
    episodes: int


def collect(
    env: gymnasium.Env,
    policy: Policy,
    *,
    steps: int,
    out: str | os.PathLike,
    seed: int = 0,
    infos: bool = False,
    jpeg: bool = False,
) -> Collected:
    """
    Record steps of an environment, episode by episode, as a Minari dataset (HDF5). The last episode is cut where the steps are
    used up. Nothing is left behind unless all of it was written.

    :param env: with image observations; its own closing is the caller's
    :param policy: see :mod:`cpc_rl.pretraining.policies`
    :param steps: of the environment, in all
    :param out: the dataset's folder, or ``"minari:NAME-vN"`` for one under ``MINARI_DATASETS_PATH``
    :param seed: the first episode's; each later one gets the next number
    :param infos: store what the environment says besides (``info``), for probes of it; the same entries at each step
    :param jpeg: store images with losses, in less space; else pixel for pixel
    :raises ValueError: if there is something at ``out`` already, or a setting makes no sense
    """
    try:
        from minari.data_collector import EpisodeBuffer
        from minari.dataset.minari_storage import MinariStorage
    except ImportError as error:
        raise ValueError(
            f"Recording a Minari dataset needs the package {error.name}: pip install 'cpc_rl[pretrain]'."
        ) from error
    if steps < 1:
        raise ValueError(f"steps is {steps}, but there is nothing to record below 1.")
    folder = dataset_path(out)
    if folder.exists():
        raise ValueError(f"There is something at {folder} already: choose another place for the dataset, or delete it.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        storage: Any = MinariStorage.new(
            temporary / "data",
            observation_space=env.observation_space,
            action_space=env.action_space,
            env_spec=env.spec,
            data_format="hdf5",
            jpeg_encoding=jpeg,
        )
        done = episode = 0
        policy.seed(seed)
        while done < steps:
            recorded = _episode(env, policy, EpisodeBuffer, seed + episode, steps - done, infos)
            storage.update_episodes([recorded])
            done, episode = done + len(recorded.rewards), episode + 1
        text = os.fspath(out)
        name = text.removeprefix(MINARI) if text.startswith(MINARI) else folder.name
        about = {"dataset_id": name, "algorithm_name": policy.name, "seed": seed, "minari_version": version("minari")}
        storage.update_metadata(about)
        os.chmod(temporary, 0o755)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Collected(folder, done, episode)


def _episode(env: gymnasium.Env, policy: Policy, buffer: Any, seed: int, most: int, infos: bool) -> Any:
    observation, info = env.reset(seed=seed)
    policy.reset()
    observations, said = [observation], [info]
    actions: list[Any] = []
    rewards: list[float] = []
    terminations: list[bool] = []
    truncations: list[bool] = []
    ended = False
    while not ended:
        action = policy(observation)
        observation, reward, terminated, truncated, info = env.step(action)
        cut = len(rewards) + 1 == most and not terminated
        observations.append(observation)
        said.append(info)
        actions.append(action)
        rewards.append(float(reward))
        terminations.append(bool(terminated))
        truncations.append(bool(truncated or cut))
        ended = terminated or truncated or cut
    return buffer(
        seed=seed,
        observations=_columns(observations),
        actions=_columns(actions),
        rewards=np.array(rewards),
        terminations=np.array(terminations),
        truncations=np.array(truncations),
        infos=_columns(said) if infos else {},
    )


def _columns(rows: Sequence[Any]) -> Any:
    """What each step has, as one array of each entry: Minari's own way to add steps needs JAX."""
    first = rows[0]
    if isinstance(first, Mapping):
        if any(row.keys() != first.keys() for row in rows):
            raise ValueError(
                f"A step has the entries {', '.join(first)}, and another one of the episode has others: they cannot be stored "
                "as columns. Record without infos, or give all steps the same ones by an environment factory."
            )
        return {key: _columns([row[key] for row in rows]) for key in first}
    if isinstance(first, tuple):
        return tuple(_columns(column) for column in zip(*rows, strict=True))
    return np.array(rows)


def make_environment(env: str, factory: str | None = None) -> gymnasium.Env:
    """
    :param env: a registered Gymnasium id
    :param factory: ``"module:function"`` that makes the environment from the id, for those that need more than
        ``gymnasium.make``; modules of the working directory are found too
    :raises ValueError: if there is no such environment or function
    """
    try:
        made = gymnasium.make(env) if factory is None else _imported(factory)(env)
    except (GymnasiumError, ModuleNotFoundError) as error:
        raise ValueError(f"There is no environment {env!r} that can be made: {error}.") from error
    if not isinstance(made, gymnasium.Env):
        raise ValueError(f"{factory} made a {type(made).__name__}, but an environment of Gymnasium is needed.")
    return made


def make_policy(policy: str, algorithm: str | None, env: gymnasium.Env) -> Policy:
    """
    :param policy: ``"random"``, or the zip of a model of SB3 or sb3-contrib. A zip is a pickle in part: load none that you do
        not trust
    :param algorithm: the class's name in any case, such as ``ppo``; a zip does not tell
    :param env: that it will act in
    :raises ValueError: if it cannot be loaded, or does not fit the environment
    """
    if policy == "random":
        return RandomPolicy(env.action_space)
    if not Path(policy).is_file():
        raise ValueError(f"policy is {policy!r}, but it is 'random' or the zip of a trained model, and there is no such file.")
    if algorithm is None:
        raise ValueError("A model's zip does not say its algorithm: name it, as in --algo ppo.")
    return TrainedPolicy(_algorithm(algorithm).load(policy, device="cpu"), env.observation_space)


def _algorithm(name: str) -> type[BaseAlgorithm]:
    modules = [stable_baselines3]
    try:
        modules.append(import_module("sb3_contrib"))
    except ImportError:
        pass
    found = {key.lower(): value for module in modules for key, value in vars(module).items() if _is_algorithm(value)}
    if name.lower() not in found:
        raise ValueError(f"There is no algorithm {name!r}; there are {', '.join(sorted(found))}.")
    return found[name.lower()]


def _is_algorithm(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseAlgorithm)


def _imported(factory: str) -> Callable[[str], Any]:
    module, _, name = factory.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"The factory is {factory!r}, but it must be 'module:function', and {error}.") from error
