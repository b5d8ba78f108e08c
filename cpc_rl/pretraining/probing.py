"""The probe report at the end of a pre-training: what the features tell of the labels that were recorded with the images."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpc_rl.diagnostics.probe import probe
from cpc_rl.diagnostics.probe_report import ProbeReport
from cpc_rl.encoder import Encoder, Observations, probing
from cpc_rl.negatives import joint_fingerprints
from cpc_rl.pretraining.episodes import DamagedError, Episodes

CHUNK = 256  # frames in memory at a time


class Labelled(NamedTuple):
    """Features of frames, in the order of their episodes."""

    features: Tensor
    """``(N, features_dim)``."""
    labels: dict[str, NDArray]
    """By name, ``(N,)`` each."""
    episodes: NDArray[np.int64]
    """``(N,)``."""
    prints: NDArray[np.int64]
    """``(N,)``, equal where two frames are."""


def labelled_episodes(data: Episodes) -> tuple[list[int], list[str]]:
    """
    Which episodes have labels, the same ones: of several sets of names the one that most episodes have.

    :return: their numbers, none if the data was recorded without labels; and what is wrong with the others, one text each
    """
    names: dict[int, frozenset[str]] = {}
    wrong: list[str] = []
    for episode in range(len(data.lengths)):
        try:
            names[episode] = frozenset(data.labels(episode))
        except DamagedError as error:
            wrong.append(str(error))
    if not any(names.values()):
        return [], wrong
    wanted = Counter(own for own in names.values() if own).most_common(1)[0][0]
    for episode, own in names.items():
        if own != wanted:
            has = f"the labels {', '.join(sorted(own))}" if own else "no labels"
            wrong.append(f"{data.name(episode)} has {has}, but others have {', '.join(sorted(wanted))}")
    return [episode for episode, own in names.items() if own == wanted], wrong


def probe_report(encoder: Encoder, data: Episodes, labelled: Sequence[int], frames: int, seed: int = 0) -> ProbeReport:
    """
    Linear probes of every label, by :func:`cpc_rl.diagnostics.probe.probe`. Frames are read and encoded a few at a time.

    :param labelled: the episodes that have the labels, see :func:`labelled_episodes`
    :param frames: at most; every episode gives as many as the others, or all it has, in one piece
    :param seed: of the pieces and of the probes
    :raises ValueError: if there is too little to probe
    """
    found = _encoded(encoder, data, labelled, frames, seed)
    return probe(found.features, found.labels, found.episodes, fingerprints=found.prints, seed=seed)


def _encoded(encoder: Encoder, data: Episodes, labelled: Sequence[int], frames: int, seed: int) -> Labelled:
    features, prints, labels, episodes = [], [], [], []
    rng = np.random.default_rng(seed)
    left = frames
    for place, episode in enumerate(sorted(labelled, key=lambda episode: int(data.lengths[episode]))):
        length = min(int(data.lengths[episode]), left // (len(labelled) - place))
        start = int(rng.integers(int(data.lengths[episode]) - length + 1))
        left -= length
        if length == 0:
            continue
        try:
            own = data.labels(episode)
            pieces = [(_features(encoder, i), _prints(i)) for i in _chunks(encoder, data, episode, start, start + length)]
        except DamagedError:
            continue  # the training names what of the images is damaged
        features += [piece for piece, _ in pieces]
        prints += [piece for _, piece in pieces]
        labels.append({name: values[start : start + length] for name, values in own.items()})
        episodes.append(np.full(length, episode))
    if not labels:
        raise ValueError("There are no frames with labels that can be read.")
    columns = {name: np.concatenate([own[name] for own in labels]) for name in labels[0]}
    return Labelled(torch.cat(features), columns, np.concatenate(episodes), torch.cat(prints).cpu().numpy())


def _chunks(encoder: Encoder, data: Episodes, episode: int, start: int, stop: int) -> Iterator[Observations]:
    device = next(encoder.parameters()).device
    for first in range(start, stop, CHUNK):
        images = data.read(episode, first, min(first + CHUNK, stop)).observations
        if isinstance(images, dict):
            yield {key: torch.from_numpy(image).to(device) for key, image in images.items()}
        else:
            yield torch.from_numpy(images).to(device)


@torch.no_grad()
def _features(encoder: Encoder, images: Observations) -> Tensor:
    with probing(encoder):
        return encoder(images).clone()


def _prints(images: Observations) -> Tensor:
    return joint_fingerprints([images] if isinstance(images, Tensor) else images.values())
