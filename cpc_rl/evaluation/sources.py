"""Where a report's runs come from: folders of runs, logs of ``EvalCallback``, and tidy tables of earlier reports."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from cpc_rl.evaluation.arm_names import arm_order
from cpc_rl.evaluation.eval_logs import holds_evaluations, read_evaluations
from cpc_rl.evaluation.table import Run, Status, check_once, names_its_run, read_runs
from cpc_rl.evaluation.tidy_table import COLUMNS, is_table, read_table

REACHED: tuple[Status, ...] = ("failed", "unfinished", "finished")


def find_sources(path: Path) -> list[Path]:
    """
    What a path means: an environment's folder or a table, itself; a log directory or a folder of tables, those in it, by name.

    :raises ValueError: there are no runs
    """
    if path.is_file():
        if not is_table(path):
            raise ValueError(f"{path} is no table of runs; such a one is a .csv file with the columns {', '.join(COLUMNS)}.")
        return [path]
    if any(True for _ in path.glob("*/seed-*")) or holds_evaluations(path):
        return [path]
    found = {file.parents[2] for file in path.glob("*/*/seed-*/config.yaml")}
    found |= {child for child in path.glob("*") if holds_evaluations(child)}
    if len(found) > 1:  # a report of several names also those where every run failed; beside a single one it would be no other
        found |= {file.parents[1] for file in path.glob("*/*/seed-*.failed") if names_its_run(file)}
    found = found or {file for file in path.glob("*.csv") if is_table(file)}
    if not found:
        raise ValueError(
            f"{path} holds no runs; it should hold folders such as ppo-none/seed-0 or ENV/ppo-none/seed-0, as "
            "train_agent.py makes them, or EvalCallback's evaluations.npz below folders that have their arms' names, such as "
            "none/seed-0 and cpc/seed-0, or be a table of runs (the runs.csv of a report) or a folder of tables."
        )
    return sorted(found)


def read_source(path: Path) -> list[Run]:
    """
    All runs of one table, or of one environment's folder: those of ``train_agent.py`` and those that ``EvalCallback`` alone
    wrote down.

    :raises ValueError: there are none, a file of theirs cannot be read, or two of them are the same run
    """
    if path.is_file():
        runs = read_table(path)
        if not runs:
            raise ValueError(f"{path} holds no runs.")
        return runs
    logged = read_evaluations(path)
    own = any(True for _ in path.glob("*/seed-*/config.yaml")) or any(True for _ in path.glob("*/seed-*.failed"))
    runs = read_runs(path) if own or not logged else []
    check_once([*(run for run in runs if run.settings), *logged])  # those without a configuration are marks alone
    return _in_order(runs + logged)


def read_sources(sources: Iterable[Path], arms: Collection[str] | None = None) -> dict[str, list[Run]]:
    """
    The runs of each environment, those of several sources together, by algorithm, arm and seed.

    A run that several sources hold counts once: as its own folder has it, whatever tables say.

    :param sources: as of :func:`find_sources`
    :param arms: those to read; all of them if ``None``
    :raises ValueError: one of these arms is nowhere, or none of them on an environment; or two folders, or two tables, hold
        the same run
    """
    environments: dict[str, list[Run]] = {}
    for source in sorted(sources, key=lambda path: path.is_file()):  # tables last
        for env, runs in _by_environment(source).items():
            environments[env] = _together(environments.get(env, []), runs)
    check_arms([run for runs in environments.values() for run in runs], arms)
    failed = [env for env, runs in environments.items() if all(run.status == "failed" for run in runs)]
    for env in failed:  # it is named in a report of its arms, and is no reason against one of others
        if arms is not None and not any(run.arm in arms for run in environments[env]):
            del environments[env]
    return {env: keep_arms(_in_order(runs), arms, env) for env, runs in environments.items()}


def check_place(sources: Iterable[Path], out: Path) -> None:
    """
    :raises ValueError: a report that is written there would write over a table that it is made of
    """
    for source in sources:
        place = source.resolve()
        if place.is_file() and (place == (out / "runs.csv").resolve() or place.parent == (out / "runs").resolve()):
            raise ValueError(f"{source} is a table that is read, and a report in {out} would replace it: say another --out.")


def _by_environment(source: Path) -> dict[str, list[Run]]:
    """A table says of each run what it was on; a folder is of one environment, which runs that failed early may not name."""
    runs = read_source(source)
    if source.is_file():
        return {env: [run for run in runs if run.env == env] for env in dict.fromkeys(run.env for run in runs)}
    return {next((run.env for run in runs if run.env), ""): runs}


def _together(runs: list[Run], more: list[Run]) -> list[Run]:
    kept = {run.key: run for run in runs}
    for again in more:
        run = kept.get(again.key)
        if run is None:
            continue
        if run.from_table == again.from_table and not (run.final and again.final):
            # An attempt that did not come to its end on one machine is none beside another machine's.
            kept[run.key] = max(run, again, key=lambda each: REACHED.index(each.status))
            continue
        if run.from_table == again.from_table:
            raise ValueError(
                f"Both {run.folder} and {again.folder} hold {run.algorithm}-{run.arm} with seed {run.seed} on {run.env}; "
                "give one of them."
            )
        kept[again.key] = replace(run, also_in=(*run.also_in, again.folder))
    return [*(kept[run.key] for run in runs), *(run for run in more if run.key not in kept)]


def _in_order(runs: Iterable[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: (run.algorithm, arm_order(run.arm), run.seed))


def check_arms(runs: Iterable[Run], arms: Collection[str] | None) -> None:
    """
    An arm that no run is of is a mistake in its name: a report that went on would be without it, and not say so.

    :param runs: of all environments
    :raises ValueError: there is such an arm
    """
    there = list(dict.fromkeys(run.arm for run in _in_order(runs)))
    unknown = [arm for arm in arms or () if arm not in there]
    if unknown:
        raise ValueError(f"There are no runs of the arms {', '.join(unknown)} to report; there are {', '.join(there)}.")


def keep_arms(runs: list[Run], arms: Collection[str] | None, env: str) -> list[Run]:
    """
    The runs of some arms.

    :raises ValueError: there are none
    """
    kept = [run for run in runs if arms is None or run.arm in arms]
    if not kept:
        there = ", ".join(dict.fromkeys(run.arm for run in runs))
        raise ValueError(f"{env} has no runs of the arms {', '.join(arms or ())}; it has {there}.")
    return kept
