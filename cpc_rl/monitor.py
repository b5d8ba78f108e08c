"""What TensorBoard shows of the heads. Sums stay on the device until they are written, so training never waits for them."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from stable_baselines3.common.logger import Image, Logger
from torch import Tensor

from cpc_rl.diagnostics.representation import alignment
from cpc_rl.diagnostics.score_matrix import own_draws, score_matrix, score_picture
from cpc_rl.diagnostics.watch import Watch
from cpc_rl.encoder import Encoder, probing
from cpc_rl.head import DETACHED, LEFT_OUT, Head, Metrics
from cpc_rl.head_warnings import HeadWarnings
from cpc_rl.objectives import Objective
from cpc_rl.sampling import Windows

NOT_PRINTED = ("stdout", "log", "json", "csv")
PRINTED_LENGTH = 36  # of Stable-Baselines3's table, which cuts longer names and fails where two are then the same
WHOLE_RUN = {"coef": "contrastive/coef", "gradient_ratio": "contrastive/gradient_ratio"}


class Monitors:
    """
    Those of one head's objectives.

    :param names: of the objectives, as in the tags
    :param suffix: distinguishes several heads of one model, e.g. ``"_actor"``; empty for one
    """

    def __init__(self, names: list[str], suffix: str = "") -> None:
        self.suffix = suffix
        alone = len(names) == 1
        self.by_name = {name: Monitor(name, suffix, alone=alone, first=name == names[0]) for name in names}

    def add(self, metrics: dict[str, Metrics], windows: dict[str, Windows]) -> None:
        """Take in what objectives gave in a head step, by their names."""
        for name, own in metrics.items():
            self.by_name[name].add(own, windows.get(name))

    @property
    def steps(self) -> int:
        """Head steps since the last flush."""
        return max(monitor.steps for monitor in self.by_name.values())

    def flush(self, logger: Logger, head: Head, num_timesteps: int) -> None:
        """Hand everything since the last flush to the logger."""
        for name, monitor in self.by_name.items():
            term = head.terms[name]
            if term.unaugmented and term.augment_given:
                monitor.warn.of_no_use_for_augment()
            with _as_they_are(term.objective) if term.unaugmented else nullcontext():
                monitor.flush(logger, head.encoder, term.objective, num_timesteps)


@contextmanager
def _as_they_are(objective: Objective) -> Iterator[None]:
    """Within this block the objective leaves images as they are."""
    before = vars(objective).get("augmented")  # somebody's own
    object.__setattr__(objective, "augmented", lambda observations: observations)
    try:
        yield
    finally:
        object.__delattr__(objective, "augmented")
        if before is not None:
            object.__setattr__(objective, "augmented", before)


class Monitor:
    """
    :param name: of the objective, as in the tags
    :param suffix: distinguishes several heads of one model, e.g. ``"_actor"``; empty for one
    :param alone: the head has no other objective, so that coefficient and ratio need not say whose they are
    :param first: of the head's objectives, so that it looks at the encoder for all; alignment is each one's own, of its pairs
    :param picture_freq: environment steps between two pictures of augmented pairs
    """

    def __init__(
        self, name: str, suffix: str = "", *, alone: bool = True, first: bool = True, picture_freq: int = 50_000
    ) -> None:
        self.prefix, self.suffix = f"contrastive/{name}{suffix}", suffix
        self.whole_run = WHOLE_RUN if alone else {}
        self.alignment = "alignment" if alone else f"alignment_{name}"
        self.first = first
        self.picture_freq, self.next_picture = picture_freq, 0
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.windows: Windows | None = None
        self.warn = HeadWarnings(self.prefix)
        self.watch = Watch(self.prefix)

    def add(self, metrics: Metrics, windows: Windows | None) -> None:
        for name, value in metrics.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.windows = windows or self.windows

    @property
    def steps(self) -> int:
        """Head steps since the last flush."""
        return self.counts.get("loss", 0)

    def flush(self, logger: Logger, encoder: Encoder, objective: Objective, num_timesteps: int) -> None:
        """Hand the means since the last flush to the logger, and what the representation looks like now."""
        if self.windows is None:
            return
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.warn.of_left_out(means.pop(LEFT_OUT, 0.0), self.steps)
        self.warn.of_detached(means.pop(DETACHED, 0.0))
        for name, mean in means.items():
            whole = self.whole_run.get(name)
            record(logger, f"{self.prefix}/{name}" if whole is None else whole + self.suffix, mean)
        self.warn.of_equal_scores(means)
        self.warn.of_nothing_to_learn(means, self.steps, objective, self.windows)
        if {"accuracy", "mi_ceiling"} <= means.keys() and not objective.shuffled:
            self.watch.note_accuracy(means["accuracy"], means["mi_ceiling"])
        with torch.no_grad(), own_draws(objective), probing(encoder):
            anchors, positives = objective.pairs(self.windows)
            paired = objective.paired(self.windows)
            z, z_positive = encoder(anchors), encoder(positives)
            there = paired if len(paired) == len(z) else slice(None)  # an objective of one's own may give other rows
            figures = {self.alignment: float(alignment(z[there], z_positive[there]))} if paired.any() else {}
            if self.first:
                figures |= self.watch.figures(encoder, anchors, z)
        for name, value in figures.items():
            record(logger, f"representation/{name}{self.suffix}", value)
        if num_timesteps >= self.next_picture:
            self.next_picture = num_timesteps + self.picture_freq
            with own_draws(objective):
                anchors, positives = objective.pictures(encoder, self.windows)
            if len(anchors) == len(paired) and paired.any():
                anchors, positives = anchors[paired], positives[paired]
            picture = pair_picture(anchors, positives)
            logger.record(f"{self.prefix}/pairs", Image(picture, "HWC"), exclude=NOT_PRINTED)
            scores = score_matrix(objective, encoder, self.windows)
            if scores is not None:
                logger.record(f"{self.prefix}/scores", Image(score_picture(scores), "HWC"), exclude=NOT_PRINTED)
        self.sums, self.counts = {}, {}


def record(logger: Logger, key: str, value: float) -> None:
    """Hand a number to the logger. One whose name is too long for the printed table goes to the other formats alone."""
    printed = f"   {key.partition('/')[2]}"
    logger.record(key, value, exclude=("stdout", "log") if len(printed) > PRINTED_LENGTH else None)


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
