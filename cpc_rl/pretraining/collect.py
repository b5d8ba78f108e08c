"""Record episodes of an environment as a Minari dataset."""

import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Space

from cpc_rl.diagnostics.label_sources import label_reader
from cpc_rl.interrupts import interrupts_ignored
from cpc_rl.pretraining.episodes import ChannelsFirst
from cpc_rl.pretraining.opening import MINARI, dataset_path
from cpc_rl.pretraining.policies import Policy
from cpc_rl.pretraining.recordable import Recordable, copied

Teller = Callable[[Mapping[str, Any]], dict[str, Any]]


class Collected(NamedTuple):
    """What a recording ended with."""

    folder: Path
    steps: int
    episodes: int
    left_out: tuple[str, ...] = ()
    """Entries of the observations that are no numbers and are not stored."""


def collect(
    env: gymnasium.Env,
    policy: Policy,
    *,
    steps: int,
    out: str | os.PathLike,
    seed: int = 0,
    infos: bool = False,
    labels: Sequence[str] = (),
    jpeg: bool = False,
) -> Collected:
    """
    Record steps of an environment, episode by episode, as a Minari dataset (HDF5; each image compressed by itself, so that a
    window is read quickly). The last episode is cut where the steps are used up. Nothing is left behind unless all of it was
    written.

    :param env: with image observations; its own closing is the caller's. Of Dict observations texts and the like are left out
    :param policy: see :mod:`cpc_rl.pretraining.policies`
    :param steps: of the environment, in all
    :param out: the dataset's folder, or ``"minari:NAME-vN"`` for one under ``MINARI_DATASETS_PATH``
    :param seed: the first episode's; each later one gets the next number
    :param infos: store what the environment says besides (``info``), if it has the same entries at each step
    :param labels: of each frame, for probes: sources as of :func:`cpc_rl.diagnostics.label_sources.label_reader`, such as
        ``"ram"``. They are stored as ``infos/labels``
    :param jpeg: store images with losses, in less space; else pixel for pixel
    :raises ValueError: if Minari is older than 0.5.4, there is something at ``out`` already, a setting makes no sense,
        the environment's observations or actions cannot be stored, or there is no image among the observations
    :raises KeyboardInterrupt: after Ctrl-C, saying that nothing is kept
    """
    try:
        from minari.data_collector import EpisodeBuffer
        from minari.dataset.minari_storage import MinariStorage
    except ImportError as error:
        raise ValueError(
            f"Recording a Minari dataset needs the package {error.name}: pip install -e '.[pretrain]'."
        ) from error
    if "jpeg_encoding" not in inspect.signature(MinariStorage.new).parameters:
        raise ValueError(
            "Before version 0.5.4 Minari stores images with losses alone: pip install 'minari>=0.5.4', which needs Python "
            "3.11."
        )
    if steps < 1:
        raise ValueError(f"steps is {steps}, but there is nothing to record below 1.")
    if seed < 0:
        raise ValueError(f"seed is {seed}, but it must be at least 0.")
    folder = dataset_path(out).absolute()  # Minari would join a relative path to itself
    if folder.exists():
        raise ValueError(f"There is something at {folder} already: choose another place for the dataset, or delete it.")
    kept = Recordable(env, jpeg)
    _check_images(kept.space)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        storage: Any = MinariStorage.new(
            temporary / "data",
            observation_space=kept.space,
            action_space=env.action_space,
            env_spec=kept.spec,
            data_format="hdf5",
            jpeg_encoding=jpeg,
        )
        tell = _teller(env, infos, labels)
        done = episode = 0
        policy.seed(seed)
        while done < steps:
            recorded = _episode(env, policy, EpisodeBuffer, episode, seed + episode, steps - done, kept, tell)
            if not jpeg:
                _frame_by_frame(temporary / "data" / "main_data.hdf5", f"episode_{episode}", recorded.observations)
            storage.update_episodes([recorded])
            done, episode = done + len(recorded.rewards), episode + 1
        text = os.fspath(out)
        name = text.removeprefix(MINARI) if text.startswith(MINARI) else folder.name
        about = {"dataset_id": name, "algorithm_name": policy.name, "seed": seed, "minari_version": version("minari")}
        storage.update_metadata(about)
        os.chmod(temporary, 0o755)
        os.replace(temporary, folder)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; nothing is kept, for a dataset is whole or not there: {folder}") from None
    finally:
        with interrupts_ignored():
            shutil.rmtree(temporary, ignore_errors=True)
    return Collected(folder, done, episode, kept.left_out)


def _check_images(space: Space) -> None:
    try:
        ChannelsFirst(space)
    except ValueError as error:
        raise ValueError(f"{error} Record an environment that gives them, as by a factory (--env-factory).") from None


def _teller(env: gymnasium.Env, infos: bool, labels: Sequence[str]) -> Teller:
    """From a step's ``info`` to what is stored besides the step."""
    read = label_reader(env, labels) if labels else None

    def tell(info: Mapping[str, Any]) -> dict[str, Any]:
        told = dict(info) if infos else {}
        if read is not None:
            found = read(info)
            if found is None:
                raise ValueError(
                    f"The labels {', '.join(labels)} are not in the info of every step and every reset, so that frames would "
                    "be without them."
                )
            told["labels"] = found
        return told

    return tell


def _episode(
    env: gymnasium.Env, policy: Policy, buffer: Any, number: int, seed: int, most: int, kept: Recordable, tell: Teller
) -> Any:
    observation, info = env.reset(seed=seed)
    policy.reset()
    observations, told = [kept(observation)], [copied(tell(info))]
    actions: list[Any] = []
    rewards: list[float] = []
    terminations: list[bool] = []
    truncations: list[bool] = []
    ended = False
    while not ended:
        action = policy(observation)
        observation, reward, terminated, truncated, info = env.step(action)
        cut = len(rewards) + 1 == most and not terminated
        observations.append(kept(observation))
        told.append(copied(tell(info)))
        actions.append(copied(action))
        rewards.append(float(reward))
        terminations.append(bool(terminated))
        truncations.append(bool(truncated or cut))
        ended = terminated or truncated or cut
    return buffer(
        id=number,
        seed=seed,
        observations=_columns(observations),
        actions=_columns(actions),
        rewards=np.array(rewards),
        terminations=np.array(terminations),
        truncations=np.array(truncations),
        infos=_columns(told),
    )


def _frame_by_frame(file: Path, episode: str, observations: Any) -> None:
    """
    Lay out where Minari will put the observations. Its own layout has pieces of many frames' corners each, so that a window
    of a few frames costs the reading of a hundred.
    """
    import h5py

    def lay_out(group: Any, name: str, values: Any) -> None:
        if isinstance(values, dict):
            for key, inner in values.items():
                lay_out(group.require_group(name), key, inner)
        elif isinstance(values, np.ndarray) and values.ndim > 2:
            shape, options = values.shape[1:], {"compression": "gzip", "compression_opts": 1}
            group.create_dataset(name, (0, *shape), values.dtype, maxshape=(None, *shape), chunks=(1, *shape), **options)

    with h5py.File(file, "a", track_order=True) as opened:
        lay_out(opened.require_group(episode), "observations", observations)


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
