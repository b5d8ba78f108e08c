"""
Runs, read from their folders.

A run lies in ``<log-dir>/<env>/<algo>-<arm>/seed-<n>/`` with ``config.yaml``, ``evaluations.csv`` and, once it is finished,
``results.json``. Beside the folder of a run that failed lies ``seed-<n>.failed``, a JSON object that says what happened.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cpc_rl.evaluation.arm_names import arm_order

ROW = ("timesteps", "mean_return", "std_return", "episodes", "wall_seconds")  # of evaluations.csv
OF_THE_ENCODER = ("encoder", "encoder_sha256", "encoder_train", "unfreeze_at", "lr_scale")  # named by the arm, behind its "@"
UNWRITTEN = "not written down"  # by a run of before there was such a setting

Status = Literal["finished", "unfinished", "failed"]


@dataclass(frozen=True)
class Run:
    """
    One run, as far as it got.

    :param rows: of ``evaluations.csv``, in its order
    :param final: ``results.json``'s last evaluation, on unseen episodes; empty unless the run is finished
    :param own_final: ``False`` where there is no such evaluation, and ``final`` is the last of ``rows``
    :param settings: dotted names of everything that was configured, but for environment, arm and seed
    :param problem: what a failed run said
    :param from_table: a table, at ``folder``, is all there is of it; it says no settings
    :param also_in: other places that hold this run and that were not read for it
    """

    folder: Path
    env: str
    algorithm: str
    arm: str
    seed: int
    status: Status
    rows: tuple[dict[str, float], ...] = ()
    final: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    compute_ratio: float | None = None
    compute_head: str = ""
    problem: str = ""
    own_final: bool = True
    from_table: bool = False
    also_in: tuple[Path, ...] = ()

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells the runs of one environment apart: algorithm, arm and seed."""
        return self.algorithm, self.arm, self.seed

    def column(self, name: str) -> np.ndarray:
        """One column of the evaluations, (num_evaluations,) float64; NaN where it was not written down."""
        return np.array([row.get(name, np.nan) for row in self.rows])


def checked_run(run: Run, timesteps: float | None = None) -> Run:
    """
    The run; one that calls itself finished and cannot be compared counts as failed: with a return that is infinite or not a
    number, for such a one has no mean and no rank, or without its evaluations up to the end.

    :param timesteps: at its end, where that is known
    """
    if run.status != "finished":
        return run
    problem = ""
    if not np.isfinite([row["mean_return"] for row in (*run.rows, run.final)]).all():
        problem = "a return is not a finite number"
    elif not run.rows:
        problem = "it is finished, and the evaluations of its training are not there"
    elif timesteps is not None and run.rows[-1]["timesteps"] < timesteps:
        problem = f"its evaluations end at {run.rows[-1]['timesteps']:,.0f} of {timesteps:,.0f} steps"
    return replace(run, status="failed", problem=problem) if problem else run


def check_once(runs: Iterable[Run]) -> None:
    """:raises ValueError: two of them are the same run, such as a copy that was left beside the original"""
    places: dict[tuple[str, str, int], Path] = {}
    for run in runs:
        if run.key in places:
            raise ValueError(
                f"Both {places[run.key]} and {run.folder} hold {run.algorithm}-{run.arm} with seed {run.seed}: "
                "move one of them away."
            )
        places[run.key] = run.folder


def read_runs(folder: Path) -> list[Run]:
    """
    All runs of one environment, also those that are not finished, by algorithm, arm and seed.

    :param folder: ``<log-dir>/<env>``
    :raises ValueError: there are none, a file of theirs cannot be read, or two of them are the same run
    """
    found = {path.parent: _read_run(path.parent) for path in folder.glob("*/seed-*/config.yaml")}
    for marker in folder.glob("*/seed-*.failed"):
        place = marker.with_suffix("")
        if place not in found:
            said = _read_json(marker)
            env, algorithm, arm, problem = (str(said.get(name, "")) for name in ("env", "algorithm", "arm", "problem"))
            seed = said["seed"] if isinstance(said.get("seed"), int) else -1
            found[place] = Run(place, env, algorithm, arm, seed, status="failed", problem=problem)
    if not found:
        raise ValueError(f"{folder} holds no runs; it should hold folders such as ppo-none/seed-0, as LOG_DIR/ENV does.")
    runs = sorted(found.values(), key=lambda run: (run.algorithm, arm_order(run.arm), run.seed))
    check_once(run for run in runs if run.settings)
    return runs


def names_its_run(marker: Path) -> bool:
    """Whether the mark of a run that failed can be read; a full disk may have left an empty one."""
    try:
        return bool(_read_json(marker).get("env"))
    except ValueError:
        return False


def different_settings(runs: Sequence[Run]) -> dict[str, list[str]]:
    """
    Settings in which runs of one algorithm differ that should differ in arm and seed alone, with their values.

    What a run starts from an encoder for is said by its arm, so those settings are looked at within each arm. A setting that
    is off (``None``, ``False``, empty) in some runs and not written down by others, of before there was such a thing, is none.
    """
    found: dict[str, list[str]] = {}
    for algorithm in dict.fromkeys(run.algorithm for run in runs):
        configured = [run for run in runs if run.algorithm == algorithm and run.settings]
        for name in dict.fromkeys(name for run in configured for name in run.settings if name not in OF_THE_ENCODER):
            _note_difference(found, name, configured)
        for arm in dict.fromkeys(run.arm for run in configured):
            for name in OF_THE_ENCODER:
                _note_difference(found, name, [run for run in configured if run.arm == arm])
    return found


def _note_difference(found: dict[str, list[str]], name: str, runs: Sequence[Run]) -> None:
    settings = [run.settings[name] for run in runs if name in run.settings]
    if len(settings) < len(runs):
        settings = [UNWRITTEN, *(UNWRITTEN if value is False or value in (None, "", [], {}) else value for value in settings)]
    values = list(dict.fromkeys(map(str, settings)))
    if len(values) > 1:
        found[name] = list(dict.fromkeys([*found.get(name, []), *values]))


def _read_run(folder: Path) -> Run:
    content = _read_yaml(folder / "config.yaml")
    run = content.get("run") if isinstance(content, dict) else None
    try:
        settings = dict(run)  # type: ignore[arg-type]
        env, arm, seed = str(settings.pop("env")), str(settings.pop("arm")), int(settings.pop("seed"))
        algorithm = str(settings["recipe"]["algorithm"])
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"{folder / 'config.yaml'} should say env, arm, seed and recipe.algorithm under 'run'.") from None
    results = _read_json(folder / "results.json") if (folder / "results.json").is_file() else None
    final = {} if results is None else _last_evaluation(results)
    if results is not None and not final:
        raise ValueError(f"{folder / 'results.json'} should say final.mean_return, a number, as are std_return and episodes.")
    marker = folder.with_name(f"{folder.name}.failed")
    failure = _read_json(marker) if results is None and marker.is_file() else None
    status: Status = "finished" if results else "unfinished" if failure is None else "failed"
    timesteps = results.get("timesteps") if results else None  # older files do not say
    matched = content.get("compute")  # older files do not say whose time it was
    matched = matched if isinstance(matched, dict) else {}
    found = Run(
        folder,
        env,
        algorithm,
        arm,
        seed,
        status,
        rows=_read_rows(folder / "evaluations.csv"),
        final=final,
        settings=flattened(settings),
        command=str(content.get("command", "")),
        compute_ratio=ratio if isinstance(ratio := matched.get("ratio"), int | float) else None,
        compute_head=str(matched.get("head") or (settings.get("recipe") or {}).get("objective") or "") if matched else "",
        problem=str(failure.get("problem", "")) if failure else "",
    )
    return checked_run(found, timesteps if isinstance(timesteps, int | float) else None)


def _last_evaluation(results: dict[str, Any]) -> dict[str, Any]:
    """Nothing if its mean return is not there, or what else is read of it is no number."""
    final = results.get("final")
    if not isinstance(final, dict):
        return {}
    read = [final.get("mean_return"), *(final[name] for name in ("std_return", "episodes") if name in final)]
    return final if all(isinstance(value, int | float) for value in read) else {}


def _read_rows(file: Path) -> tuple[dict[str, float], ...]:
    """Whole rows; of a run that is under way, the last may be half written."""
    if not file.is_file():
        return ()
    rows: dict[float, dict[str, float]] = {}  # by timesteps
    with open(file, encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        for number, row in enumerate(reader, start=2):
            try:
                values = {name: float(row[name]) for name in ROW}
            except (TypeError, ValueError, KeyError):
                if next(reader, None) is None:
                    break
                raise ValueError(f"Line {number} of {file} should hold {', '.join(ROW)}, all numbers.") from None
            rows[values["timesteps"]] = values
    return tuple(rows[steps] for steps in sorted(rows))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} should hold a JSON object.")
    return content


def _read_yaml(file: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ValueError(f"Reading {file} needs PyYAML: pip install -e '.[train]'.") from error
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{file} cannot be read: {' '.join(str(error).split())}.") from None


def flattened(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat.update(flattened(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat
