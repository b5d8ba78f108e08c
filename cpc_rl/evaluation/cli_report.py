"""``cpc-rl report``: the comparison of runs that lie in one folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from cpc_rl.evaluation.report import write_report
from cpc_rl.evaluation.words import in_words


@dataclass(frozen=True)
class ReportArguments:
    """Compare the runs of one environment: figures with intervals, curves with bands, and what the head brings, in words."""

    folder: Annotated[Path, Positional]
    """LOG_DIR/ENV, which holds ALGO-ARM/seed-N."""
    out: Path | None = None
    """Where the report goes; default: report in that folder."""
    threshold: float | None = None
    """The return whose first reaching is compared; default: nine tenths of plain training's way."""
    repetitions: int = 5_000
    """Of the bootstrap."""


def run(arguments: ReportArguments) -> None:
    """
    Write the report, say where it is and what it says.

    :raises ValueError: the folder holds no runs, or none that is finished
    """
    if arguments.repetitions < 1:
        raise ValueError(f"--repetitions must be 1 or more, and is {arguments.repetitions}.")
    out = arguments.out or arguments.folder / "report"
    comparison = write_report(arguments.folder, out, threshold=arguments.threshold, repetitions=arguments.repetitions)
    print("\n".join(in_words(comparison)).replace("**", ""))
    print(f"Report: {out / 'report.md'}")
    print(f"Curves: tensorboard --logdir {out / 'tensorboard'}")
