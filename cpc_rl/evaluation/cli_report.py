"""``cpc-rl report``: the comparison of runs on one environment, or on several."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from cpc_rl.evaluation.report import write_report
from cpc_rl.evaluation.suite_report import write_suite_report
from cpc_rl.evaluation.suite_words import suite_in_words
from cpc_rl.evaluation.tasks import environment_folders
from cpc_rl.evaluation.words import in_words


@dataclass(frozen=True)
class ReportArguments:
    """
    Compare the runs of one environment, or of several together.

    Figures with intervals, curves with bands, and what the head brings, in words.
    """

    folders: Positional[tuple[Path, ...]]
    """LOG_DIR/ENV, which holds ALGO-ARM/seed-N; several of them, or LOG_DIR, for a report over several tasks."""
    out: Path | None = None
    """Where the report goes; default: report in the environment's folder, or beside the environments' folders."""
    threshold: float | None = None
    """What is compared is its first reaching. With one environment a return; with several a normalised score. Default:
    nine tenths of plain training's way."""
    normalise: str | None = None
    """With several environments, what counts as 0 and 1: atari, control, or a CSV file with the columns task, low, high.
    Default: both shipped tables."""
    arms: tuple[str, ...] | None = None
    """Compare these alone."""
    compact: bool = False
    """Leave out SVG files and the TensorBoard page: small enough to be committed."""
    repetitions: int = 5_000
    """Of the bootstrap."""


def run(arguments: ReportArguments) -> None:
    """
    Write the report, say where it is and what it says.

    :raises ValueError: the folders hold no runs, or none that is finished; or there is no scale for several tasks
    """
    if arguments.repetitions < 1:
        raise ValueError(f"--repetitions must be 1 or more, and is {arguments.repetitions}.")
    if not arguments.folders:
        raise ValueError("Which runs? Give the folder of an environment, of several, or the log directory, such as runs.")
    folders = list(dict.fromkeys(folder for given in arguments.folders for folder in environment_folders(given)))
    if len(folders) == 1:
        if arguments.normalise is not None:
            raise ValueError(f"--normalise is for several environments, and there is one: {folders[0]}.")
        out = arguments.out or folders[0] / "report"
        words = _one(folders[0], out, arguments)
    else:
        out = arguments.out or _beside(folders)
        words = _several(folders, out, arguments)
    print("\n".join(words).replace("**", ""))
    print(f"Report: {out / 'report.md'}")
    if not arguments.compact:
        print(f"Curves: tensorboard --logdir {out / 'tensorboard'}")


def _one(folder: Path, out: Path, arguments: ReportArguments) -> list[str]:
    return in_words(
        write_report(
            folder,
            out,
            arms=arguments.arms,
            threshold=arguments.threshold,
            repetitions=arguments.repetitions,
            compact=arguments.compact,
        )
    )


def _several(folders: list[Path], out: Path, arguments: ReportArguments) -> list[str]:
    comparisons = write_suite_report(
        folders,
        out,
        normalise=arguments.normalise,
        arms=arguments.arms,
        threshold=arguments.threshold,
        repetitions=arguments.repetitions,
        compact=arguments.compact,
    )
    return [f"{each.suite.algorithm}: {sentence}" for each in comparisons for sentence in suite_in_words(each)]


def _beside(folders: list[Path]) -> Path:
    parents = {folder.resolve().parent for folder in folders}
    if len(parents) > 1:
        raise ValueError("The environments' folders do not lie side by side, so say with --out where the report should go.")
    return folders[0].parent / "report"
