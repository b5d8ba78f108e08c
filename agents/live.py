"""What the runs of a grid are at: a table that is drawn anew in a terminal, plain lines elsewhere."""

import re
import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from agents.errors import UserError
from agents.jobs import Job
from agents.run_log import read_end

EVERY = 1.0  # seconds between two looks at the files
BAR = re.compile(r"(\d+)/(\d+) \[")
COLOURS = {"waiting": "dim", "running": "cyan", "finished": "green", "failed": "bold red", "stopped": "yellow"}


class LiveTable:
    """
    A context that shows jobs; to be called with them a few times a second.

    :param console: where to show them; standard output if ``None``
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console(file=sys.stdout)
        self.live: Live | None = None
        self.looked = -EVERY
        self.said: dict[str, str] = {}
        if self.console.is_terminal:
            self.live = Live(console=self.console, auto_refresh=False, transient=False)

    def __enter__(self) -> "LiveTable":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self.live is not None:
            self.live.stop()

    def __call__(self, jobs: Sequence[Job], *, last: bool = False) -> None:
        """
        :param jobs: all of the grid, in their order
        :param last: look even if it was done just now
        """
        if time.monotonic() - self.looked < EVERY and not last:
            return
        self.looked = time.monotonic()
        if self.live is not None:
            self.live.update(_table(jobs, max(5, self.console.height - 6)), refresh=True)
            return
        for job in jobs:
            line = _line(job)
            if job.state != "waiting" and self.said.get(job.name) != line:
                self.said[job.name] = line
                done = sum(other.state == "finished" for other in jobs)
                self.console.print(f"[{done}/{len(jobs)} finished] {line}", markup=False, highlight=False, soft_wrap=True)


def reached(job: Job) -> tuple[int, float | None]:
    """Agent steps of the newest evaluation and its mean return; 0 and ``None`` before the first."""
    try:
        rows = job.folder.read_evaluations()
    except (OSError, ValueError, TypeError):  # not there yet, or half a row is being written
        return 0, None
    return (int(rows[-1]["timesteps"]), rows[-1]["mean_return"]) if rows else (0, None)


def steps_made(job: Job) -> int:
    """Agent steps so far, which the progress bar in the log knows between two evaluations."""
    evaluated, _ = reached(job)
    if job.state != "running":
        return evaluated
    bars = [(int(steps), int(total)) for steps, total in BAR.findall(read_end(job.log))]
    return max([evaluated, *(steps for steps, total in bars if total == job.configuration.timesteps)])


def _line(job: Job) -> str:
    steps, value = reached(job)
    got = f", {steps:,} steps, return {value:.1f}" if value is not None else ""
    if job.state == "failed":
        how = f": {job.problem}" if job.problem else f" with exit status {job.status}"
        return f"{job.name}: failed{how}, log {job.log}"
    if job.state == "finished":
        return f"{job.name}: finished{got}{_final(job)}"
    return f"{job.name}: {job.state}{got}"


def _final(job: Job) -> str:
    try:
        results = job.folder.read_results()
    except UserError:
        return ""
    return f"; {results['final']['mean_return']:.1f} on unseen episodes" if results else ""


def _table(jobs: Sequence[Job], most: int) -> Table:
    """At most so many rows: what runs or has failed before what has not begun, what is finished last."""
    counts = {state: sum(job.state == state for job in jobs) for state in COLOURS}
    title = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    table = Table(title=title, title_justify="left", show_edge=False)
    for name in ("arm", "seed", "state"):
        table.add_column(name)
    for name in ("steps", "return", "time"):
        table.add_column(name, justify="right")
    urgent = sorted(jobs, key=lambda job: ("running", "failed", "stopped", "waiting", "finished").index(job.state))[:most]
    if len(jobs) > most:
        table.caption = f"and {len(jobs) - most} more"
    for job in [job for job in jobs if job in urgent]:
        run = job.configuration
        _, value = reached(job)
        steps = steps_made(job)
        seconds = time.monotonic() - job.began if job.state == "running" else job.seconds
        table.add_row(
            Text(run.arm),
            str(run.seed),
            Text(job.state, style=COLOURS[job.state]),
            f"{steps:,} of {run.timesteps:,} ({100 * min(steps, run.timesteps) // run.timesteps}%)" if steps else "",
            "" if value is None else f"{value:.1f}",
            f"{int(seconds) // 60}:{int(seconds) % 60:02}" if seconds else "",
        )
    return table
