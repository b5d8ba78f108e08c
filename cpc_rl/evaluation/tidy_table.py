"""The tidy table of runs, one row per run and evaluation: written by every report, and read by the next one."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from cpc_rl.evaluation.table import ROW, Run, Status, checked_run

COLUMNS = ("env", "algorithm", "arm", "seed", "status", "evaluation", *ROW)
OF_THE_FINAL = ("mean_return", "std_return", "episodes")
UNMEASURED = ("std_return", "wall_seconds")  # may be empty: EvalCallback writes no times


def write_table(file: Path, runs: Iterable[Run]) -> None:
    """
    One row per run and evaluation, the final one on unseen episodes included; a run without any has a row of its own.

    :param file: ends in ``.csv``
    """
    with open(file, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n", restval="")
        writer.writeheader()
        for run in runs:
            names: dict[str, Any] = {name: getattr(run, name) for name in COLUMNS[:5]}
            for row in run.rows:
                writer.writerow({**names, "evaluation": "periodic", **_plain(row, ROW)})
            if run.final and run.own_final:
                last = _plain(run.rows[-1], ("timesteps", "wall_seconds")) if run.rows else {}
                writer.writerow({**names, "evaluation": "final", **last, **_plain(run.final, OF_THE_FINAL)})
            if not run.rows and not run.final:
                writer.writerow({**names, "evaluation": "none"})


def is_table(file: Path) -> bool:
    """Whether a file has the tidy table's columns."""
    if file.suffix.lower() != ".csv" or not file.is_file():
        return False
    with open(file, encoding="utf-8-sig", errors="replace", newline="") as stream:
        return set(COLUMNS) <= set(next(csv.reader(stream), []))


def read_table(file: Path) -> list[Run]:
    """
    The runs of a tidy table, on whatever environments.

    What a table does not say is not known of them: settings, command, the ratio of ``compute``, what a failed run said.

    :raises ValueError: it cannot be read as such a table
    """
    found: dict[tuple[str, str, str, int], list[_Row]] = {}
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:  # a spreadsheet marks its files
            for number, row in enumerate(csv.DictReader(stream), start=2):
                if not any(row.values()):
                    continue
                run, content = _read_row(row, f"Line {number} of {file}")
                found.setdefault(run, []).append(content)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read: {error}.") from None
    return [checked_run(_as_run(file, *names, rows)) for names, rows in found.items()]


class _Row(NamedTuple):
    status: Status
    evaluation: str
    values: dict[str, float]


def _read_row(row: dict[str, str], where: str) -> tuple[tuple[str, str, str, int], _Row]:
    try:
        run = row["env"], row["algorithm"], row["arm"], int(row["seed"])
        status, evaluation = row["status"], row["evaluation"]
        may_lack = (*UNMEASURED, "timesteps") if evaluation == "final" else UNMEASURED
        wanted = [] if evaluation == "none" else [name for name in ROW if row[name] or name not in may_lack]
        values = {name: float(row[name]) for name in wanted}
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{where} should hold {', '.join(COLUMNS)}; seed and what follows evaluation are numbers.") from None
    if status not in get_args(Status) or evaluation not in ("periodic", "final", "none"):
        raise ValueError(
            f"{where} should have a status of {', '.join(get_args(Status))} and an evaluation of periodic, final, none; "
            f"it has {status!r} and {evaluation!r}."
        )
    return run, _Row(status, evaluation, values)  # type: ignore[arg-type]


def _as_run(file: Path, env: str, algorithm: str, arm: str, seed: int, content: list[_Row]) -> Run:
    rows = sorted((row.values for row in content if row.evaluation == "periodic"), key=lambda values: values["timesteps"])
    steps = [values["timesteps"] for values in rows]
    if len(set(steps)) < len(steps) or sum(row.evaluation == "final" for row in content) > 1:
        raise ValueError(f"{file} holds {algorithm}-{arm} with seed {seed} on {env} twice: leave one of them out.")
    status = content[0].status
    own = next((row.values for row in content if row.evaluation == "final"), None)
    final = rows[-1] if own is None and rows and status == "finished" else own
    if final is None and status == "finished":
        raise ValueError(f"{file} calls {algorithm}-{arm} seed {seed} on {env} finished, and has no evaluation of it.")
    known = own is not None or status != "finished"
    return Run(file, env, algorithm, arm, seed, status, tuple(rows), final or {}, own_final=known, from_table=True)


def _plain(values: Mapping[str, float], names: Iterable[str]) -> dict[str, str]:
    """Without a decimal point where there is nothing behind it."""
    there = {name: float(values[name]) for name in names if name in values}
    return {name: str(int(value)) if value.is_integer() else repr(value) for name, value in there.items()}
