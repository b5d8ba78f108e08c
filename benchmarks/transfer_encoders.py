"""Encoders for :mod:`benchmarks.transfer`: a random policy's frames, pre-training without reward, what the features know."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import cpc_rl
from agents.arms import parse_arm
from agents.build import build_model, environment_keywords
from agents.recipe import Recipe
from cpc_rl.diagnostics.features import encode_all
from cpc_rl.diagnostics.probe import probe
from cpc_rl.diagnostics.recorded_episodes import RecordedEpisodes
from cpc_rl.diagnostics.recording import load_recording, record
from cpc_rl.diagnostics.representation import dormant_units, effective_rank
from cpc_rl.diagnostics.saved_encoder import read_encoder
from cpc_rl.pretraining import pretrain
from envs import make_env, make_vec_env

# Neither the agents' nor the evaluations': theirs are 1,000,000 and more.
DATA_SEED, PROBE_SEED = 50_000, 90_000
LABELS = {
    "PixelCartPole": ("attr:state=x,x_dot,theta,theta_dot",),
    "PixelCatch": ("attr:ball", "attr:row", "attr:paddle"),
    "CarRacing": ("attr:car.hull.linearVelocity=v_x,v_y", "attr:car.hull.angularVelocity", "attr:car.hull.angle"),
}


@dataclass(frozen=True)
class Source:
    """
    Where an encoder comes from.

    :param objective: that pre-trains it; ``None``: it is a fresh one, as PPO's policy makes it
    :param keywords: of the objective
    """

    objective: str | None
    keywords: dict[str, Any] = field(default_factory=dict)


SOURCES = {
    "atc": Source("atc", {"horizon": 1}),
    "shuffled": Source("atc", {"horizon": 1, "shuffled": True}),
    "random": Source(None),
    "cpc": Source("cpc", {"actions": True}),
    "inverse": Source("inverse"),
}


def make_encoder(
    env_id: str, recipe: Recipe, name: str, folder: Path, seed: int, frames: int, training: Mapping[str, Any]
) -> Path:
    """
    The encoder ``folder/name-seed/encoder.safetensors``, made unless it is there, with ``facts.json`` beside it.

    :param recipe: the agent's, whose pictures the data has
    :param name: of :data:`SOURCES`
    :param folder: also holds the recorded frames
    :param seed: of weights, windows and augmentations
    :param frames: of a random policy, to train on
    :param training: further keywords of :func:`cpc_rl.pretraining.pretrain`
    """
    source, place = SOURCES[name], folder / f"{name}-{seed}"
    file, facts = place / "encoder.safetensors", place / "facts.json"
    if facts.is_file():
        return file
    if source.objective is None:
        vec_env = make_vec_env(env_id, 1, DATA_SEED, vec="dummy", **environment_keywords(recipe, pixels=False))
        model = build_model(recipe, vec_env, parse_arm("none", recipe.objective), DATA_SEED + seed, "cpu")
        cpc_rl.save_encoder(model, file)
        vec_env.close()
    else:
        recording = load_recording(_recorded(env_id, recipe, folder, frames, probes=False))
        env = _make(env_id, recipe)
        pretrain(
            RecordedEpisodes(recording, env.action_space),
            source.objective,
            "nature",
            out=place,
            frame_stack=recipe.environment.frame_stack,
            objective_kwargs=source.keywords,
            extractor_kwargs={},
            device="cpu",
            seed=seed,
            workers=0,
            **training,
        )
        env.close()
    content = {"env": env_id, "encoder": f"{name}-{seed}", **_facts(env_id, recipe, folder, file)}
    facts.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return file


def feature_figures(features: Tensor) -> dict[str, float]:
    """
    Scale and spread of features: what PPO's heads start from.

    :param features: ``(N, F)``
    """
    centred = features - features.mean(dim=0)
    return {
        "norm": float(features.norm(dim=1).mean()),
        "norm_of_mean": float(features.mean(dim=0).norm()),
        "spread": float(centred.square().sum(dim=1).mean().sqrt()),  # root mean square distance from the mean
        "effective_rank": float(effective_rank(features[:2048])),
        "dormant": float(dormant_units(features)),
    }


def read_by_a_head(
    features: Tensor, labels: Mapping[str, NDArray], episodes: NDArray, *, steps: int = 100, learning_rate: float = 5e-4
) -> dict[str, float]:
    """
    R2 of what a linear layer has learnt to read after a few steps of Adam, as PPO's heads take them, on episodes held out.

    A linear probe is fitted to its end and shown every feature at the same scale, so that it finds a variable however little
    of the features' variance is due to it. A head that starts at zero and has some hundred small steps does not.

    :param features: ``(N, F)``
    :param labels: by name, ``(N,)`` each, numbers
    :param episodes: which episode each frame is of, ``(N,)``
    :param steps: of batches of 128
    :return: by the labels' names
    """
    held_out = torch.from_numpy(episodes >= np.quantile(episodes, 0.8))
    targets = torch.from_numpy(np.stack([values.astype(np.float32) for values in labels.values()], axis=1))  # (N, V)
    targets = (targets - targets[~held_out].mean(dim=0)) / targets[~held_out].std(dim=0).clamp(min=1e-6)
    head = nn.Linear(features.shape[1], targets.shape[1])
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.Adam(head.parameters(), lr=learning_rate)
    rows = torch.nonzero(~held_out).squeeze(1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        batch = rows[torch.randint(len(rows), (128,), generator=generator)]
        loss = (head(features[batch]) - targets[batch]).square().mean(dim=0).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        errors = (head(features[held_out]) - targets[held_out]).square().mean(dim=0)
    scores = 1 - errors / targets[held_out].var(dim=0, unbiased=False)
    return dict(zip(labels, scores.tolist(), strict=True))


def _facts(env_id: str, recipe: Recipe, folder: Path, file: Path) -> dict[str, Any]:
    """Linear probes and figures of the features, on frames that no encoder was trained on."""
    recording = load_recording(_recorded(env_id, recipe, folder, 5_000, probes=True))
    features = encode_all(read_encoder(file), recording.observations)
    torch.manual_seed(0)
    report = probe(features, recording.labels, recording.episodes, seed=0)
    scores = {f"{variable.name} ({variable.measure})": round(variable.score, 4) for variable in report.variables}
    read = read_by_a_head(features, recording.labels, recording.episodes)
    return {
        "features": {name: round(x, 4) for name, x in feature_figures(features).items()},
        "probes": scores,
        "read_in_100_steps": {name: round(x, 4) for name, x in read.items()},
    }


def _recorded(env_id: str, recipe: Recipe, folder: Path, frames: int, *, probes: bool) -> Path:
    """Frames of uniformly random actions: single ones to train on, or stacked ones with labels for the probes."""
    file = folder / ("probes.npz" if probes else f"frames-{frames}.npz")
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        env = _make(env_id, recipe)
        labels = next(names for start, names in LABELS.items() if env_id.startswith(start)) if probes else ()
        stack = recipe.environment.frame_stack if probes else 1
        seed = PROBE_SEED if probes else DATA_SEED
        temporary = record(env, frames, labels=labels, stack=stack, seed=seed).save(file.with_suffix(".writing"))
        temporary.rename(file)
        env.close()
    return file


def _make(env_id: str, recipe: Recipe) -> gym.Env:
    keywords = environment_keywords(recipe, pixels=False)
    del keywords["frame_stack"]
    return make_env(env_id, **keywords)
