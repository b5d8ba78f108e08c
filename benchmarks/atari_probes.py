"""
What encoders that were trained without reward know of Atari's state: F1 of linear probes, by ST-DIM's protocol.

    python -m benchmarks.atari_probes > benchmarks/atari_probes.md

Anand et al. 2019: frames of random actions, 210 x 160 grey, each action for 4 frames; the labels are bytes of the RAM; an
episode ends with a life, and shorter ones than 64 frames are left out; probes as in cpc_rl.diagnostics.probe, on the raw
features. The frames that train an encoder are others than those of the probes. "supervised" trains the encoder with the labels
too, and "majority" knows no features. The last line holds all figures as one JSON object. A whole run wants a GPU.
"""

import argparse
import copy
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from cpc_rl.diagnostics.atari_ram import ram_categories
from cpc_rl.diagnostics.cli_probe import frame_fingerprints
from cpc_rl.diagnostics.features import as_tensors, encode_all
from cpc_rl.diagnostics.probe import probe
from cpc_rl.diagnostics.probe_bank import ProbeBank, cross_entropies
from cpc_rl.diagnostics.probe_report import ProbeReport
from cpc_rl.diagnostics.recorded_episodes import RecordedEpisodes
from cpc_rl.diagnostics.recording import Recording, record
from cpc_rl.diagnostics.saved_encoder import read_encoder
from cpc_rl.diagnostics.splits import label_entropy, split_episodes
from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.pretraining import pretrain

OBJECTIVES: dict[str, dict[str, Any]] = {
    "stdim": {"augment": None},
    "cpc": {"augment": None},
    "atc": {"horizon": 3},
    "simclr": {},
}
METHODS = ("random", *OBJECTIVES, "supervised")
PUBLISHED = {"majority": 0.14, "random": 0.44, "cpc": 0.61, "stdim": 0.68, "supervised": 0.82}  # means of their 22 games


class AtariExtractor(BaseFeaturesExtractor):
    """Anand et al. 2019, appendix: four convolutions and a linear layer, orthogonal at first as in their code."""

    def __init__(self, observation_space: spaces.Box, features_dim: int = 256) -> None:
        super().__init__(observation_space, features_dim)
        layers: list[nn.Module] = []
        channels = observation_space.shape[0]
        for out, size, stride in ((32, 8, 4), (64, 4, 2), (128, 4, 2), (64, 3, 1)):
            layers += [nn.Conv2d(channels, out, size, stride), nn.ReLU()]
            channels = out
        self.cnn = nn.Sequential(*layers)
        with torch.no_grad():
            length = self.cnn(torch.zeros(1, *observation_space.shape)).numel()
        self.linear = nn.Linear(length, features_dim)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.orthogonal_(layer.weight, 2**0.5)  # otherwise all frames begin with nearly the same features
                nn.init.zeros_(layer.bias)

    def forward(self, observations: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [0, 1] to ``(N, features_dim)``."""
        return self.linear(self.cnn(observations).flatten(1))


class RawAtari(gym.Wrapper):
    """Grey frames at full size, each action four times, the brighter of the last two frames, up to 30 idle steps at first."""

    def __init__(self, game: str) -> None:
        gym.register_envs(ale_py)
        super().__init__(gym.make(f"{game}NoFrameskip-v4", obs_type="grayscale"))
        self.observation_space = spaces.Box(0, 255, (210, 160, 1), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        frame, info = self.env.reset(seed=seed, options=options)
        for _ in range(int(self.env.unwrapped.np_random.integers(1, 31))):
            frame, _, terminated, truncated, info = self.env.step(0)
            if terminated or truncated:
                frame, info = self.env.reset()
        self.lives = self.env.unwrapped.ale.lives()
        return frame[:, :, None], info

    def step(self, action: Any) -> Any:
        frames, total = [], 0.0
        for _ in range(4):
            frame, reward, terminated, truncated, info = self.env.step(action)
            frames, total = [*frames, frame][-2:], total + float(reward)
            lost = self.env.unwrapped.ale.lives() < self.lives
            if terminated or truncated or lost:
                break
        return np.max(frames, axis=0)[:, :, None], total, terminated or lost, truncated, info


def supervised(encoder: Encoder, recording: Recording, epochs: int, seed: int) -> Encoder:
    """The encoder trained with linear probes on it, by the labels of the training episodes; kept as it validates best."""
    split = split_episodes(recording.episodes, min_length=64, seed=seed)
    used = split.train | split.validation | split.test
    names = [name for name, values in recording.labels.items() if label_entropy(values[used]) >= 0.6]
    device = next(encoder.parameters()).device
    labels = torch.from_numpy(np.stack([recording.labels[name] for name in names], axis=1))
    encoder = copy.deepcopy(encoder)
    bank = ProbeBank(encoder.features_dim, [256] * len(names)).to(device)
    optimizer = torch.optim.Adam([*encoder.parameters(), *bank.parameters()], lr=5e-4, eps=1e-5)
    rng, best, kept, stale = np.random.default_rng(seed), -1.0, copy.deepcopy(encoder), 0
    frames: Any = recording.observations
    held_out = np.flatnonzero(split.validation)
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(np.flatnonzero(split.train)), max(1, int(split.train.sum()) // 64)):
            loss = cross_entropies(bank(encoder(as_tensors(encoder, frames[rows]))), labels[rows].to(device)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            guesses = bank(encode_all(encoder, frames[held_out])).argmax(dim=2).cpu()
        accuracy = float((guesses == labels[held_out]).float().mean())
        stale += 1
        if accuracy > best:
            best, kept, stale = accuracy, copy.deepcopy(encoder), 0
        if stale == 15:
            break
    return kept


def train(method: str, frames: Recording, probes: Recording, space: spaces.Discrete, arguments: Any) -> Encoder:
    """An encoder of one method."""
    torch.manual_seed(arguments.seed)
    data = RecordedEpisodes(frames, space)
    fresh = Encoder({IMAGE: AtariExtractor(data.observation_space)}, data.observation_space).to(arguments.device)
    if method == "random":
        return fresh
    if method == "supervised":
        return supervised(fresh, probes, arguments.epochs, arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        done = pretrain(
            data,
            method,
            AtariExtractor,
            out=Path(folder),
            objective_kwargs=OBJECTIVES[method],
            device=arguments.device,
            verbose=0,
            steps=arguments.steps,
            batch_size=64,
            learning_rate=3e-4,  # batch and learning rate of Anand et al.
            warmup=0,
            seed=arguments.seed,
            workers=0,
            checkpoint_every=10**9,
        )
        return read_encoder(done.encoder).to(arguments.device)


def play(game: str, arguments: Any) -> dict[str, ProbeReport]:
    """All methods on one game."""
    name = "".join(part.capitalize() for part in game.split("_"))
    env = RawAtari(name)
    assert isinstance(env.action_space, spaces.Discrete)
    frames = record(env, arguments.frames, seed=arguments.seed)
    probes = record(env, arguments.probe_frames, labels=["ram"], seed=arguments.seed + 1000)
    reports = {}
    for method in arguments.methods:
        began = time.perf_counter()
        encoder = train(method, frames, probes, env.action_space, arguments)
        reports[method] = probe(
            encode_all(encoder, probes.observations),
            probes.labels,
            probes.episodes,
            categories={name: ram_categories(name) for name in probes.labels},
            standardise=False,
            min_episode_length=64,
            fingerprints=frame_fingerprints(encoder, probes),
            epochs=arguments.epochs,
            seed=arguments.seed,
        )
        took = time.perf_counter() - began
        print(f"{game}, {method}: F1 {reports[method].mean():.3f} in {took:.0f} s", file=sys.stderr, flush=True)
    env.close()
    return reports


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    games = ["pong", "boxing", "freeway", "breakout", "seaquest", "tennis"]
    parser.add_argument("--games", nargs="+", default=games, help="as ale-py names them, such as ms_pacman")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--frames", type=int, default=30_000, help="that train an encoder")
    parser.add_argument("--probe-frames", type=int, default=50_000, help="that train and test the probes")
    parser.add_argument("--steps", type=int, default=23_500, help="of training; 50 passes over the frames")
    parser.add_argument("--epochs", type=int, default=100, help="of a probe, at most")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few frames and steps, to see that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.frames, arguments.probe_frames, arguments.steps, arguments.epochs = 400, 4000, 5, 2
    found = {game: play(game, arguments) for game in arguments.games}
    means = {game: {method: report.mean() for method, report in reports.items()} for game, reports in found.items()}
    for game, reports in found.items():
        some = next(iter(reports.values()))
        baselines: dict[str, list[float]] = {}
        for variable in some.variables:
            for category in variable.categories:
                baselines.setdefault(category, []).append(variable.baseline)
        means[game]["majority"] = float(np.mean([np.mean(values) for values in baselines.values()]))
    columns = ["majority", *arguments.methods]
    print(f"| game | {' | '.join(columns)} |\n{'|---' * (len(columns) + 1)}|")
    for game, row in means.items():
        print(f"| {game} | {' | '.join(f'{row[column]:.2f}' for column in columns)} |")
    print(f"| mean of these | {' | '.join(f'{np.mean([row[c] for row in means.values()]):.2f}' for c in columns)} |")
    published = (f"{PUBLISHED[column]:.2f}" if column in PUBLISHED else "" for column in columns)
    print(f"| published mean of 22 games | {' | '.join(published)} |\n")
    kept = ("frames", "probe_frames", "steps", "epochs", "seed", "device")
    categories = {game: {method: r.category_means() for method, r in reports.items()} for game, reports in found.items()}
    print(json.dumps({"mean": means, "category": categories, **{name: getattr(arguments, name) for name in kept}}))


if __name__ == "__main__":
    main()
