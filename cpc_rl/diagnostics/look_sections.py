"""The sections of the page that ``cpc-rl look`` writes."""

from collections.abc import Mapping

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from cpc_rl.diagnostics.features import rows_of
from cpc_rl.diagnostics.frame_windows import windows_of
from cpc_rl.diagnostics.gradient_map import gradient_map
from cpc_rl.diagnostics.html_page import Page
from cpc_rl.diagnostics.pictures import grid, nearest, newest, overlay
from cpc_rl.diagnostics.recording import Recording
from cpc_rl.diagnostics.representation import dormant_units, effective_rank, feature_norm, uniformity
from cpc_rl.diagnostics.score_matrix import Scores, own_draws, score_matrix, score_picture
from cpc_rl.encoder import Encoder, Observations, probing
from cpc_rl.objectives import Objective
from cpc_rl.objectives.base import frame

HEIGHT = 96  # pixels that small frames are enlarged to
BATCH = 64


def figures(page: Page, features: Tensor) -> None:
    """Of 512 frames at most."""
    some = features[torch.linspace(0, len(features) - 1, min(512, len(features))).long()]
    page.section("Figures", "How rich the features are: 1 as effective rank means that all frames look the same.")
    page.table(
        [
            ("effective rank", f"{float(effective_rank(some)):.1f} of {min(some.shape)}"),
            ("uniformity", f"{float(uniformity(some)):.2f}"),
            ("dormant units", f"{float(dormant_units(some)):.0%} of {some.shape[1]}"),
            ("mean norm", f"{float(feature_norm(some)):.3g}"),
        ]
    )


def neighbours(page: Page, features: Tensor, images: Tensor, episodes: NDArray, queries: int = 6, count: int = 8) -> None:
    """Rows of frames: one, and those whose features are nearest."""
    several = len(np.unique(episodes)) > 1
    rows = np.linspace(0, len(features) - 1, queries + 2).astype(int)[1:-1]
    try:
        found = nearest(features, list(rows), count, episodes if several else None)
    except ValueError:
        return
    others = " in other episodes" if several else ""
    page.section("Nearest neighbours", f"The first of each row is a frame, the others are its nearest{others}, by cosine.")
    lines = [
        newest(images[torch.from_numpy(np.r_[row, near]).to(images.device)]) for row, near in zip(rows, found, strict=True)
    ]
    page.picture(grid(lines, height=HEIGHT), "Frames and their nearest neighbours in feature space")


def gradients(page: Page, encoder: Encoder, observations: Observations, images: Tensor, count: int = 8) -> None:
    """Frames above the maps of how much the features change with each pixel."""
    rows = torch.linspace(0, len(images) - 1, count).long().to(images.device)
    maps = next(iter(gradient_map(encoder, rows_of(observations, rows)).values()))
    frames = newest(images[rows])
    page.section("Where the features look", "Yellow pixels change the features most; dark blue or grey ones hardly do.")
    page.picture(grid([frames, overlay(frames, maps.cpu().numpy())], height=HEIGHT), "Frames above their gradient maps")


def heads(
    page: Page,
    objectives: Mapping[str, Objective],
    encoder: Encoder,
    recording: Recording,
    observations: Observations,
    action_space: spaces.Space | None,
    seed: int,
) -> None:
    """For each objective of the run augmented pairs and scores; of the features themselves if it had none."""
    for name, objective in objectives.items():
        windows = windows_of(recording, observations, action_space, objective.horizon, BATCH, seed)
        if windows is None:
            continue
        with torch.no_grad(), own_draws(objective), probing(objective), probing(encoder):
            above, below = (newest(images[:8]) for images in objective.pictures(encoder, windows))
        page.section(f"Pairs of {name}", "Anchors above their positives, augmented as in training.")
        page.picture(grid([above, below], height=HEIGHT), f"Augmented pairs of {name}")
        scores = score_matrix(objective, encoder, windows)
        if scores is not None:
            right = scores.values.argmax(dim=1) == scores.targets
            _matrix(page, name, scores, f"{float(right.float().mean()):.0%} of {len(right)} anchors find their positive")
    if not objectives:
        windows = windows_of(recording, observations, action_space, 1, BATCH, seed)
        if windows is None:
            return
        with torch.no_grad(), probing(encoder):
            now, then = (
                torch.nn.functional.normalize(encoder(frame(windows.observations, i)), dim=1) for i in (0, 1)
            )  # each (B, F)
        similarity = now @ then.T
        right = similarity.argmax(dim=1) == torch.arange(len(now), device=now.device)
        told = f"{float(right.float().mean()):.0%} of {len(right)} frames have their successor as the most similar"
        _matrix(page, "the features", Scores(similarity, torch.arange(len(now), device=now.device)), told)


def _matrix(page: Page, name: str, scores: Scores, told: str) -> None:
    page.section(
        f"Scores of {name}",
        f"Rows are anchors, columns their positives in the same order; the diagonal should be the brightest: {told}.",
    )
    page.picture(score_picture(scores, cell=12), f"Score matrix of {name}")
