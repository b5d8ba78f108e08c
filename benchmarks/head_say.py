"""
How much a head has to say in what the agent's optimiser does, next to the ratio that is held at the features.

    OMP_NUM_THREADS=1 python -m benchmarks.head_say > benchmarks/head_say.md

PPO trains with the recipe's settings and the arm ``cpc``. In every minibatch the agent's and the head's gradients of the
encoder's parameters are taken apart, and compared: as norms, as sums over some rollouts, and as the way that Adam goes for
each, with the momenta of both and the second moment of their sum, clipped as PPO clips. The last line holds all figures as
one JSON object.
"""

import argparse
import json
from typing import Any

import torch
from torch import Tensor, nn

from agents.memory import keep_freed_memory
from agents.recipe import load_recipe
from benchmarks.small_runs import recipe_training
from cpc_rl.injection import Injection
from cpc_rl.shared_pass import SharedPass

TASKS = ("PixelAcrobot-v0", "PixelCatchBackground-v0", "MiniGrid-Empty-Random-6x6-v0")
COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.head_say > benchmarks/head_say.md"
CLIP = 0.5  # SB3's max_grad_norm; here of the encoder's gradient alone
BETAS, EPSILON = (0.9, 0.999), 1e-5


class Ledger:
    """Sums of both gradients over ``every`` minibatches, and the row of figures that they come to."""

    def __init__(self, every: int) -> None:
        self.every, self.minibatches, self.rows = every, 0, list[dict[str, float]]()
        self.momenta: list[Tensor] = []
        self.second = torch.zeros(())
        self._begin()

    def _begin(self) -> None:
        self.at_features, self.norms = [0.0, 0.0], [0.0, 0.0]
        self.sums: list[Any] = [0.0, 0.0]
        self.ways: list[Any] = [0.0, 0.0]

    def add(self, at_features: tuple[float, float], gradients: tuple[Tensor, Tensor]) -> None:
        """
        :param at_features: norms of the agent's and of the head's gradient there
        :param gradients: of all of the encoder's parameters, as one vector each
        """
        together = gradients[0] + gradients[1]
        clip = min(1.0, CLIP / float(together.norm().clamp(min=1e-12)))
        if not self.momenta:
            self.momenta, self.second = [torch.zeros_like(g) for g in gradients], torch.zeros_like(together)
        self.second.mul_(BETAS[1]).addcmul_(clip * together, clip * together, value=1 - BETAS[1])
        for who, gradient in enumerate(gradients):
            self.momenta[who].mul_(BETAS[0]).add_(gradient, alpha=clip * (1 - BETAS[0]))
            self.at_features[who] += at_features[who]
            self.norms[who] += float(gradient.norm())
            self.sums[who] = self.sums[who] + gradient
            self.ways[who] = self.ways[who] + self.momenta[who] / (self.second.sqrt() + EPSILON)
        self.minibatches += 1
        if self.minibatches % self.every == 0:
            self._close()

    def _close(self) -> None:
        summed = [float(g.norm()) for g in self.sums]
        self.rows.append(
            {
                "features": self.at_features[1] / self.at_features[0],
                "parameters": self.norms[1] / self.norms[0],
                "summed": summed[1] / summed[0],
                "adam": float(self.ways[1].norm() / self.ways[0].norm()),
                "steady_agent": summed[0] / self.norms[0],
                "steady_head": summed[1] / max(self.norms[1], 1e-12),
                "cosine": float(torch.cosine_similarity(self.ways[0], self.ways[1], 0)),
            }
        )
        self._begin()


class Watched:
    """Stands between an injection and its method that joins the head's gradient to the features'."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.output, self.share, self.watch = ledger, torch.zeros(()), Injection._share, Injection._watch

    def on_output(self, injection: Injection, place: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if not injection.guard.busy and output.requires_grad:
            self.output = output
        self.watch(injection, place, module, inputs, output)

    def on_share(self, injection: Injection, shared_pass: SharedPass, output: Tensor, gradient: Tensor) -> Tensor | None:
        joined = self.share(injection, shared_pass, output, gradient)
        if joined is not None:
            parameters = injection.head.encoder_parameters
            parts = (gradient, joined - gradient)
            with injection.guard:
                both = [torch.autograd.grad(self.output, parameters, grad_outputs=g, retain_graph=True) for g in parts]
            agent, head = (torch.cat([g.flatten() for g in gradients]) for gradients in both)
            self.ledger.add((float(parts[0].norm()), float(parts[1].norm())), (agent, head))
        return joined


def measure(env: str, timesteps: int, every: int) -> list[dict[str, float]]:
    """Train, and return a row for every so many minibatches."""
    torch.set_num_threads(1)
    recipe, ledger = load_recipe(env, "ppo"), Ledger(every)
    model, callbacks, vec_env = recipe_training(recipe, env, "cpc", timesteps=recipe.timesteps)
    watched = Watched(ledger)
    changed: dict[str, Any] = {
        "_watch": lambda *given: watched.on_output(*given),
        "_share": lambda *given: watched.on_share(*given),
    }
    for name, method in changed.items():
        setattr(Injection, name, method)
    try:
        model.learn(timesteps, callback=callbacks)
    finally:
        Injection._watch, Injection._share = watched.watch, watched.share  # type: ignore[method-assign]
        vec_env.close()
    return ledger.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timesteps", type=int, default=15_000)
    parser.add_argument("--every", type=int, default=128, help="minibatches of a row")
    parser.add_argument("--quick", action="store_true", help="one task, a tenth of the steps")
    arguments = parser.parse_args()
    keep_freed_memory()
    tasks, timesteps = (TASKS[:1], 2_048) if arguments.quick else (TASKS, arguments.timesteps)
    every = 64 if arguments.quick else arguments.every
    print("# What a head has to say\n")
    print(f"The head's share over the agent's, sums over {every} minibatches. Command: `{COMMAND}`.\n")
    titles = ("task", "minibatch", "at the features", "at the parameters", "their sums", "Adam's way", "steady: agent, head")
    print(f"| {' | '.join(titles)} | cosine |")
    print("|---|---|---|---|---|---|---|---|")
    figures: dict[str, list[dict[str, float]]] = {}
    for task in tasks:
        rows = measure(task, timesteps, every)
        figures[task] = [{key: round(value, 3) for key, value in row.items()} for row in rows]
        for number, row in enumerate(rows, 1):
            shares = " | ".join(f"{row[key]:.2f}" for key in ("features", "parameters", "summed", "adam"))
            steady = f"{row['steady_agent']:.2f}, {row['steady_head']:.2f}"
            print(f"| {task} | {number * every} | {shares} | {steady} | {row['cosine']:.2f} |", flush=True)
    print()
    print(json.dumps({"benchmark": "head_say", "tasks": figures}))


if __name__ == "__main__":
    main()
