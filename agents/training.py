"""The callback that runs beside the training: progress, evaluations, checkpoints, and an orderly stop."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from agents.checkpoints import Progress, save_checkpoint
from agents.configuration import RunConfiguration
from agents.evaluation import PERIODIC_SEEDS, Evaluator
from agents.logs import pending_scalars, write_scalars
from agents.run_folder import RunFolder

# Seconds between two drawings of the progress bar. In a file each leaves a line, and a grid's runs write files.
BAR_SECONDS = 0.1
LOGGED_BAR_SECONDS = 2.0


class Stopped(Exception):
    """The user asked for an end; a checkpoint was written."""


class RunCallback(BaseCallback):
    """
    Evaluates and checkpoints at the first start of a rollout at or after each multiple of ``eval_freq``.

    Nothing is half done there, and the policy is the one that the next rollout is made with.

    It comes after the callbacks that train, so that what they do between rollouts is in the checkpoint.

    :param folder: where to write
    :param configuration: of the run
    :param evaluator: plays the episodes
    :param progress: of the checkpoint that the run goes on from; ``None`` for a new run
    """

    def __init__(self, folder: RunFolder, configuration: RunConfiguration, evaluator: Evaluator, progress: Progress | None):
        super().__init__()
        self.folder, self.configuration, self.evaluator = folder, configuration, evaluator
        self.next_evaluation = next_multiple(progress.timesteps, configuration.eval_freq) if progress else 0
        self.wall_seconds = progress.wall_seconds if progress else 0.0
        self.saved = progress.timesteps if progress else None  # agent steps of the newest checkpoint
        self.clock: float | None = None  # when the training went on after the last pause
        self.stop = False
        self.bar: tqdm | None = None

    def _on_training_start(self) -> None:
        total = self.configuration.timesteps
        self.bar = tqdm(
            total=total,
            initial=min(self.num_timesteps, total),
            unit="step",
            dynamic_ncols=True,
            smoothing=0.05,
            mininterval=BAR_SECONDS if sys.stderr.isatty() else LOGGED_BAR_SECONDS,
            file=sys.stderr,
        )
        self.clock = time.monotonic()

    def _on_rollout_start(self) -> None:
        due = self.num_timesteps >= self.next_evaluation
        if due or self.stop:
            self.pause(evaluate=due)
        if self.stop:
            raise Stopped

    def _on_step(self) -> bool:
        if self.bar is not None:
            self.bar.update(min(self.training_env.num_envs, self.bar.total - self.bar.n))
        return True

    def _on_rollout_end(self) -> None:
        frame_skip = self.configuration.recipe.environment.frame_skip
        self.logger.record("time/frames", self.num_timesteps * frame_skip, exclude="stdout")

    def pause(self, evaluate: bool) -> None:
        """Stop the clock of the training, evaluate if it is time, and write a checkpoint."""
        began = time.monotonic()
        if self.clock is not None:
            self.wall_seconds += began - self.clock
        if evaluate:
            self._evaluate()
        self.next_evaluation = next_multiple(self.num_timesteps, self.configuration.eval_freq)
        write_scalars(self.logger, {}, self.num_timesteps)  # nothing else, but what was written before reaches the file
        progress = Progress(self.num_timesteps, self.wall_seconds, self.folder.log_lengths(), pending_scalars(self.logger))
        save_checkpoint(self.folder.checkpoints, self.model, progress)
        self.saved = self.num_timesteps
        self.clock = time.monotonic()
        if self.bar is not None:  # its estimate is of the training's speed
            self.bar.start_t += self.clock - began
            self.bar.last_print_t += self.clock - began

    def _evaluate(self) -> None:
        episodes = self.configuration.eval_episodes
        returns, lengths = self.evaluator.evaluate(self.model, range(PERIODIC_SEEDS, PERIODIC_SEEDS + episodes))
        row: dict[str, Any] = {
            "timesteps": self.num_timesteps,
            "mean_return": round(float(np.mean(returns)), 4),
            "std_return": round(float(np.std(returns)), 4),
            "episodes": episodes,
            "wall_seconds": round(self.wall_seconds, 2),
        }
        scalars = {
            "eval/mean_reward": float(np.mean(returns)),
            "eval/std_reward": float(np.std(returns)),
            "eval/mean_ep_length": float(np.mean(lengths)),
        }
        write_scalars(self.logger, scalars, self.num_timesteps)
        self.folder.add_evaluation(row)
        if self.bar is not None:
            self.bar.set_postfix_str(f"return {row['mean_return']:.1f}")

    def close(self) -> None:
        """Leave the terminal's line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within this block the first Ctrl-C asks for a checkpoint at the next occasion, and the second ends at once."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self.stop:
                raise KeyboardInterrupt
            self.stop = True
            tqdm.write("Stopping at the end of this rollout and update; Ctrl-C again stops at once.", file=sys.stderr)

        before = signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def next_multiple(timesteps: int, freq: int) -> int:
    """The smallest multiple of ``freq`` above ``timesteps``."""
    return (timesteps // freq + 1) * freq
