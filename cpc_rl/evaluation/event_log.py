"""A comparison for TensorBoard: margin charts, an HParams page and the pictures."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import custom_scalars, hparams

from cpc_rl.evaluation.arms import ArmRuns
from cpc_rl.evaluation.comparison import ArmSummary, Comparison

ENDS = ("iqm", "lower", "upper")
STEPS, TIME = "sample_efficiency/steps", "sample_efficiency/seconds"
CHARTS = {"over environment steps": STEPS, "over seconds of training": TIME}
METRICS = ("report/final_return", "report/mean_return_over_training", "report/steps_to_threshold")


def write_event_log(folder: Path, comparison: Comparison, pictures: Sequence[Path]) -> None:
    """
    Write the event files, in place of those of an earlier report.

    Each arm is a run of TensorBoard's, so that a chart shows them all, each in its colour, and the run selector picks among
    them. The steps of ``sample_efficiency/seconds`` are seconds.

    :param folder: holds nothing else
    :param pictures: PNG files
    """
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as writer:
        layout = {"sample efficiency": {name: ["Margin", [f"{tag}/{end}" for end in ENDS]] for name, tag in CHARTS.items()}}
        _add(writer, custom_scalars(layout))
        for picture in pictures:
            with Image.open(picture) as image:
                writer.add_image(f"report/{picture.stem}", np.asarray(image.convert("RGB")), 0, dataformats="HWC")
    for arm in comparison.arms:
        with SummaryWriter(str(folder / arm.runs.label)) as writer:
            _write_band(writer, STEPS, arm.runs.steps, arm.band)
            _write_band(writer, TIME, *_whole_seconds(arm))
    for arm in comparison.arms:
        _write_hparams(folder / "hparams", arm.runs, comparison.threshold)


def _write_band(writer: SummaryWriter, tag: str, x: np.ndarray, band: np.ndarray) -> None:
    """Where there is no interval, its ends are the curve itself: a margin chart draws nothing without all three."""
    ends = np.where(np.isnan(band), band[0], band)
    for point, place in enumerate(x):
        for end, values in zip(ENDS, ends, strict=True):
            writer.add_scalar(f"{tag}/{end}", values[point], int(place))


def _whole_seconds(arm: ArmSummary) -> tuple[np.ndarray, np.ndarray]:
    """TensorBoard's steps are whole numbers: the last point of each second."""
    seconds = arm.runs.seconds.astype(np.int64)
    kept = np.append(np.diff(seconds) > 0, True)[: seconds.size]
    return seconds[kept], arm.band_over_time[:, kept]


def _write_hparams(folder: Path, arm: ArmRuns, threshold: float | None) -> None:
    """A session for each run of an arm, its settings and what it reached."""
    steps = np.full((len(arm.runs), 1), np.inf) if threshold is None else arm.steps_to(threshold)
    for run, final, area, reached in zip(arm.runs, arm.final()[:, 0], arm.area()[:, 0], steps[:, 0], strict=True):
        settings: dict[str, Any] = {
            "algorithm": run.algorithm,
            "arm": run.arm,
            "objective": arm.head or "none",
            "augmented": "yes" if "aug" in run.arm.split("+") else "no",  # the page shows True as 1
            "shuffled": "yes" if "shuffled" in run.arm.split("+") else "no",
            "seed": run.seed,
        }
        metrics = dict(zip(METRICS, (final, area, reached), strict=True))
        with SummaryWriter(str(folder / f"{arm.label}-seed-{run.seed}")) as writer:
            for summary in hparams(settings, metrics):
                _add(writer, summary)
            for name, value in metrics.items():
                if math.isfinite(value):
                    writer.add_scalar(name, value, int(arm.steps[-1]))


def _add(writer: SummaryWriter, summary: Summary) -> None:
    writer._get_file_writer().add_summary(summary)
