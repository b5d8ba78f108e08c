"""What TensorBoard shows of the heads. Sums stay on the device until they are written, so training never waits for them."""

import math
import warnings

import numpy as np
import torch
from stable_baselines3.common.logger import Image, Logger
from torch import Tensor

from cpc_rl.diagnostics.representation import alignment, effective_rank, uniformity
from cpc_rl.encoder import Observations
from cpc_rl.head import Head
from cpc_rl.sampling import Windows

NOT_PRINTED = ("stdout", "log", "json", "csv")
WHOLE_RUN = {"coef": "contrastive/coef", "gradient_ratio": "contrastive/gradient_ratio"}


class Monitor:
    """
    :param name: of the objective, as in the tags
    :param suffix: distinguishes several heads of one model, e.g. ``"_actor"``; empty for one
    :param picture_freq: environment steps between two pictures of augmented pairs
    """

    def __init__(self, name: str, suffix: str = "", picture_freq: int = 50_000) -> None:
        self.prefix, self.suffix = f"contrastive/{name}{suffix}", suffix
        self.picture_freq, self.next_picture = picture_freq, 0
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.windows: Windows | None = None
        self.warned = False

    def add(self, metrics: dict[str, Tensor], windows: Windows) -> None:
        for name, value in metrics.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.windows = windows

    @property
    def steps(self) -> int:
        """Head steps since the last flush."""
        return self.counts.get("loss", 0)

    def flush(self, logger: Logger, head: Head, num_timesteps: int) -> None:
        """Hand the means since the last flush to the logger, and what the representation looks like now."""
        if self.windows is None:
            return
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        for name, mean in means.items():
            logger.record(WHOLE_RUN[name] + self.suffix if name in WHOLE_RUN else f"{self.prefix}/{name}", mean)
        self._warn_at_chance(means)
        anchors, positives = pairs(head, self.windows)
        with torch.no_grad():
            z, z_positive = head.encoder(anchors), head.encoder(positives)
            logger.record(f"representation/effective_rank{self.suffix}", float(effective_rank(z)))
            logger.record(f"representation/alignment{self.suffix}", float(alignment(z, z_positive)))
            logger.record(f"representation/uniformity{self.suffix}", float(uniformity(z)))
        if num_timesteps >= self.next_picture:
            self.next_picture = num_timesteps + self.picture_freq
            shown, answer = (next(iter(head.encoder.images(view).values())) for view in (anchors, positives))
            picture = pair_picture(shown, answer)
            logger.record(f"{self.prefix}/pairs", Image(picture, "HWC"), exclude=NOT_PRINTED)
        self.sums, self.counts, self.windows = {}, {}, None

    def _warn_at_chance(self, means: dict[str, float]) -> None:
        if self.warned or not {"loss", "mi_ceiling"} <= means.keys():
            return
        same_scores = abs(means["loss"] - means["mi_ceiling"]) < 1e-6 * max(1.0, means["mi_ceiling"])
        if same_scores and means.get("accuracy", 0.0) < math.exp(-means["mi_ceiling"]) * 1.001:
            self.warned = True
            warnings.warn(
                f"{self.prefix}: the loss is exactly that of {math.exp(means['mi_ceiling']):.0f} equal guesses, so every "
                "observation looks the same to the head. The buffer may be empty, or the features have collapsed.",
                stacklevel=2,
            )


def pairs(head: Head, windows: Windows) -> tuple[Observations, Observations]:
    """Anchors and positives as the objective sees them, drawn without touching the head's own generators."""
    generator = head.objective.generator
    head.objective.generator = torch.Generator(head.device).manual_seed(0)
    try:
        return head.objective.pairs(windows)
    finally:
        head.objective.generator = generator


def pair_picture(anchors: Tensor, positives: Tensor, columns: int = 8) -> np.ndarray:
    """
    Anchors above their positives, the newest frame of each stack.

    :param anchors: images ``(N, C, H, W)``, uint8 or float in [0, 1]
    :param positives: the same
    :param columns: number of pairs shown
    :return: one picture ``(2 H, columns * W, 3)``, uint8
    """
    rows = []
    for images in (anchors, positives):
        images = images[:columns]
        newest = images[:, -3:] if images.shape[1] % 3 == 0 else images[:, -1:].expand(-1, 3, -1, -1)
        scaled = newest if newest.dtype == torch.uint8 else (newest.clamp(0, 1) * 255).to(torch.uint8)
        rows.append(torch.cat(list(scaled), dim=2))
    return torch.cat(rows, dim=1).permute(1, 2, 0).cpu().numpy()
