"""Frames of random actions, recorded once per game and kept in a folder."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.atari_probes.environment import RawAtari
from cpc_rl.diagnostics.recording import Recording, load_recording, record
from cpc_rl.negatives import fingerprints
from cpc_rl.whole_file import whole_file

CHUNK = 1000  # frames in memory as integers at a time


class Frames:
    """
    The recordings of one game, made or read when they are first asked for.

    Actions are uniform among all but doing nothing, as in the code of Anand et al. 2019. The frames to train on and those of
    the probes are of different seeds.

    :param game: as :class:`RawAtari` takes it
    :param training: frames to train an encoder on
    :param probes: frames with labels
    :param seed: of the game and the actions
    :param folder: of the recordings
    """

    def __init__(self, game: str, training: int, probes: int, seed: int, folder: Path) -> None:
        self.game, self.counts, self.seed, self.folder = game, {"training": training, "probes": probes}, seed, folder

    @cached_property
    def training(self) -> Recording:
        """Without labels."""
        return self._recorded("training", (), self.seed)

    @cached_property
    def probes(self) -> Recording:
        """With the labels of the RAM."""
        return self._recorded("probes", ("ram",), self.seed + 1000)

    @cached_property
    def fingerprints(self) -> NDArray[np.int64]:
        """Of the probes' frames, equal where two are, ``(N,)``."""
        assert not isinstance(self.probes.observations, dict)
        images = torch.from_numpy(self.probes.observations)
        return torch.cat([fingerprints(part) for part in images.split(CHUNK)]).numpy()

    def _recorded(self, kind: str, labels: tuple[str, ...], seed: int) -> Recording:
        count = self.counts[kind]
        file = self.folder / f"{self.game}-{kind}-{count}-seed{self.seed}.npz"
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            env = RawAtari(self.game)
            rng = np.random.default_rng(seed)
            actions = env.action_space.n  # type: ignore[attr-defined]

            def policy(observation: Any) -> int:
                return int(rng.integers(1, actions))

            recording = record(env, count, labels=labels, policy=policy, seed=seed)
            env.close()
            with whole_file(file) as temporary:
                recording.save(temporary)
        return load_recording(file)
