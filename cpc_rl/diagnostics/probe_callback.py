"""``ProbeCallback``: how well the agent's features tell the state, as a curve beside its return."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from cpc_rl.diagnostics.atari_ram import ram_categories
from cpc_rl.diagnostics.features import (
    CHUNK,
    as_normalised,
    chunks,
    encode_all,
    encoder_of,
    frame_fingerprints,
    frame_stack,
    rows_of,
)
from cpc_rl.diagnostics.probe import probe
from cpc_rl.diagnostics.probe_report import ProbeReport
from cpc_rl.diagnostics.recording import Recording, record, untouched_randomness
from cpc_rl.learn_callback import LearnCallback

FEW = 50  # test frames, below which a score says little


class ProbeCallback(LearnCallback):
    """
    Probes the model's encoder while it trains, on frames of an environment of its own that random actions lead through.

    The frames are recorded once, at the start, so that all points of the curve are of the same task. Where the training's
    environments have a ``VecNormalize``, the encoder gets them normalised, as the agent's own. The agent is the same,
    bit for bit, as without this callback. TensorBoard shows ``probe/<variable>`` (weighted F1 or R2 on held-out episodes,
    without the frames that training or validation holds too, pixel for pixel), and ``probe/mean_f1`` and ``probe/mean_r2``.
    Where there is nothing to judge by, such as every frame of the test being known from training, a warning says so once,
    nothing is logged, and the training goes on.

    :param make_env: makes an environment like the training's, without frame stacks (they are added as the model needs them)
    :param labels: sources of labels as in :func:`cpc_rl.diagnostics.label_sources.label_reader`, such as ``["ram"]``
    :param every: environment steps between two probes; there is also one before the first update and one at the end
    :param frames: number of frames recorded
    :param seed: of the recording, and of the probes unless their keywords have one
    :param probe_kwargs: keywords of :func:`cpc_rl.diagnostics.probe.probe`; with ``fingerprints=None`` frames that training
        holds are judged by too, as where there are so few different ones that no others come up
    :param verbose: 1 to print each mean
    :raises ValueError: if a number makes no sense; at the training's start if the environment does not fit the model
    """

    def __init__(
        self,
        make_env: Callable[[], gym.Env],
        labels: Sequence[str],
        *,
        every: int = 50_000,
        frames: int = 5_000,
        seed: int = 0,
        probe_kwargs: Mapping[str, Any] | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        if every < 1 or frames < 3:
            raise ValueError(f"every is {every} and frames {frames}, but a probe needs a step above 0 and at least 3 frames.")
        self.make_env, self.sources, self.every, self.frames = make_env, tuple(labels), every, frames
        self.seed = seed
        self.probe_kwargs = {"seed": seed, "epochs": 30, "patience": 5, "min_entropy": 0.1, **(probe_kwargs or {})}
        self.reports: list[tuple[int, ProbeReport]] = []
        self.recording: Recording | None = None
        self._next = 0
        self._warned = False

    def _on_training_start(self) -> None:
        if self.recording is None:
            with untouched_randomness():
                env = self.make_env()
            stack = frame_stack(self.model.observation_space, env)
            self.recording = record(env, self.frames, labels=self.sources, stack=stack, seed=self.seed)
            env.close()
            as_normalised(self.model, rows_of(self.recording.observations, slice(1)))  # says now if it cannot
            if "fingerprints" not in self.probe_kwargs:
                self.probe_kwargs["fingerprints"] = frame_fingerprints(encoder_of(self.model), self.recording.observations)
            if "ram" in self.sources:
                self.probe_kwargs.setdefault("categories", {name: ram_categories(name) for name in self.recording.labels})
        self._next = self.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        # Between an update and the next rollout: where the model is what the log's other entries of this step tell about.
        if self.num_timesteps >= self._next:
            self._next = self.num_timesteps + self.every
            self._probe()

    def _on_training_end(self) -> None:
        if not self.reports or self.reports[-1][0] < self.num_timesteps:
            self._probe()

    def _probe(self) -> None:
        assert self.recording is not None
        try:
            with untouched_randomness():
                report = probe(self._features(), self.recording.labels, self.recording.episodes, **self.probe_kwargs)
        except ValueError as error:  # a training is worth more than its probes
            self._warn(f"has nothing to show at {self.num_timesteps:,} steps: {error}")
            return
        if report.frames["test"] < min(FEW, self.frames // 20):
            self._warn(f"judges by {report.frames['test']} frames alone: the others are in training or validation, too.")
        self.reports.append((self.num_timesteps, report))
        for variable in report.variables:
            self.logger.record(f"probe/{variable.name}", variable.score)
        for kind, name in (("categorical", "mean_f1"), ("continuous", "mean_r2")):
            mean = report.mean(kind)  # type: ignore[arg-type]
            if mean is not None:
                self.logger.record(f"probe/{name}", mean)
                if self.verbose > 0:
                    print(f"ProbeCallback: {name} {mean:.3f} at {self.num_timesteps:,} steps")
        self.logger.dump(self.num_timesteps)

    def _warn(self, what: str) -> None:
        """Once."""
        if not self._warned:
            more = " Where there are few different frames, probe_kwargs=dict(fingerprints=None) counts known ones as well."
            warnings.warn(f"ProbeCallback {what}{more if self.probe_kwargs['fingerprints'] is not None else ''}", stacklevel=3)
        self._warned = True

    def _features(self) -> Tensor:
        assert self.recording is not None
        frames, encoder = self.recording.observations, encoder_of(self.model)
        parts = (as_normalised(self.model, rows_of(frames, rows)) for rows in chunks(frames, CHUNK))
        return torch.cat([encode_all(encoder, part) for part in parts])
