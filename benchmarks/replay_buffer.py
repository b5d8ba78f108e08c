"""
Memory and speed of buffers that store each frame once, beside Stable-Baselines3's and, where it is installed, the compressed
ones of sb3-extra-buffers (pip install "sb3-extra-buffers[zstd]").

    OMP_NUM_THREADS=1 python benchmarks/replay_buffer.py > benchmarks/replay_buffer.md

All buffers are filled with the same transitions until their rings have wrapped, and checked to give the same samples. Ways are
timed in turn, in one process, on one thread. The last line holds all figures as one JSON object.
"""

import argparse
import contextlib
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer

from cpc_rl.buffers import FrameStackReplayBuffer, FrameStackRolloutBuffer
from envs import make_vec_env

COMMAND = "OMP_NUM_THREADS=1 python benchmarks/replay_buffer.py > benchmarks/replay_buffer.md"
PEER = all(find_spec(name) for name in ("sb3_extra_buffers", "zstd"))
SIDE, CHANNELS, EPISODE = 84, 3, 200
STACKS = (3, 4)
BATCHES = (128, 512)
ACTIONS = spaces.Box(-1.0, 1.0, (3,), np.float32)
CODEC = "zstd" if find_spec("zstd") else "zlib"
SMALL = f"FrameStackReplayBuffer, {CODEC}"
SB3, OURS, EXTRA = "SB3", "FrameStackReplayBuffer", "sb3-extra-buffers, zstd-3"
Frames = tuple[np.ndarray, np.ndarray]
"""Frames (T + 1, C, H, W) of one environment, and (T + 1,) whether a frame begins an episode."""


def noise(n_frames: int) -> Frames:
    frames = np.random.default_rng(0).integers(0, 256, (n_frames, CHANNELS, SIDE, SIDE), dtype=np.uint8)
    return frames, np.arange(n_frames) % (EPISODE + 1) == 0


def car_racing(n_frames: int) -> Frames:
    """The fast picture, driven straight on with random steering; the environment ends episodes where it does."""
    envs = make_vec_env("CarRacing-v3", seed=0, vec="dummy", frame_stack=1, size=SIDE, grayscale=False)
    rng = np.random.default_rng(0)
    frames, begins = [envs.reset()[0]], [True]
    while len(frames) < n_frames:
        obs, _, dones, infos = envs.step(np.array([[rng.uniform(-0.4, 0.4), rng.uniform(0, 0.5), 0.0]], dtype=np.float32))
        if dones[0]:
            frames.append(infos[0]["terminal_observation"])
            begins.append(False)
        frames.append(obs[0])
        begins.append(bool(dones[0]))
    return np.stack(frames[:n_frames]), np.array(begins[:n_frames])


def as_observation(stack: np.ndarray) -> np.ndarray:
    """A view with the channels first of an array with the channels last, as VecTransposeImage gives it."""
    return np.ascontiguousarray(stack.reshape(1, -1, SIDE, SIDE).transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def stacks(frames: Frames, n_stack: int) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Stacked observations, the next ones, and whether an episode ended there: with the padding of VecFrameStack."""
    images, begins = frames
    stack = np.zeros((n_stack, CHANNELS, SIDE, SIDE), dtype=np.uint8)
    for i in range(len(images) - 1):
        if begins[i]:
            stack = np.zeros_like(stack)
            stack[-1] = images[i]
        if begins[i + 1]:
            continue
        following = np.concatenate((stack[1:], images[i + 1 : i + 2]))
        done = i + 2 < len(begins) and bool(begins[i + 2])
        yield as_observation(stack), as_observation(following), done
        stack = following


def make_buffers(n_stack: int, size: int) -> dict[str, Any]:
    space = spaces.Box(0, 255, (n_stack * CHANNELS, SIDE, SIDE), np.uint8)
    buffers: dict[str, Any] = {
        SB3: ReplayBuffer(size, space, ACTIONS, device="cpu"),
        OURS: FrameStackReplayBuffer(size, space, ACTIONS, device="cpu", n_stack=n_stack),
    }
    buffers[SMALL] = FrameStackReplayBuffer(size, space, ACTIONS, device="cpu", n_stack=n_stack, compression=CODEC)
    if PEER:
        with contextlib.redirect_stdout(sys.stderr):  # it says what it found
            from sb3_extra_buffers.compressed import CompressedReplayBuffer

        buffers[EXTRA] = CompressedReplayBuffer(size, space, ACTIONS, device="cpu", compression_method="zstd-3")
    return buffers


def n_bytes(buffer: Any) -> int:
    """What is stored: arrays, and Python objects in them."""
    if isinstance(buffer, FrameStackReplayBuffer | FrameStackRolloutBuffer):
        return buffer.nbytes
    arrays = [value for value in vars(buffer).values() if isinstance(value, np.ndarray)]
    objects = [o for array in arrays if array.dtype == object for o in array.reshape(-1)]
    return sum(array.nbytes for array in arrays) + sum(sys.getsizeof(o) for o in objects)


def in_turn(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """
    Median milliseconds of processor time of each way; on one thread of an idle machine that is the time on the wall. In every
    round each has its turn: a call that is not timed, since it pays for memory that the one before gave back to the system,
    and two that are.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            way()
            start = time.process_time()
            way()
            way()
            times[name].append(500 * (time.process_time() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def check_same(buffers: dict[str, Any]) -> None:
    samples = []
    for buffer in buffers.values():
        np.random.seed(0)
        samples.append(buffer.sample(64))
    for other in samples[1:]:
        for a, b in zip(samples[0], other, strict=True):
            if not (a is b is None or torch.equal(a, b)):
                raise RuntimeError("The buffers give other samples than Stable-Baselines3's.")


def replay(frames: Frames, n_stack: int, size: int, rounds: int, timed: bool) -> dict[str, dict[str, float]]:
    """Bytes per transition and milliseconds, by way of storing."""
    buffers = make_buffers(n_stack, size)
    added: dict[str, list[float]] = {name: [] for name in buffers}
    for obs, next_obs, done in stacks(frames, n_stack):
        for name, buffer in buffers.items():
            start = time.process_time()
            buffer.add(obs, next_obs, np.zeros((1, 3), np.float32), np.zeros(1), np.array([done]), [{}])
            added[name].append(1000 * (time.process_time() - start))
    if not all(buffer.full for buffer in buffers.values()):
        raise RuntimeError("The rings have not wrapped.")
    check_same(buffers)
    figures = {
        name: {"bytes": n_bytes(buffer) / size, "add": statistics.median(added[name])} for name, buffer in buffers.items()
    }
    for batch in BATCHES if timed else ():
        ways = {name: lambda b=buffer, n=batch: b.sample(n) for name, buffer in buffers.items()}
        for name, value in in_turn(ways, rounds).items():
            figures[name][f"sample {batch}"] = value
    return figures


def rollout(n_steps: int, n_envs: int, rounds: int) -> dict[str, dict[str, float]]:
    """One rollout at stack 4: bytes per transition, and milliseconds for all minibatches of 128."""
    space = spaces.Box(0, 255, (4 * CHANNELS, SIDE, SIDE), np.uint8)
    ours = "FrameStackRolloutBuffer"
    buffers: dict[str, Any] = {
        SB3: RolloutBuffer(n_steps, space, ACTIONS, "cpu", n_envs=n_envs),
        ours: FrameStackRolloutBuffer(n_steps, space, ACTIONS, "cpu", n_envs=n_envs, n_stack=4),
    }
    images = noise((n_steps + 3) * n_envs)[0].reshape(n_envs, -1, SIDE, SIDE)
    for i in range(n_steps):
        for buffer in buffers.values():
            obs = images[:, CHANNELS * i : CHANNELS * (i + 4)]
            buffer.add(obs, np.zeros((n_envs, 3)), *np.zeros((2, n_envs)), *torch.zeros(2, n_envs))
    used = {name: n_bytes(buffer) / (n_steps * n_envs) for name, buffer in buffers.items()}
    ways = {name: lambda b=buffer: sum(1 for _ in b.get(128)) for name, buffer in buffers.items()}
    times = in_turn(ways, rounds)
    return {name: {"bytes": used[name], "minibatches": times[name]} for name in buffers}


def table(figures: dict[str, dict[str, float]], columns: dict[str, str]) -> None:
    """Each figure, and in brackets how many times less it is than SB3's."""
    print(f"| | {' | '.join(columns.values())} |\n|---{'|---' * len(columns)}|")
    for name, row in figures.items():
        cells = [
            f"{row[key]:,.0f} ({figures[SB3][key] / row[key]:.2f}x)"
            if key == "bytes"
            else f"{row[key]:.3f} ({figures[SB3][key] / row[key]:.2f}x)"
            for key in columns
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small buffers and three rounds")
    quick = parser.parse_args().quick
    size, rounds, n_steps = (400, 3, 32) if quick else (3000, 40, 128)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sources = {"CarRacing": car_racing(size + size // 8), "noise": noise(size + size // 8)}
    peer = "The package sb3-extra-buffers, or its zstd, was not importable: no row for it."
    if PEER:
        peer = f"sb3-extra-buffers is version {version('sb3_extra_buffers')}."
    print("# Buffers that store each frame once\n")
    print(f"84 x 84 RGB, one environment, rings of {size} transitions, filled and wrapped; in brackets: how many times less")
    print(f"than SB3's buffer. Milliseconds are processor time, medians of {rounds} rounds in turn, on one thread of a")
    print(
        f"machine ({platform.machine()}, torch {torch.__version__}) that had other work too. Where SB3's time jumps from one"
    )
    print("batch size to the next, its arrays are too large for the allocator to keep: every sample pays for new pages.")
    print("All buffers gave the same samples. Bytes are those of the arrays and, for compressed ones, of the objects in them.")
    print(f"CarRacing is this project's fast picture; noise has episodes of {EPISODE} steps. {peer}\n")
    print(f"Command: `{COMMAND}`.\n")
    results: dict[str, Any] = {}
    for n_stack in STACKS:
        for source, frames in sources.items():
            timed = source == "CarRacing"
            print(f"## Replay buffer, stack {n_stack}, {source}\n")
            columns = {"bytes": "bytes per transition", "add": "add() of a step, ms"}
            if timed:
                columns |= {f"sample {batch}": f"sample({batch}), ms" for batch in BATCHES}
            figures = replay(frames, n_stack, size, rounds, timed)
            results[f"replay, stack {n_stack}, {source}"] = figures
            table(figures, columns)
    print(f"## Rollout buffer, stack 4, {n_steps} steps of 8 environments\n")
    results["rollout"] = rollout(n_steps, 8, max(rounds // 4, 2))
    table(results["rollout"], {"bytes": "bytes per transition", "minibatches": "all minibatches of 128, ms"})
    print(
        json.dumps(
            {key: {n: {k: round(v, 4) for k, v in r.items()} for n, r in rows.items()} for key, rows in results.items()}
        )
    )


if __name__ == "__main__":
    main()
