"""A comparison for TensorBoard: margin charts, an HParams page and the pictures."""

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import custom_scalars, hparams

from cpc_rl.evaluation.arms import ArmRuns
from cpc_rl.evaluation.comparison import ArmSummary, Comparison
from cpc_rl.evaluation.pairs import MEASURES
from cpc_rl.evaluation.suite_comparison import SuiteComparison

ENDS = ("iqm", "lower", "upper")
STEPS, TIME = "sample_efficiency/steps", "sample_efficiency/seconds"
SHARE, PROFILE = "sample_efficiency/percent", "performance_profile"
CHARTS = {"over agent steps": STEPS, "over seconds of training": TIME}
METRICS = ("report/final_return", "report/mean_return_over_training", "report/steps_to_threshold")


def write_event_log(folder: Path, comparison: Comparison, pictures: Sequence[Path]) -> None:
    """
    Write the event files, in place of those of an earlier report.

    Each arm is a run of TensorBoard's, so that a chart shows them all, each in its colour, and the run selector picks among
    them. The steps of ``sample_efficiency/seconds`` are seconds.

    :param folder: holds nothing else
    :param pictures: PNG files
    """
    _write_charts(folder, CHARTS, pictures)
    for arm in comparison.arms:
        with SummaryWriter(str(folder / arm.runs.label)) as writer:
            _write_band(writer, STEPS, arm.runs.steps, arm.band)
            _write_band(writer, TIME, *_whole_seconds(arm))
    for arm in comparison.arms:
        _write_hparams(folder / "hparams", arm.runs, arm.threshold)


def write_suite_log(folder: Path, comparisons: Sequence[SuiteComparison], pictures: Sequence[Path]) -> None:
    """
    The same for several tasks: the curves of the normalised score, and the performance profiles.

    The steps of a chart over shares of training are percents, and those of a profile hundredths of a score.

    :param folder: holds nothing else
    :param comparisons: one for each algorithm
    :param pictures: PNG files
    """
    in_steps = all(comparison.in_steps for comparison in comparisons)
    curves = "normalised score over " + ("agent steps" if in_steps else "percent of training")
    profiles = {f"share of runs above, in hundredths ({measure})": f"{PROFILE}/{measure}" for measure in MEASURES}
    _write_charts(folder, {curves: STEPS if in_steps else SHARE, **profiles}, pictures)
    for comparison in comparisons:
        for arm in comparison.arms:
            with SummaryWriter(str(folder / arm.arm.label)) as writer:
                axis = arm.arm.axis
                if not in_steps:
                    axis = (100 * axis / axis[-1]).round()
                _write_band(writer, STEPS if in_steps else SHARE, axis, arm.band)
                for measure, profile in arm.profiles.items():
                    _write_band(writer, f"{PROFILE}/{measure}", (100 * comparison.scores).round(), profile)
                for measure, figures in arm.figures.items():
                    for name, interval in figures.items():
                        writer.add_scalar(f"report/{measure}_{name}", interval.estimate, 0)


def _write_charts(folder: Path, charts: Mapping[str, str], pictures: Sequence[Path]) -> None:
    """
    Empty the folder, and write what belongs to no arm.

    :param charts: title to beginning of the tags of its curve
    """
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as writer:
        layout = {"sample efficiency": {name: ["Margin", [f"{tag}/{end}" for end in ENDS]] for name, tag in charts.items()}}
        _add(writer, custom_scalars(layout))
        for picture in pictures:
            with Image.open(picture) as image:
                writer.add_image(f"report/{picture.stem}", np.asarray(image.convert("RGB")), 0, dataformats="HWC")


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
