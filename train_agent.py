"""
Train an agent from pixels: ``python train_agent.py --env CarRacing-v2``.

Picks the recipe, trains with a progress bar, logs to TensorBoard, evaluates, checkpoints, and ends with the model, its
encoder, a video and the learning curve.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agents.command_line import parse_arguments, typed_command
from agents.errors import UserError


@dataclass(frozen=True)
class Arguments:
    """Train an agent from pixels; whatever is not said comes from the recipe in agents/recipes."""

    env: str | None = None
    """A Gymnasium id with image observations, such as CarRacing-v2; with --pixels any that can be rendered."""
    algo: str | None = None
    """An algorithm of Stable-Baselines3 or sb3-contrib, its class name in any case."""
    objective: tuple[str, ...] | None = None
    """One or several arms: none, aug, compute, shuffled, cpc, curl, aug+cpc, shuffled+cpc, compute+spr."""
    seeds: tuple[int, ...] | None = None
    """One or several; default 0. All arms are trained with each."""
    timesteps: int | None = None
    """Agent steps, summed over the environments."""
    n_envs: int | None = None
    """Environments to train in."""
    pixels: bool = False
    """Train on the rendered picture of an environment that observes no image."""
    render: Literal["fast", "stock"] | None = None
    """Which CarRacing picture to train on; evaluation always sees the stock one."""
    precision: Literal["float32", "bf16"] | None = None
    """What the features extractor computes in; bf16 is faster where the processor has instructions for it."""
    eval_freq: int | None = None
    """Agent steps between evaluations; default: as often as the recipe says, mostly a dozen times over the run."""
    eval_episodes: int | None = None
    """Episodes of each evaluation. The last one, on unseen episodes, is the recipe's, or as many if this is given."""
    encoder: Path | None = None
    """Start from the encoder in this encoder.safetensors; the arms, and with them the folders, are then called ARM@NAME."""
    encoder_name: str | None = None
    """NAME; default: the file's, or its folder's if it is called encoder.safetensors (of a run: its arm's and seed's)."""
    encoder_train: Literal["fine-tune", "frozen"] | None = None
    """Train the loaded encoder like the rest of the agent (the default), or leave it as it is."""
    unfreeze_at: int | None = None
    """Agent steps from which a frozen encoder is trained after all."""
    lr_scale: float | None = None
    """Multiplies the loaded encoder's steps while it is trained."""
    log_dir: Path | None = None
    """Where the runs' folders go; default runs."""
    resume: Path | None = None
    """Go on with the run in this folder; only --device and --vec may be given besides."""
    overwrite: bool = False
    """Replace a run folder that was made before, finished or with another configuration."""
    device: str = "auto"
    """torch's name of a device."""
    vec: Literal["auto", "dummy", "subproc", "envpool"] = "auto"
    """Step the training environments in this process (dummy), in one each (subproc) or in EnvPool (say it to --resume too)."""
    jobs: int | None = None
    """Runs at a time, each in a process of its own; default 1, with --ray as many as it has room for. If several, each has one
    thread."""
    ray: bool = False
    """Run on Ray: on the cluster at RAY_ADDRESS, whose nodes share a disk and have these packages, or on this machine."""
    cpus: int | None = None
    """With --ray, the CPUs of each run: its threads, and its processes for evaluations; default 1."""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: arguments; the process's own if ``None``
    :return: exit status: 0 done, 1 a run of several has failed, 2 what was asked for cannot be done, 130 stopped by the user
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = parse_arguments(Arguments, argv)
        # Only now what takes seconds to import, so that --help and a mistyped flag are answered at once.
        from agents.grid import run_all

        return run_all(arguments, typed_command(argv))
    except UserError as error:
        print(f"train_agent.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        from cpc_rl.file_errors import file_error

        told = file_error(error)
        if told is None:
            raise
        print(f"train_agent.py: {told}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("train_agent.py: stopped; the same command goes on from the newest checkpoint.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
