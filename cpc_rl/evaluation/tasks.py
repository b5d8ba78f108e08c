"""Several environments' runs as tasks of one scale."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from cpc_rl.evaluation.arm_names import arm_order
from cpc_rl.evaluation.arms import ArmRuns, choose_threshold, group_arms
from cpc_rl.evaluation.eval_logs import holds_evaluations, read_evaluations
from cpc_rl.evaluation.references import Reference, References
from cpc_rl.evaluation.table import Run, read_runs

LEAST_RISE = 0.05  # of the reference's range: below it, plain training's way is mostly noise


@dataclass(frozen=True)
class Task:
    """
    The runs of one algorithm on one environment.

    :param arms: on the task's own axis of steps, those without a finished run included
    :param runs: all of them, finished or not
    :param threshold: a return, whose first reaching is compared; ``None`` where there is none to choose
    """

    env: str
    algorithm: str
    reference: Reference
    arms: tuple[ArmRuns, ...]
    runs: tuple[Run, ...]
    threshold: float | None

    def find(self, arm: str) -> ArmRuns | None:
        """The runs of an arm, if any of them is finished."""
        return next((each for each in self.arms if each.arm == arm and each.runs), None)


def environment_folders(folder: Path) -> list[Path]:
    """
    The environments' folders that a path means: itself, or those of a log directory, by name.

    :raises ValueError: there are no runs
    """
    if any(True for _ in folder.glob("*/seed-*")) or holds_evaluations(folder):
        return [folder]
    found = {path.parents[2] for path in folder.glob("*/*/seed-*/config.yaml")}
    found |= {child for child in folder.glob("*") if holds_evaluations(child)}
    if not found:
        raise ValueError(
            f"{folder} holds no runs; it should hold folders such as ppo-none/seed-0 or ENV/ppo-none/seed-0, as "
            "train_agent.py makes them, or EvalCallback's evaluations.npz below folders that have their arms' names, such as "
            "none/seed-0 and cpc/seed-0."
        )
    return sorted(found)


def read_environment(folder: Path) -> list[Run]:
    """
    All runs of one environment, those of ``train_agent.py`` and those that ``EvalCallback`` alone wrote down.

    :raises ValueError: there are none, or a file of theirs cannot be read
    """
    logged = read_evaluations(folder)
    own = any(True for _ in folder.glob("*/seed-*/config.yaml")) or any(True for _ in folder.glob("*/seed-*.failed"))
    runs = (read_runs(folder) if own or not logged else []) + logged
    return sorted(runs, key=lambda run: (run.algorithm, arm_order(run.arm), run.seed))


def read_environments(folders: Iterable[Path], arms: Collection[str] | None = None) -> dict[str, list[Run]]:
    """
    The runs of each environment.

    :param folders: one for each environment
    :param arms: those to read; all of them if ``None``
    :raises ValueError: a folder has no such runs, or two have the same environment
    """
    found: dict[str, list[Run]] = {}
    for folder in folders:
        runs = keep_arms(read_environment(folder), arms, folder)
        env = runs[0].env
        if env in found:
            raise ValueError(f"Both {folder} and {found[env][0].folder.parents[1]} hold runs on {env}; give one of them.")
        found[env] = runs
    return found


def keep_arms(runs: list[Run], arms: Collection[str] | None, folder: Path) -> list[Run]:
    """
    The runs of some arms.

    :raises ValueError: there are none
    """
    kept = [run for run in runs if arms is None or run.arm in arms]
    if not kept:
        there = ", ".join(dict.fromkeys(run.arm for run in runs))
        raise ValueError(f"{folder} has no runs of the arms {', '.join(arms or ())}; it has {there}.")
    return kept


def make_tasks(environments: dict[str, list[Run]], references: References, threshold: float | None = None) -> list[Task]:
    """
    The tasks of every algorithm that has a finished run, each algorithm's together.

    :param environments: their runs
    :param references: environments that these do not know are passed by
    :param threshold: a normalised score; if ``None``, each task takes
        :func:`~cpc_rl.evaluation.arms.choose_threshold`'s, unless plain training rises by less than a twentieth of the
        reference's range
    """
    tasks = []
    for algorithm in dict.fromkeys(run.algorithm for runs in environments.values() for run in runs):
        for env, every in environments.items():
            runs = [run for run in every if run.algorithm == algorithm]
            reference = references.find(env)
            if reference is None or not any(run.status == "finished" and run.rows for run in runs):
                continue
            arms = tuple(group_arms(runs))
            least = LEAST_RISE * (reference.high - reference.low)  # nine tenths of no way at all would be no threshold
            limit = choose_threshold(arms, least) if threshold is None else reference.raw(threshold)
            tasks.append(Task(env, algorithm, reference, arms, tuple(runs), limit))
    return tasks
