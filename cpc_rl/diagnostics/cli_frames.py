"""Where ``cpc-rl probe`` and ``cpc-rl look`` get a model and frames from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from cpc_rl.diagnostics.features import frame_stack
from cpc_rl.diagnostics.recording import Recording, load_recording, record, untouched_randomness
from cpc_rl.diagnostics.saved_run import Subject, read_config
from cpc_rl.encoder import Encoder
from cpc_rl.json_object import json_object
from cpc_rl.named_environment import make_environment

POSITIONAL: Any = None
try:
    from tyro.conf import Positional as POSITIONAL
except ImportError:  # without the command line the arguments are a dataclass like any other
    pass


@dataclass
class FrameSource:
    """The arguments that both commands have."""

    run: Annotated[Path, POSITIONAL]
    """A run's folder (model.zip in it or in checkpoints/, or encoder.safetensors alone), or one of these files."""
    env: str | None = None
    """Id of the environment that frames come from; the run's own without."""
    env_factory: str | None = None
    """``module:function`` that makes it, for envs that need more than gymnasium.make."""
    env_kwargs: str = "{}"
    """Keywords for it, as a JSON object."""
    data: Path | None = None
    """An .npz file with frames instead of an environment."""
    labels: list[str] = field(default_factory=list)
    """Sources of labels: ``ram`` (Atari), ``info:KEY``, ``attr:PATH``; see the documentation of probes."""
    frames: int = 10_000
    """Number of frames to record."""
    policy: Literal["random", "model"] = "random"
    """Who acts while they are recorded."""
    algo: str | None = None
    """The model's algorithm, where no config.yaml tells it."""
    encoder: Path | None = None
    """An encoder.safetensors whose weights replace the model's."""
    seed: int = 0
    """Of the environment, the actions (random ones, or the model's draws), and what is drawn afterwards."""

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.run if self.run.is_dir() else self.run.parent

    def frames_of(self, subject: Subject) -> Recording:
        """
        Read the frames, or play and record them.

        :raises ValueError: if something given makes no sense
        """
        recording = self._recording(subject)
        _check_pixels(subject.encoder, recording)
        return recording

    def _recording(self, subject: Subject) -> Recording:
        if self.data is not None:
            return load_recording(self.data)
        if self.policy == "model" and subject.model is None:
            raise ValueError(f"{self.run} holds an encoder without a model, which cannot act: leave --policy at random.")
        env = make_environment(
            self.env or read_config(self.folder).get("env"),
            self.env_factory,
            json_object(self.env_kwargs, "--env-kwargs", '{"size": 64}'),
        )
        try:
            stack = frame_stack(subject.encoder.observation_space, env)
            with untouched_randomness():
                actor = None if subject.model is None or self.policy == "random" else _actor(subject.model, self.seed)
                return record(env, self.frames, labels=self.labels, policy=actor, stack=stack, seed=self.seed)
        finally:
            env.close()


def _check_pixels(encoder: Encoder, recording: Recording) -> None:
    """An encoder of floats can be given uint8 images as well; unless its floats are as large, it would misread them."""
    space, frames = encoder.observation_space, recording.observations
    if isinstance(frames, dict) != encoder.is_dict:
        return  # which is said elsewhere
    for key, images in encoder.images(frames).items():  # type: ignore[arg-type]
        part = space[key] if isinstance(space, spaces.Dict) else space
        as_large = isinstance(part, spaces.Box) and part.low.min() == 0 and part.high.max() == 255
        if part.dtype != np.uint8 and images.dtype == np.uint8 and not as_large:
            raise ValueError(
                f"The encoder reads {part}, but the frames are uint8 images: make them as they were in training "
                "(--env-factory, --data). What VecNormalize did is not in a model's file: probe such a run in Python."
            )


def _actor(model: BaseAlgorithm, seed: int) -> Any:
    model.set_random_seed(seed)  # policies draw from the global generators
    # Recurrent policies act from an empty memory: good enough to bring frames in that the agent sees.
    return lambda observation: model.predict(observation, deterministic=False)[0]
