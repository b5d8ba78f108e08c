"""
What shared passes and keys from the rollout do to learning: PPO and DQN on PixelCartPole, mean return of training episodes.

    OMP_NUM_THREADS=1 python -m benchmarks.sharing_learning --out benchmarks/results/sharing > benchmarks/sharing_learning.md

Each run's line is written to ``runs.csv`` in that folder when it ends; a run that is there is not run again. The area under
the curve is the mean over the training's agent steps of the return of the episode that the step belongs to.
"""

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from agents.arms import parse_arm
from agents.build import build_model, environment_keywords
from agents.recipe import load_recipe
from cpc_rl import ContrastiveCallback
from envs import make_vec_env, register_envs
from envs.reward import ScaledReward

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.sharing_learning --out benchmarks/results/sharing"
ARMS: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "cpc, own passes": {"objective": "cpc", "share_passes": False},
    "cpc, shared passes": {"objective": "cpc", "rollout_keys": False},
    "cpc, keys of the rollout": {"objective": "cpc"},
    "plain, twice the epochs": None,
    "cpc shuffled, keys of the rollout": {"objective": "cpc", "objective_kwargs": {"shuffled": True}},
    "cpc, keys of a target copied every 10,000 steps": {"objective": "cpc"},
}
ALGORITHMS = {"ppo": list(ARMS)[:6], "dqn": [*list(ARMS)[:3], list(ARMS)[6]]}
FIELDS = ["algorithm", "env", "arm", "seed", "area", "last", "seconds"]


class Episodes(BaseCallback):
    """Returns and lengths of all episodes, as the monitors report them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[float, int]] = []

    def _on_step(self) -> bool:
        self.found += [(i["episode"]["r"], i["episode"]["l"]) for i in self.locals["infos"] if "episode" in i]
        return True


def run(algorithm: str, env: str, arm: str, seed: int, timesteps: int, *, raw_rewards: bool = False) -> dict[str, Any]:
    """Train once, on rewards scaled as the recipe says, or on the raw ones."""
    recipe = load_recipe(env, algorithm)
    vec_env = make_vec_env(env, recipe.n_envs, seed, vec="dummy", **environment_keywords(recipe, pixels=False))
    if not raw_rewards:
        vec_env = ScaledReward(vec_env, recipe.reward_scale)
    model = build_model(recipe, vec_env, parse_arm("none", recipe.objective), seed, "cpu", timesteps=timesteps)
    if arm.endswith("10,000 steps"):
        model.target_update_interval = max(10_000 // recipe.n_envs, 1)  # type: ignore[attr-defined]
    if arm.endswith("twice the epochs"):
        model.n_epochs *= 2  # type: ignore[attr-defined]
    model.set_logger(configure(None, []))
    episodes, settings = Episodes(), ARMS[arm]
    head = [] if settings is None else [ContrastiveCallback(seed=seed, **settings)]
    began = time.process_time()
    model.learn(timesteps, callback=[*head, episodes])
    returns, lengths = (np.array(column, dtype=float) for column in zip(*episodes.found, strict=True))
    late = np.cumsum(lengths) > 0.8 * lengths.sum()
    return {
        "algorithm": algorithm,
        "env": env,
        "arm": arm,
        "seed": seed,
        "area": round(float((returns * lengths).sum() / lengths.sum()), 2),
        "last": round(float((returns * lengths)[late].sum() / lengths[late].sum()), 2),
        "seconds": round(time.process_time() - began),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--algo", nargs="+", default=list(ALGORITHMS))
    parser.add_argument("--env", nargs="+", default=["PixelCartPole-v0", "PixelCartPoleNoise-v0"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--timesteps", type=int, default=60_000)
    parser.add_argument(
        "--raw-rewards", action="store_true", help="leave the recipe's reward scale out: a far weaker baseline"
    )
    parser.add_argument("--quick", action="store_true", help="2,000 steps, one seed")
    arguments = parser.parse_args()
    register_envs()
    timesteps, seeds = (2_000, [0]) if arguments.quick else (arguments.timesteps, arguments.seeds)
    file = arguments.out / "runs.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = list(csv.DictReader(file.open())) if file.exists() else []
    done = {(r["algorithm"], r["env"], r["arm"], int(r["seed"])) for r in rows}
    for seed in seeds:
        for env in arguments.env:
            for algorithm in arguments.algo:
                for arm in ALGORITHMS[algorithm]:
                    if (algorithm, env, arm, seed) in done:
                        continue
                    row = run(algorithm, env, arm, seed, timesteps, raw_rewards=arguments.raw_rewards)
                    new = not file.exists()
                    with file.open("a", newline="") as stream:
                        writer = csv.DictWriter(stream, FIELDS)
                        if new:
                            writer.writeheader()
                        writer.writerow(row)
                    rows.append({name: str(value) for name, value in row.items()})
    print("# Shared passes and learning\n")
    print(f"Area under the curve of the training returns (and the last fifth's mean); {timesteps:,} agent steps.\n")
    print(f"    {COMMAND}\n\n| algorithm | environment | arm | each seed's area | mean area | last fifth | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for algorithm, env, arm in dict.fromkeys((r["algorithm"], r["env"], r["arm"]) for r in rows):
        own = [r for r in rows if (r["algorithm"], r["env"], r["arm"]) == (algorithm, env, arm)]
        areas = ", ".join(f"{float(r['area']):.0f}" for r in own)
        mean, last, seconds = (np.mean([float(r[name]) for r in own]) for name in ("area", "last", "seconds"))
        print(f"| {algorithm} | {env} | {arm} | {areas} | {mean:.0f} | {last:.0f} | {seconds:.0f} |")
    print(
        "\n"
        + json.dumps(
            {"benchmark": "sharing_learning", "timesteps": timesteps, "raw_rewards": arguments.raw_rewards, "runs": rows}
        )
    )


if __name__ == "__main__":
    main()
