"""
Runs of one's own scripts, and of RL Zoo: what Stable-Baselines3's ``EvalCallback`` leaves behind.

It writes ``evaluations.npz`` into its ``log_path``. A run is a folder with that file, at any depth below
``<log-dir>/<env>/<arm>/``: ``none/seed-0`` and ``cpc/seed-0`` of a script, ``cpc/ppo/CarRacing-v3_1`` of RL Zoo.
"""

import re
import zipfile
from pathlib import Path

import numpy as np

from cpc_rl.evaluation.arm_names import PLAIN_ARMS
from cpc_rl.evaluation.table import Run, checked_run

FILE = "evaluations.npz"
ALGORITHMS = (  # in lower case; RL Zoo calls RecurrentPPO ppo_lstm
    *("ppo", "a2c", "dqn", "sac", "td3", "ddpg"),
    *("qrdqn", "tqc", "trpo", "recurrentppo", "ppo_lstm", "maskableppo", "crossq"),
)
UNNAMED = "agent"  # an algorithm that no folder's name tells


def holds_evaluations(folder: Path) -> bool:
    """Whether a folder is an environment's: one of its own folders is plain training's, or another arm's without a head."""
    arms = (child for child in folder.glob("*") if split_name(child.name)[1] in PLAIN_ARMS)
    return any(True for arm in arms for _ in arm.rglob(FILE))


def read_evaluations(folder: Path) -> list[Run]:
    """
    All such runs of one environment. What they are called is taken from the folders; the last evaluation counts as final.

    :param folder: ``<log-dir>/<env>``, in which each folder is an arm's, called ``ARM`` or ``ALGO-ARM``
    :raises ValueError: a file of theirs cannot be read
    """
    runs: list[Run] = []
    env = folder.resolve().name  # of "." too
    for place in sorted({file.parent for file in folder.glob(f"*/**/{FILE}") if not _in_own_run(file, folder)}):
        arm_folder, *between = place.relative_to(folder).parts
        algorithm, arm = split_name(arm_folder)
        algorithm = algorithm or next((name for name in between if name.lower() in ALGORITHMS), UNNAMED)
        taken = {run.seed for run in runs if (run.algorithm, run.arm) == (algorithm, arm)}
        numbered = re.search(r"\d+$", place.name)
        seed = int(numbered.group()) if numbered else 0
        if seed in taken:
            seed = max(taken) + 1
        rows = _read_rows(place / FILE)
        run = Run(place, env, algorithm, arm, seed, "finished", rows=rows, final=rows[-1], own_final=False)
        runs.append(checked_run(run))
    return runs


def _in_own_run(file: Path, folder: Path) -> bool:
    """Whether ``train_agent.py`` wrote the run down, in this file's folder or above."""
    between = [parent for parent in file.parents if parent.is_relative_to(folder) and parent != folder]
    return any((parent / "config.yaml").exists() for parent in between)


def split_name(name: str) -> tuple[str, str]:
    """``("ppo", "aug+cpc")`` of ``ppo-aug+cpc``, and ``("", "cpc")`` of ``cpc``: algorithm and arm of a folder's name."""
    algorithm, hyphen, arm = name.partition("-")
    return (algorithm, arm) if hyphen and arm and algorithm.lower() in ALGORITHMS else ("", name)


def _read_rows(file: Path) -> tuple[dict[str, float], ...]:
    """A row for each evaluation. There is no wall time in the file, so there is none here."""
    try:
        with np.load(file, allow_pickle=False) as content:
            timesteps, results = content["timesteps"], content["results"]
        rows = {
            float(steps): {
                "timesteps": float(steps),
                "mean_return": float(np.mean(returns)),
                "std_return": float(np.std(returns)),
                "episodes": float(len(returns)),
            }
            for steps, returns in zip(timesteps, results, strict=True)
        }
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{file} is not what EvalCallback writes, or is being written: {' '.join(str(error).split())}."
        ) from None
    if not rows:
        raise ValueError(f"{file} holds no evaluation.")
    return tuple(rows[steps] for steps in sorted(rows))
