"""Several environments' runs as tasks of one scale."""

from dataclasses import dataclass

from cpc_rl.evaluation.arms import ArmRuns, choose_threshold, group_arms
from cpc_rl.evaluation.references import Reference, References
from cpc_rl.evaluation.table import Run

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
            if reference is None or not any(run.status == "finished" for run in runs):
                continue
            arms = tuple(group_arms(runs))
            least = LEAST_RISE * (reference.high - reference.low)  # nine tenths of no way at all would be no threshold
            limit = choose_threshold(arms, least) if threshold is None else reference.raw(threshold)
            tasks.append(Task(env, algorithm, reference, arms, tuple(runs), limit))
    return tasks
