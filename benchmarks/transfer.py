"""
Does an encoder that was trained without reward help PPO? From scratch, fine-tuned, frozen, and what could explain it away.

    python -m benchmarks.transfer --work runs/transfer --out benchmarks/results/transfer

Frames of a random policy, other seeds than the agents'; a pre-training; PPO's recipe without a head, each run a process of
``train_agent.py``. What is there already is not made again, so that the command can be given any number of times, in pieces
(--seeds, --arms, --minutes), and ends in the report of the runs that are finished. "random" is a fresh encoder, "shuffled" one
that was trained as long with wrong positives.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from agents.recipe import load_recipe
from benchmarks.transfer_encoders import make_encoder
from benchmarks.transfer_report import report
from envs import register_envs

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class TransferArm:
    """
    :param source: of the encoder, a name of ``transfer_encoders.SOURCES``
    :param flags: of ``train_agent.py``, which say what becomes of it
    """

    source: str
    flags: tuple[str, ...] = ()


FROZEN = ("--encoder-train", "frozen")
ARMS: dict[str, TransferArm | None] = {  # by the names that train_agent.py gives them
    "none": None,
    "none@atc": TransferArm("atc"),
    "none@atc-frozen": TransferArm("atc", FROZEN),
    "none@random-frozen": TransferArm("random", FROZEN),
    "none@shuffled": TransferArm("shuffled"),
    "none@atc-lr0.1": TransferArm("atc", ("--lr-scale", "0.1")),
    "none@atc-frozen-10000": TransferArm("atc", (*FROZEN, "--unfreeze-at", "10000")),
    "none@cpc": TransferArm("cpc"),
    "none@cpc-frozen": TransferArm("cpc", FROZEN),
}
DEFAULT_ARMS = list(ARMS)[:5]


def train(env_id: str, name: str, seed: int, encoder: Path | None, work: Path, further: list[str]) -> bool:
    """
    Bring one run to its end.

    :param encoder: that it starts from; ``None`` from scratch
    :return: whether it was not finished before
    """
    arm = ARMS[name]
    folder = work / "runs" / env_id / f"ppo-{name}" / f"seed-{seed}"
    if (folder / "results.json").is_file():
        return False
    words = ["--env", env_id, "--algo", "ppo", "--objective", "none", "--seeds", str(seed), "--vec", "dummy"]
    if arm is not None:
        words += ["--encoder", os.path.relpath(str(encoder), ROOT), "--encoder-name", arm.source, *arm.flags]
    command = ["train_agent.py", *words, "--log-dir", os.path.relpath(work / "runs", ROOT), "--device", "cpu", *further]
    command += ["--jobs", str(os.cpu_count() or 1)]  # so that evaluations keep to one process as well
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"python {' '.join(command)} ended with status {done.returncode}: {done.stderr[-2000:]}")
    return True


def work_through(arguments: argparse.Namespace) -> None:
    """Make what is missing, encoders first, then runs with the seeds in the outer loop, until the minutes are used up."""
    began = time.monotonic()
    training: dict[str, Any] = {"steps": arguments.steps, "batch_size": arguments.batch_size, "verbose": 0, "probe_frames": 0}
    training["warmup"] = arguments.steps // 3  # 500, with which the table was made
    encoders: dict[tuple[str, str, int], Path | None] = {}
    todo = [(seed, env_id, name) for seed in arguments.seeds for env_id in arguments.env for name in arguments.arms]
    for train_it in (False, True):
        for seed, env_id, name in todo:
            if time.monotonic() - began > 60 * arguments.minutes:
                print("The minutes are used up; the same command goes on.", file=sys.stderr)
                return
            arm, place = ARMS[name], arguments.work / "encoders" / env_id
            if not train_it:
                number, recipe = seed % arguments.encoders, load_recipe(env_id, "ppo")
                encoders[env_id, name, seed] = (
                    make_encoder(env_id, recipe, arm.source, place, number, arguments.frames, training) if arm else None
                )
                continue
            since = time.monotonic()
            if train(env_id, name, seed, encoders[env_id, name, seed], arguments.work, arguments.further):
                took = time.monotonic() - since
                print(f"{env_id} {name} seed {seed}: {took:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", default=["PixelCartPole-v0", "PixelCatch-v0", "PixelCartPoleNoise-v0"])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=DEFAULT_ARMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--work", type=Path, default=Path("runs/transfer"), help="frames, encoders and runs")
    parser.add_argument("--out", type=Path, help="tables and figures; default: WORK/report")
    parser.add_argument("--frames", type=int, default=20_000, help="of the random policy")
    parser.add_argument("--steps", type=int, default=1_500, help="of the pre-training")
    parser.add_argument("--batch-size", type=int, default=128, help="of the pre-training")
    parser.add_argument("--encoders", type=int, default=1, help="of each kind; seed s starts from number s modulo this")
    parser.add_argument("--minutes", type=float, default=1e9, help="after which nothing new is begun")
    parser.add_argument("--further", nargs=argparse.REMAINDER, default=[], help="last: more flags of train_agent.py")
    parser.add_argument("--no-report", action="store_true", help="train only, as beside other pieces of the same benchmark")
    parser.add_argument("--quick", action="store_true", help="a few steps of everything, to see that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.env, arguments.seeds, arguments.frames, arguments.steps = ["PixelCatch-v0"], [0, 1], 600, 5
        arguments.batch_size = 32
        arguments.further = ["--timesteps", "2048", "--eval-freq", "1024", "--eval-episodes", "1"]
    torch.set_num_threads(1)
    register_envs()
    arguments.work = arguments.work.resolve()
    work_through(arguments)
    if not arguments.no_report and (arguments.work / "runs").is_dir():
        print(report(arguments.work, arguments.out or arguments.work / "report"))


if __name__ == "__main__":
    main()
