"""Probes of frozen features: what of an environment's state a small model can read off them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpc_rl.diagnostics.probe_bank import ProbeBank, cross_entropies, fit, predict, squared_errors
from cpc_rl.diagnostics.probe_report import Kind, ProbeReport, VariableScore
from cpc_rl.diagnostics.ridge import ridge
from cpc_rl.diagnostics.scores import f1_scores, r2_score, uninformed_f1
from cpc_rl.diagnostics.splits import Split, label_entropy, split_episodes, without_duplicates


def probe(
    features: Tensor | NDArray,
    labels: Mapping[str, NDArray],
    episodes: NDArray,
    *,
    kinds: Mapping[str, Kind] | None = None,
    categories: Mapping[str, tuple[str, ...]] | None = None,
    hidden_dim: int | None = None,
    standardise: bool = True,
    min_entropy: float = 0.6,
    min_episode_length: int = 0,
    fingerprints: NDArray | None = None,
    epochs: int = 100,
    patience: int = 15,
    learning_rate: float = 5e-4,
    batch_size: int = 64,
    seed: int = 0,
) -> ProbeReport:
    """
    Learn every variable from the features by a probe of its own, on some episodes, and judge it on others.

    The protocol is that of Anand et al. 2019, "Unsupervised State Representation Learning in Atari", section 5 and their
    code: 70%, 10% and 20% of the episodes, variables of low entropy left out, Adam and early stopping on the validation
    episodes. It has no counterpart for continuous variables; these get ridge regression (or, with ``hidden_dim``, the same
    training with squared errors). Theirs does not standardise features; it shows a probe the features' scale.

    :param features: ``(N, F)``, on the device that shall compute
    :param labels: by name, ``(N,)`` each
    :param episodes: which episode each frame is of, ``(N,)``, int
    :param kinds: of the variables; without: integers and booleans are categorical, floating point is continuous
    :param categories: groups that a variable counts in, by its name; without: ``"all"``
    :param hidden_dim: of a shallow probe's hidden layer; linear probes if ``None``
    :param standardise: bring each feature to mean 0 and standard deviation 1, by the training frames
    :param min_entropy: nats; a categorical variable with less is left out, over all frames that take part
    :param min_episode_length: only episodes with more frames take part; theirs: 64
    :param fingerprints: ``(N,)``, equal where two frames are; test frames that training or validation holds are left out
    :param epochs: at most
    :param patience: epochs without a better validation score after which a probe stops
    :param learning_rate: of Adam
    :param batch_size: of Adam
    :param seed: of the split, the order of the data and the shallow probes' first weights
    :return: the scores, and what was left out: among others variables that are NaN or infinite in a frame that takes part
    :raises ValueError: if lengths do not match, labels are no single numbers, features are NaN or infinite, or there is
        nothing to probe
    """
    rows = torch.as_tensor(features).detach().float()
    _check(rows, labels, episodes)
    split = split_episodes(episodes, min_length=min_episode_length, seed=seed)
    if fingerprints is not None:
        split = without_duplicates(split, fingerprints)
    if not split.test.any():
        raise ValueError("Every test frame is in training or validation too: record more frames.")
    chosen: dict[Kind, list[str]] = {"categorical": [], "continuous": []}
    dropped: dict[str, str] = {}
    taking_part = split.train | split.validation | split.test
    for name, values in labels.items():
        kind = (kinds or {}).get(name) or ("continuous" if np.issubdtype(values.dtype, np.floating) else "categorical")
        why = _useless(values[taking_part], values[split.train], values[split.test], kind, min_entropy)
        if why:
            dropped[name] = why
        else:
            chosen[kind].append(name)
    if not any(chosen.values()):
        raise ValueError(f"No variable is left to probe: {'; '.join(f'{name}, {why}' for name, why in dropped.items())}.")
    parts = [rows[torch.from_numpy(mask).to(rows.device)] for mask in split]
    if standardise:
        mean, std = parts[0].mean(dim=0), parts[0].std(dim=0, correction=0)
        parts = [(part - mean) / torch.where(std > 1e-6 * (1 + mean.abs()), std, torch.inf) for part in parts]
    training: dict[str, Any] = {
        "epochs": epochs,
        "patience": patience,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
    }
    scores: dict[str, VariableScore] = {}
    for kind, names in chosen.items():
        if names:
            table = [np.stack([labels[name][mask] for name in names], axis=1) for mask in split]  # three of (n, V)
            own = {name: (categories or {}).get(name, ("all",)) for name in names}
            found = _classify if kind == "categorical" else _regress
            scores.update(found(parts, table, own, hidden_dim, seed, training))
    settings = {
        "hidden_dim": hidden_dim,
        "standardise": standardise,
        "min_entropy": min_entropy,
        "min_episode_length": min_episode_length,
        **training,
        "seed": seed,
    }
    frames = {part: int(mask.sum()) for part, mask in zip(Split._fields, split, strict=True)}
    remarks = _remarks(frames["train"], rows.shape[1])
    return ProbeReport([scores[name] for name in labels if name in scores], dropped, frames, settings, remarks)


def _check(features: Tensor, labels: Mapping[str, NDArray], episodes: NDArray) -> None:
    if features.ndim != 2:
        raise ValueError(f"Features must be a matrix (frames, features), but their shape is {tuple(features.shape)}.")
    broken = int((~features.isfinite()).any(dim=1).sum())
    if broken:
        raise ValueError(
            f"The features of {broken} of {len(features)} frames are NaN or infinite, and scores of all would be wrong: leave "
            "these frames out, or, if a training has diverged, probe the encoder of an earlier step."
        )
    for name, values in {"episodes": episodes, **labels}.items():
        if np.shape(values) != (len(features),):
            raise ValueError(
                f"'{name}' has the shape {np.shape(values)}, but there are {len(features)} frames: it must hold one each."
            )


def _remarks(frames: int, features: int) -> list[str]:
    if frames >= features:
        return []
    return [
        f"Few frames: {frames} to learn from, fewer than the {features} features, so that a probe can fit them whatever they "
        "show, and the scores may say little of the features. Record more."
    ]


def _useless(values: NDArray, train: NDArray, test: NDArray, kind: Kind, min_entropy: float) -> str | None:
    """Why a variable is left out, or ``None``."""
    broken = int((~np.isfinite(values)).sum()) if np.issubdtype(values.dtype, np.inexact) else 0
    if broken:
        return f"it is NaN or infinite in {broken} of {len(values)} frames"
    if kind == "continuous":
        constant = any(np.ptp(part) == 0 for part in (train, test))
        return "it does not vary" if constant else None
    entropy = label_entropy(values)
    return f"its entropy is {entropy:.2f} nats, below {min_entropy}" if entropy < min_entropy else None


def _classify(
    parts: list[Tensor],
    labels: list[NDArray],
    categories: Mapping[str, tuple[str, ...]],
    hidden_dim: int | None,
    seed: int,
    training: Mapping[str, Any],
) -> dict[str, VariableScore]:
    values = [np.unique(labels[0][:, v]) for v in range(len(categories))]  # classes: what training shows
    targets = []
    for part in labels[:2]:
        codes = [np.searchsorted(known, part[:, v]).clip(max=len(known) - 1) for v, known in enumerate(values)]
        codes = [
            np.where(known[code] == part[:, v], code, -1) for v, (known, code) in enumerate(zip(values, codes, strict=True))
        ]
        targets.append(torch.from_numpy(np.stack(codes, axis=1)).to(parts[0].device))
    generator = torch.Generator().manual_seed(seed)
    bank = ProbeBank(parts[0].shape[1], [len(known) for known in values], hidden_dim, generator).to(parts[0].device)
    epochs = fit(bank, cross_entropies, (parts[0], targets[0]), (parts[1], targets[1]), generator=generator, **training)
    guesses = predict(bank, parts[2], classes=True).cpu().numpy()
    scores = {}
    for v, (name, groups) in enumerate(categories.items()):
        truth, guess = labels[2][:, v], values[v][guesses[:, v]]
        weighted, macro = f1_scores(truth, guess)
        majority, drawn = uninformed_f1(labels[0][:, v], truth)
        accuracy, best = float((truth == guess).mean()), int(epochs[v])
        scores[name] = VariableScore(
            *(name, "categorical", groups, weighted, max(majority, drawn), macro, accuracy, len(values[v]), best, majority)
        )
    return scores


def _regress(
    parts: list[Tensor],
    labels: list[NDArray],
    categories: Mapping[str, tuple[str, ...]],
    hidden_dim: int | None,
    seed: int,
    training: Mapping[str, Any],
) -> dict[str, VariableScore]:
    mean, std = labels[0].mean(axis=0), labels[0].std(axis=0)
    targets = [torch.from_numpy((part - mean) / std).float().to(parts[0].device) for part in labels[:2]]
    epochs: list[int | None] = [None] * len(categories)
    if hidden_dim is None:
        weights, intercepts, _ = ridge((parts[0], targets[0]), (parts[1], targets[1]))
        guesses = parts[2].double() @ weights + intercepts
    else:
        generator = torch.Generator().manual_seed(seed)
        bank = ProbeBank(parts[0].shape[1], [1] * len(categories), hidden_dim, generator).to(parts[0].device)
        best = fit(bank, squared_errors, (parts[0], targets[0]), (parts[1], targets[1]), generator=generator, **training)
        epochs = [int(epoch) for epoch in best]
        guesses = predict(bank, parts[2], classes=False)
    predicted = guesses.cpu().numpy() * std + mean
    return {
        name: VariableScore(
            name,
            "continuous",
            groups,
            r2_score(labels[2][:, v], predicted[:, v]),
            r2_score(labels[2][:, v], np.full(len(labels[2]), mean[v])),
            epoch=epochs[v],
        )
        for v, (name, groups) in enumerate(categories.items())
    }
