"""What is said of runs, whatever they are compared in."""

from collections.abc import Sequence

from cpc_rl.evaluation.cells import span_text
from cpc_rl.evaluation.table import Run

SAME_LENGTH = 1.05  # a last rollout may go on beyond what was asked for


def ends_in_words(runs: Sequence[Run], where: str = "") -> list[str]:
    """
    That finished runs of an algorithm were not trained for equally long, as nearly as rollouts allow; nothing if they were.

    :param where: what to say of their environment, if several are reported
    """
    lines = []
    finished = [run for run in runs if run.status == "finished"]
    for algorithm in dict.fromkeys(run.algorithm for run in finished):
        ends: dict[str, list[float]] = {}
        for run in finished:
            if run.algorithm == algorithm:
                ends.setdefault(run.arm, []).append(run.rows[-1]["timesteps"])
        steps = [end for each in ends.values() for end in each]
        if max(steps) > SAME_LENGTH * min(steps):
            spans = (f"`{arm}` at {span_text(min(each), max(each))}" for arm, each in ends.items())
            lines.append(
                f"- **Runs of `{algorithm}`{where} end at different steps**: {', '.join(spans)}. Final returns are those of "
                "trainings of other lengths."
            )
    return lines


def unknown_in_words(runs: Sequence[Run]) -> list[str]:
    """What is not known of runs that ``EvalCallback`` alone wrote down, or a table; nothing if there are none."""
    lines = []
    logs = [run for run in runs if not run.own_final]
    if logs:
        lines.append(
            f"- {_who(logs, runs)} known by `EvalCallback`'s `evaluations.npz` alone: their last evaluation counts as final, "
            "also of a run that was cut; they have no wall time, and whether they differ in more than arm and seed is not "
            "known."
        )
    tables = [run for run in runs if run.from_table]
    if tables:
        names = ", ".join(dict.fromkeys(f"`{run.folder.name}`" for run in tables))
        lines.append(
            f"- {_who(tables, runs)} known by tables alone ({names}), which do not say whether "
            "they differ in more than arm and seed."
        )
    doubles = [run for run in runs if run.also_in]
    if doubles:
        names = ", ".join(dict.fromkeys(f"`{place.name}`" for run in doubles for place in run.also_in))
        lines.append(f"- {_who(doubles, runs)} in {names} as well, and counted once, as their own folders have them.")
    return lines


def _who(some: Sequence[Run], runs: Sequence[Run]) -> str:
    if len(some) == len(runs):
        return "All runs are"
    return f"{len(some)} of {len(runs)} runs are"
