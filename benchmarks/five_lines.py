"""
The README's five lines, as they stand there: Stable-Baselines3's own PPO, all settings its defaults, one environment, rewards
as they come, with a head and without.

    OMP_NUM_THREADS=1 python -m benchmarks.five_lines --arms none cpc --seeds 0 1 2 --out DIR

``DIR/episodes-ARM-SEED.csv`` gets every training episode's end and return. The last line holds all figures as one JSON object.
"""

import argparse
import csv
import json
import statistics
import time
from pathlib import Path

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.evaluation import evaluate_policy

from agents.memory import keep_freed_memory
from cpc_rl import ContrastiveCallback
from envs import make_vec_env

PIXELS = {"frame_skip": 1, "frame_stack": 4, "size": 48, "grayscale": True}
ARMS = ("none", "cpc", "curl", "shuffled")


class Episodes(BaseCallback):
    """Notes the agent step at which each training episode ended, and what it returned."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.ended.append((self.num_timesteps, float(info["episode"]["r"])))
        return True


def train(env_id: str, arm: str, seed: int, timesteps: int) -> tuple[list[tuple[int, float]], dict[str, float]]:
    """Every training episode, and the figures of the run."""
    env, test = (make_vec_env(env_id, 1, s, vec="dummy", **PIXELS) for s in (seed, 10_000 + seed))
    model = PPO("CnnPolicy", env, seed=seed)
    episodes = Episodes()
    callbacks: list[BaseCallback] = [episodes]
    if arm != "none":
        objective = "cpc" if arm == "shuffled" else arm
        callbacks.append(ContrastiveCallback(objective, {"shuffled": True} if arm == "shuffled" else None))
    began = time.perf_counter()
    model.learn(timesteps, callback=CallbackList(callbacks))
    seconds = time.perf_counter() - began
    final, _ = evaluate_policy(model, test, n_eval_episodes=20)
    env.close()
    test.close()
    lengths = [after - before for (before, _), (after, _) in zip([(0, 0.0), *episodes.ended], episodes.ended, strict=False)]
    over = sum(n * r for n, (_, r) in zip(lengths, episodes.ended, strict=True)) / sum(lengths)
    return episodes.ended, {
        "over_training": round(over, 2),
        "final": round(float(final), 2),
        "minutes": round(seconds / 60, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="PixelCartPole-v0")
    parser.add_argument("--arms", nargs="+", default=["none", "cpc"], choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--timesteps", type=int, default=60_000)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    arguments.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, list[dict[str, float]]] = {arm: [] for arm in arguments.arms}
    print("| arm | seed | mean return over the training's steps | final, 20 episodes | minutes |\n|---|---|---|---|---|")
    for seed in arguments.seeds:
        for arm in arguments.arms:
            ended, row = train(arguments.env, arm, seed, arguments.timesteps)
            figures[arm].append({"seed": seed, **row})
            with open(arguments.out / f"episodes-{arm}-{seed}.csv", "w", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows([("timesteps", "return"), *ended])
            print(f"| `{arm}` | {seed} | {row['over_training']} | {row['final']} | {row['minutes']} |", flush=True)
    means = {arm: round(statistics.mean(row["over_training"] for row in rows), 2) for arm, rows in figures.items()}
    print(json.dumps({"benchmark": "five_lines", "env": arguments.env, "mean_over_training": means, "runs": figures}))


if __name__ == "__main__":
    main()
