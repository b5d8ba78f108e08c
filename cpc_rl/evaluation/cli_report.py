"""``cpc-rl report``: the comparison of runs on one environment, or on several."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from cpc_rl.evaluation.report import default_place, report_runs
from cpc_rl.evaluation.sources import check_place, find_sources, read_sources
from cpc_rl.evaluation.suite_report import report_environments
from cpc_rl.evaluation.suite_words import suite_in_words
from cpc_rl.evaluation.table import Run
from cpc_rl.evaluation.words import in_words


@dataclass(frozen=True)
class ReportArguments:
    """
    Compare the runs of one environment, or of several together.

    Figures with intervals, curves with bands, and what the head brings, in words.
    """

    sources: Positional[tuple[Path, ...]]
    """LOG_DIR/ENV, which holds ALGO-ARM/seed-N; a table of runs, such as an earlier report's runs.csv; several of these, which
    are put together; or LOG_DIR, or a folder of tables, for a report over several tasks."""
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

    :raises ValueError: the folders hold no runs, none of an arm, or none that is finished; there is no scale for several
        tasks; or a number makes no sense
    """
    if arguments.repetitions < 1:
        raise ValueError(f"--repetitions must be 1 or more, and is {arguments.repetitions}.")
    if not arguments.sources:
        raise ValueError(
            "Which runs? Give an environment's folder, several, a table of runs, or the log directory, such as runs."
        )
    sources = list(dict.fromkeys(source for given in arguments.sources for source in find_sources(given)))
    environments = read_sources(sources, arguments.arms)
    alone = len(environments) == 1
    if alone and arguments.normalise is not None:
        raise ValueError(f"--normalise is for several environments, and there is one: {', '.join(environments)}.")
    out = arguments.out or (default_place(sources) if alone else _beside(sources))
    check_place(sources, out)
    words = (_one if alone else _several)(environments, out, arguments)
    print("\n".join(words).replace("**", ""))
    print(f"Report: {out / 'report.md'}")
    if not arguments.compact:
        print(f"Curves: tensorboard --logdir {out / 'tensorboard'}")


def _one(environments: dict[str, list[Run]], out: Path, arguments: ReportArguments) -> list[str]:
    (runs,) = environments.values()
    comparison = report_runs(
        runs, out, threshold=arguments.threshold, repetitions=arguments.repetitions, compact=arguments.compact
    )
    return in_words(comparison)


def _several(environments: dict[str, list[Run]], out: Path, arguments: ReportArguments) -> list[str]:
    comparisons = report_environments(
        environments,
        out,
        normalise=arguments.normalise,
        threshold=arguments.threshold,
        repetitions=arguments.repetitions,
        compact=arguments.compact,
    )
    return [f"{each.suite.algorithm}: {sentence}" for each in comparisons for sentence in suite_in_words(each)]


def _beside(sources: list[Path]) -> Path:
    parents = {source.resolve().parent for source in sources}
    if len(parents) > 1:
        raise ValueError("The runs do not lie side by side, so say with --out where the report should go.")
    return sources[0].parent / "report"
