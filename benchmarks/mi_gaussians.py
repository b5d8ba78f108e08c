"""
Estimates of a known mutual information: correlated Gaussians, from 2 to 10 nats in steps while the critics train.

    python -m benchmarks.mi_gaussians --figure benchmarks/mi_gaussians.png > benchmarks/mi_gaussians.md

The task of Poole et al. 2019 (section 3) and Song and Ermon 2020 (section 6.1). The last line holds all figures, in nats, as
one JSON object.
"""

import argparse
import functools
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

from cpc_rl import estimators

LEVELS = (2, 4, 6, 8, 10)  # nats
DIMENSIONS, BATCH, WIDTH, EMBEDDING, LEARNING_RATE = 20, 64, 256, 32, 5e-4

Readouts = dict[str, Callable[[Tensor], Tensor]]
Curves = dict[str, np.ndarray]  # estimates of every step, shape (levels, steps)

SMILES: Readouts = {f"smile, clip {clip:g}": functools.partial(estimators.smile, clip=clip) for clip in (1.0, 5.0, math.inf)}
# The critic that the Jensen-Shannon objective trains is read out in four ways: jsd and smile differ in nothing else.
READOUTS: dict[str, Readouts] = {
    "infonce": {"infonce": estimators.infonce},
    "nwj": {"nwj": estimators.nwj},
    "dv": {"dv": estimators.dv},
    "mine": {"mine": estimators.dv},
    "interpolated": {"interpolated, alpha 0.01": functools.partial(estimators.interpolated, alpha=0.01)},
    "jsd": {"jsd": estimators.jsd, **SMILES},
}
BEST: Readouts = {
    "infonce": estimators.infonce,
    "nwj": lambda log_ratio: estimators.nwj(log_ratio + 1),
    "dv": estimators.dv,
    "interpolated, alpha 0.01": lambda log_ratio: estimators.interpolated(log_ratio + 1, alpha=0.01),
    **SMILES,
}


def density_readouts(suffix: str) -> Readouts:
    """Of a matrix of log conditional densities."""
    generator = torch.Generator().manual_seed(4)
    return {
        f"leave_one_out_upper{suffix}": estimators.leave_one_out_upper,
        f"club{suffix}": estimators.club,
        f"club_sampled{suffix}": lambda log_q: estimators.club_sampled(log_q, generator),
    }


def correlation(information: float) -> float:
    """Of each of the independent dimensions."""
    return math.sqrt(1 - math.exp(-2 * information / DIMENSIONS))


def draw(information: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A batch of x and y, shape (BATCH, DIMENSIONS) each."""
    rho, noise = correlation(information), torch.randn(2, BATCH, DIMENSIONS, generator=generator)
    return noise[0], rho * noise[0] + math.sqrt(1 - rho**2) * noise[1]


def log_normal(y: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log density of each y (K, D) under each diagonal Gaussian (N, D), shape (N, K)."""
    squares = (y - mean[:, None]) ** 2 / log_variance[:, None].exp()
    return -(squares + log_variance[:, None] + math.log(2 * math.pi)).sum(2) / 2


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, outputs))


class Separable(nn.Module):
    """The inner product of an embedding of x and one of y."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.y = mlp(DIMENSIONS, EMBEDDING), mlp(DIMENSIONS, EMBEDDING)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.x(x) @ self.y(y).T


class Joint(nn.Module):
    """One network of x and y, concatenated, for every pair."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(2 * DIMENSIONS, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        pairs = torch.cat((x[:, None].expand(-1, len(y), -1), y.expand(len(x), -1, -1)), dim=2)
        return self.net(pairs).squeeze(2)


class Conditional(nn.Module):
    """A diagonal Gaussian of y, its moments a network of x; scores are log densities."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(DIMENSIONS, 2 * DIMENSIONS)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        mean, log_variance = self.net(x).chunk(2, dim=1)
        return log_normal(y, mean, log_variance.clamp(-10, 10))


def objective(name: str) -> Callable[[Tensor], Tensor]:
    """What the network of that name maximises, given its scores."""
    if name == "likelihood":
        return lambda log_q: log_q.diagonal().mean()
    if name == "interpolated":
        return READOUTS[name]["interpolated, alpha 0.01"]
    if name != "mine":
        return estimators.ESTIMATORS[name]
    running = torch.tensor(-math.inf)

    def maximise_mine(scores: Tensor) -> Tensor:
        nonlocal running
        estimate, running = estimators.mine(scores, running)
        return estimate

    return maximise_mine


def train(network: nn.Module, maximise: Callable[[Tensor], Tensor], readouts: Readouts, steps: int, seed: int) -> Curves:
    """Climbs all levels; each batch is new, and is read out before the step on it."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    curves = {name: np.empty((len(LEVELS), steps)) for name in readouts}
    for level, information in enumerate(LEVELS):
        for step in range(steps):
            scores = network(*draw(information, generator))
            for name, readout in readouts.items():
                curves[name][level, step] = float(readout(scores.detach()))
            optimizer.zero_grad()
            (-maximise(scores)).backward()
            optimizer.step()
    return curves


def known(steps: int, ratio: bool, seed: int) -> Curves:
    """Estimates with nothing to learn: from the true density ratio, or from the true conditional density."""
    generator = torch.Generator().manual_seed(seed)
    lower: Readouts = {"infonce_known_conditional": estimators.infonce_known_conditional}
    readouts = BEST if ratio else lower | density_readouts("")
    curves = {name: np.empty((len(LEVELS), steps)) for name in readouts}
    zeros = torch.zeros(1, DIMENSIONS)
    for level, information in enumerate(LEVELS):
        rho = correlation(information)
        for step in range(steps):
            x, y = draw(information, generator)
            scores = log_normal(y, rho * x, torch.full_like(x, math.log(1 - rho**2)))
            scores = scores - log_normal(y, zeros, zeros) if ratio else scores
            for name, readout in readouts.items():
                curves[name][level, step] = float(readout(scores))
    return curves


def summary(curves: Curves, last: int) -> dict[str, list[dict[str, float]]]:
    """Mean, median, bias and standard deviation of the last estimates at each level."""
    result: dict[str, list[dict[str, float]]] = {name: [] for name in curves}
    for name, curve in curves.items():
        for truth, estimates in zip(LEVELS, curve[:, -last:], strict=True):
            figures = {"mean": estimates.mean(), "bias": estimates.mean() - truth, "std": estimates.std()}
            figures["median"] = np.median(estimates)
            result[name].append({"truth": truth} | {key: round(float(value), 3) for key, value in figures.items()})
    return result


def table(rows: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    yield f"| | {' | '.join(f'{truth} nats' for truth in LEVELS)} |\n|---|{'---|' * len(LEVELS)}"
    for name, levels in rows.items():
        cells = (f"{level['mean']:.2f} ({level['bias']:+.2f}, {level['std']:.2f}; {level['median']:.2f})" for level in levels)
        yield f"| {name} | {' | '.join(cells)} |"


def draw_figure(curves: Curves, path: str) -> None:
    """One panel per estimator: blocks of the curve, their standard deviation as a band, the truth as a staircase."""
    columns = 4
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(3 * columns, 2.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis in axes[len(curves) :]:
        axis.set_axis_off()
    for axis, (name, curve) in zip(axes, curves.items(), strict=False):
        steps = curve.size
        blocks = curve.reshape(20 * len(LEVELS), -1)
        middles = (np.arange(len(blocks)) + 0.5) * steps / len(blocks)
        mean, std = blocks.mean(1), blocks.std(1)
        axis.fill_between(middles, mean - std, mean + std, alpha=0.3, linewidth=0, color="tab:blue")
        axis.plot(middles, mean, color="tab:blue", linewidth=1.2, label="estimate and standard deviation")
        axis.step(np.linspace(0, steps, len(LEVELS) + 1), [LEVELS[0], *LEVELS], color="black", linewidth=1, label="truth")
        axis.axhline(math.log(BATCH), color="tab:red", linestyle=":", linewidth=1, label="log K")
        axis.set_title(name, fontsize=9)
        axis.set_ylim(0, 14)
    for axis in axes[::columns]:
        axis.set_ylabel("nats")
    for axis in axes[len(curves) - columns : len(curves)]:
        axis.set_xlabel("step")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 steps at each level instead of 4000")
    parser.add_argument("--critic", choices=("separable", "joint"), default="separable", help="joint costs 20 times as much")
    parser.add_argument("--objectives", nargs="+", choices=READOUTS, default=list(READOUTS), help="which critics to train")
    parser.add_argument("--steps", type=int, help="steps at each level, a multiple of 20")
    parser.add_argument("--figure", help="where to write the training curves, a PNG")
    arguments = parser.parse_args()
    steps = arguments.steps or (100 if arguments.quick else 4000)
    if steps < 20 or steps % 20:
        parser.error(f"--steps takes a positive multiple of 20, but got {steps}")
    last, start = steps // 4, time.perf_counter()

    trained: Curves = {}
    for name in arguments.objectives:
        torch.manual_seed(0)  # the same first weights for every critic
        critic = Joint() if arguments.critic == "joint" else Separable()
        trained.update(train(critic, objective(name), READOUTS[name], steps, seed=1))
    torch.manual_seed(0)
    learnt = train(Conditional(), objective("likelihood"), density_readouts(", learnt q"), steps, seed=1)
    best, exact = known(last, ratio=True, seed=2), known(last, ratio=False, seed=2)
    sections = {
        f"Trained critics ({arguments.critic})": trained,
        "The best critic, nothing learnt": best,
        "From the true conditional density p(y|x), nothing learnt": exact,
        "From a learnt Gaussian conditional density": learnt,
    }
    if arguments.figure:
        draw_figure(trained | learnt, arguments.figure)

    print("# Estimates of a known mutual information\n")
    print(f"Correlated Gaussians in {DIMENSIONS} dimensions, batches of {BATCH}, networks of {WIDTH}x{WIDTH} ReLU, Adam at")
    print(f"{LEARNING_RATE}; {steps} steps at each level, one network through all of them, one seed. A cell holds the mean")
    print("(bias, standard deviation; median) in nats of the estimates from single new batches: those of the last")
    print(f"{last} steps of a level, each made before the step on it. InfoNCE cannot exceed log K = {math.log(BATCH):.2f}.\n")
    print(f"Command: `{' '.join(('python -m benchmarks.mi_gaussians', *sys.argv[1:]))}`,")
    seconds = time.perf_counter() - start
    print(f"{seconds:.0f} s; {platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}.\n")
    figures = {}
    for title, curves in sections.items():
        figures[title] = summary(curves, last)
        print(f"## {title}\n")
        print("\n".join(table(figures[title])), end="\n\n")
    if arguments.figure:
        print("![estimates while the critics train, beside the truth](mi_gaussians.png)\n")
    settings = {"benchmark": "mi_gaussians", "critic": arguments.critic, "steps": steps, "log_k": math.log(BATCH)}
    print(json.dumps(settings | {"estimates": figures}))


if __name__ == "__main__":
    main()
