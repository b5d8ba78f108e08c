"""
Whether and why a head hurts: PPO on MiniGrid from pixels, with what the update itself looked like.

    OMP_NUM_THREADS=1 python -m benchmarks.minigrid_doorkey --out benchmarks/results/minigrid --arms plain cpc --seeds 0 1 2

Each run's row is written to ``runs.csv`` in that folder when it ends, its curve and the update's figures to ``curves.csv``; a
run that is there is not run again. ``area`` is the mean over the training's agent steps of the return of the episode that the
step belongs to (rewards are not scaled: PixelCartPole is the one of ``benchmarks/sharing_learning.md`` on raw rewards),
``steps to .8`` the agent steps after which 100 episodes in a row returned .8 on average.
"""

import argparse
import csv
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.logger import KVWriter, Logger

from agents.arms import parse_arm
from agents.build import build_model, environment_keywords
from agents.recipe import load_recipe
from benchmarks.sharing_learning import Episodes
from cpc_rl import ContrastiveCallback
from cpc_rl.encoder import Encoder
from cpc_rl.objectives import CPC
from cpc_rl.sampling import Windows
from cpc_rl.shared import Shared
from envs import make_vec_env


class NextKeysCPC(CPC):
    """CPC whose shared keys are the later frames alone: frame 0, which may be the same picture, is no negative."""

    def _shared_forward(
        self, encoder: Encoder, windows: Windows, shared: Shared
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        assert self.steps == 1 and shared.next_keys is not None
        contexts = self.context(shared.anchors[:, None], windows.actions[:, :0])
        keys = self.projection(shared.next_keys)
        targets = torch.arange(len(keys), device=keys.device)
        anchors_at, keys_at = self.origin(windows, 0, 1), self.origin(windows, 1, 2)
        return self.result([self.contrast(self.W[0](contexts[:, 0]), keys, anchors_at, keys_at, targets)])


MASKED = {"negatives": {"mask_duplicates": True}}  # keys that show what the positive shows are no negatives
HELD = {"coef": "ratio"}  # the default before "auto" looked at what the head knows
ARMS: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "cpc": {},
    "curl": {"objective": "curl"},
    "cpc shuffled": {"objective_kwargs": {"shuffled": True}},
    "cpc, held ratio": HELD,
    "curl, held ratio": {"objective": "curl", **HELD},
    "cpc shuffled, held ratio": {"objective_kwargs": {"shuffled": True}, **HELD},
    "cpc, duplicates masked": {"objective_kwargs": MASKED, **HELD},
    "cpc, next frames alone": {"objective": NextKeysCPC, **HELD},
    "cpc ratio .3": {"gradient_ratio": 0.3, **HELD},
    "cpc ratio .3, duplicates masked": {"gradient_ratio": 0.3, "objective_kwargs": MASKED, **HELD},
    "cpc, fresh keys, duplicates masked": {"rollout_keys": False, "objective_kwargs": MASKED, **HELD},
    "cpc, actions, duplicates masked": {"objective_kwargs": {"actions": True, **MASKED}, **HELD},
    "curl not augmented": {"objective": "curl", "objective_kwargs": {"augment": None}},
}
RUN_FIELDS = ["env", "arm", "seed", "timesteps", "area", "last", "steps_to_80", "seconds"]
CURVE_FIELDS = ["env", "arm", "seed", "step", "return", "length"]
FIGURES = {  # name in the table -> what is logged
    "entropy": "train/entropy_loss",
    "approx_kl": "train/approx_kl",
    "clip_fraction": "train/clip_fraction",
    "explained_variance": "train/explained_variance",
    "accuracy": "contrastive/{objective}/accuracy",
    "mi_lower_bound": "contrastive/{objective}/mi_lower_bound",
    "gradient_ratio": "contrastive/gradient_ratio",
    "coef": "contrastive/coef",
    "effective_rank": "representation/effective_rank",
}
NORMS = ["norm", "norm_encoder", "norm_rest", "clipped", "feature_norm"]


class Recorder(KVWriter):
    """Keeps what Stable-Baselines3's logger is told."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, Any]]] = []

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        self.rows.append((step, {key: value for key, value in key_values.items() if np.isscalar(value)}))

    def close(self) -> None:
        pass


class Norms:
    """
    Norms of the gradient as the algorithm's clipping finds it: whole, of the encoder, of all else (policy and value).

    ``clipped`` is the factor that the clipping multiplies the gradient by: the smaller, the less of the agent's own is left.
    ``feature_norm`` is the mean length of the minibatch's feature vectors.
    """

    def __init__(self, encoder: torch.nn.Module) -> None:
        self.encoder = {id(p) for p in encoder.parameters()}
        self.rows: list[list[float]] = []
        self.feature_norm = 0.0
        encoder.register_forward_hook(self._look)

    def _look(self, module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if torch.is_grad_enabled():
            self.feature_norm = float(output.detach().norm(dim=1).mean())

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Stands in for torch's clipping as long as it lasts."""
        original = torch.nn.utils.clip_grad_norm_

        def clip(parameters: Any, max_norm: float, *args: Any, **kwargs: Any) -> torch.Tensor:
            parameters = list(parameters)
            own = [p.grad.norm() for p in parameters if p.grad is not None and id(p) in self.encoder]
            rest = [p.grad.norm() for p in parameters if p.grad is not None and id(p) not in self.encoder]
            norm = original(parameters, max_norm, *args, **kwargs)
            parts = [float(torch.stack(part).norm()) for part in (own, rest)]
            self.rows.append([float(norm), *parts, min(1.0, max_norm / (float(norm) + 1e-6)), self.feature_norm])
            return norm

        torch.nn.utils.clip_grad_norm_ = clip
        try:
            yield
        finally:
            torch.nn.utils.clip_grad_norm_ = original


def run(env: str, arm: str, seed: int, timesteps: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """
    Train once.

    :return: the run's row, and the rows of its curve: one for each tenth of the training
    """
    recipe = load_recipe(env, "ppo")
    vec_env = make_vec_env(env, recipe.n_envs, seed, vec="dummy", **environment_keywords(recipe, pixels=False))
    model: Any = build_model(recipe, vec_env, parse_arm("none", recipe.objective), seed, "cpu", timesteps=timesteps)
    recorder, episodes, norms = Recorder(), Episodes(), Norms(model.policy.features_extractor)
    model.set_logger(Logger(None, [recorder]))
    settings = ARMS[arm]
    head = [] if settings is None else [ContrastiveCallback(seed=seed, **settings)]
    began = time.process_time()
    with norms.watched():
        model.learn(timesteps, callback=[*head, episodes], log_interval=1)
    vec_env.close()
    returns, lengths = (np.array(column, dtype=float) for column in zip(*episodes.found, strict=True))
    ends = np.cumsum(lengths)
    done = ends / ends[-1]
    weighted = returns * lengths
    window = np.convolve(returns, np.ones(100) / 100, "valid") if len(returns) >= 100 else np.zeros(0)
    reached = np.flatnonzero(window >= 0.8) if "MiniGrid" in env else []
    row = {
        "env": env,
        "arm": arm,
        "seed": seed,
        "timesteps": timesteps,
        "area": round(float(weighted.sum() / lengths.sum()), 4),
        "last": round(float(weighted[done > 0.8].sum() / lengths[done > 0.8].sum()), 4),
        "steps_to_80": int(ends[reached[0] + 99]) if len(reached) else "",
        "seconds": round(time.process_time() - began),
    }
    objective = "cpc" if settings is None else next(iter(head[0].settings.weights))
    gradients = np.array(norms.rows)
    curve = []
    for tenth in range(10):
        part = (done > tenth / 10) & (done <= (tenth + 1) / 10)
        said = [r for step, r in recorder.rows if tenth / 10 < step / timesteps <= (tenth + 1) / 10 + 1e-9]
        point: dict[str, Any] = {"env": env, "arm": arm, "seed": seed, "step": timesteps * (tenth + 1) // 10}
        point["return"] = round(float(weighted[part].sum() / lengths[part].sum()), 4) if part.any() else ""
        point["length"] = round(float(lengths[part].mean()), 1) if part.any() else ""
        for name, key in FIGURES.items():
            values = [r[key.format(objective=objective)] for r in said if key.format(objective=objective) in r]
            point[name] = f"{np.mean(values):.4g}" if values else ""
        chunk = gradients[len(gradients) * tenth // 10 : len(gradients) * (tenth + 1) // 10]
        point |= {name: f"{value:.4g}" for name, value in zip(NORMS, chunk.mean(axis=0), strict=True)}
        curve.append(point)
    return row, curve


def append(file: Path, fields: list[str], rows: list[dict[str, Any]]) -> None:
    """Add rows to a CSV file, with its header where it is new."""
    new = not file.exists()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, fields)
        if new:
            writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--env", default="MiniGrid-DoorKey-5x5-v0")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["plain", "cpc", "curl"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--timesteps", type=int, default=0, help="0: the recipe's")
    parser.add_argument("--quick", action="store_true", help="4,096 steps, one seed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    timesteps = arguments.timesteps or load_recipe(arguments.env, "ppo").timesteps
    timesteps, seeds = (4_096, [0]) if arguments.quick else (timesteps, arguments.seeds)
    file = arguments.out / "runs.csv"
    rows = list(csv.DictReader(file.open())) if file.exists() else []
    done = {(r["env"], r["arm"], int(r["seed"]), int(r["timesteps"])) for r in rows}
    for seed in seeds:
        for arm in arguments.arms:
            if (arguments.env, arm, seed, timesteps) in done:
                continue
            row, curve = run(arguments.env, arm, seed, timesteps)
            append(arguments.out / "curves.csv", [*CURVE_FIELDS, *FIGURES, *NORMS], curve)
            append(file, RUN_FIELDS, [row])
            rows.append({name: str(value) for name, value in row.items()})
    print("| environment | arm | each seed's area | mean area | last fifth | steps to .8 | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for env, arm in dict.fromkeys((r["env"], r["arm"]) for r in rows):
        own = [r for r in rows if (r["env"], r["arm"]) == (env, arm)]
        areas = ", ".join(f"{float(r['area']):.2f}" for r in own)
        reached = ", ".join(f"{int(r['steps_to_80']):,}" if r["steps_to_80"] else "-" for r in own)
        mean, last, seconds = (np.mean([float(r[name]) for r in own]) for name in ("area", "last", "seconds"))
        print(f"| {env} | {arm} | {areas} | {mean:.2f} | {last:.2f} | {reached} | {seconds:.0f} |")
    print("\n" + json.dumps({"benchmark": "minigrid_doorkey", "runs": rows}))


if __name__ == "__main__":
    main()
