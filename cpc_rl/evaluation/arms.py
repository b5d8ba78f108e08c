"""The runs of each arm on common axes, and the figures of each run."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cpc_rl.evaluation.arm_names import head_of
from cpc_rl.evaluation.statistics import area_under_curve, interquartile_mean, resample_curve, steps_to_threshold
from cpc_rl.evaluation.table import Run


@dataclass(frozen=True)
class ArmRuns:
    """
    The finished runs of one arm, with one algorithm; all arms of an algorithm share the axis of steps.

    :param label: the arm, with its algorithm before it where there are several
    :param steps: (num_points,) agent steps
    :param returns: (num_runs, 1, num_points)
    :param seconds: (num_times,) of training, evaluations left out, as far as this arm's quickest run went; empty without
    :param returns_at: (num_runs, 1, num_times)
    :param others: runs of the arm that are not finished
    """

    label: str
    algorithm: str
    arm: str
    runs: tuple[Run, ...]
    others: tuple[Run, ...]
    steps: np.ndarray
    returns: np.ndarray
    seconds: np.ndarray
    returns_at: np.ndarray

    @property
    def head(self) -> str:
        """The arm's objectives, such as ``cpc``; empty if it trains none."""
        return head_of(self.arm)

    @property
    def num_tasks(self) -> int:
        """One."""
        return 1

    def final(self) -> np.ndarray:
        """(num_runs, 1) mean return of the last evaluation, on unseen episodes."""
        return np.array([[run.final["mean_return"]] for run in self.runs], dtype=np.float64)

    def area(self) -> np.ndarray:
        """(num_runs, 1) mean return over the training."""
        return area_under_curve(self.steps, self.returns)

    def steps_to(self, threshold: float) -> np.ndarray:
        """(num_runs, 1) agent steps to the first evaluation at or above a threshold, ``inf`` without one."""
        return steps_to_threshold(self.steps, self.returns, threshold)

    @property
    def resampled(self) -> bool:
        """Whether a run of its was evaluated elsewhere than the axis has points, and is met on straight lines there."""
        return any(not np.isin(self.steps, run.column("timesteps")).all() for run in self.runs)

    @property
    def timed(self) -> bool:
        """Whether all its runs say how long they took."""
        return all(map(is_timed, self.runs))

    def seconds_to(self, threshold: float) -> np.ndarray:
        """(num_runs, 1) seconds of training until then, where :attr:`timed`."""
        found = [
            np.interp(steps, run.column("timesteps"), run.column("wall_seconds")) if np.isfinite(steps) else np.inf
            for run, steps in zip(self.runs, self.steps_to(threshold)[:, 0], strict=True)
        ]
        return np.array(found, dtype=np.float64)[:, None]


def is_timed(run: Run) -> bool:
    """Whether each of its evaluations says how long the training had taken."""
    return bool(np.isfinite(run.column("wall_seconds")).all())


def group_arms(runs: Sequence[Run]) -> list[ArmRuns]:
    """
    Put the finished runs on common axes: of steps, from the latest beginning to the earliest end among an algorithm's runs.

    :param runs: of one environment, in the order in which arms should appear
    :raises ValueError: no run is finished, or the curves of an algorithm have no stretch in common
    """
    finished = [run for run in runs if run.status == "finished"]
    if not finished:
        raise ValueError("No run is finished, so there is nothing to compare yet.")
    algorithms = list(dict.fromkeys(run.algorithm for run in runs))
    axes = {algorithm: _common_steps([run for run in finished if run.algorithm == algorithm]) for algorithm in algorithms}
    several = len(algorithms) > 1
    arms = []
    for algorithm, arm in dict.fromkeys((run.algorithm, run.arm) for run in runs):
        own = [run for run in runs if (run.algorithm, run.arm) == (algorithm, arm)]
        steps = axes[algorithm]
        done = tuple(run for run in own if run in finished)
        rest = tuple(run for run in own if run not in finished)
        curves = [resample_curve(steps, run.column("timesteps"), run.column("mean_return")) for run in done]
        returns = np.array(curves).reshape(len(done), 1, steps.size)
        seconds, returns_at = _over_time(done, steps.size)
        label = f"{algorithm}-{arm}" if several else arm
        arms.append(ArmRuns(label, algorithm, arm, done, rest, steps, returns, seconds, returns_at))
    return arms


def _common_steps(runs: Sequence[Run]) -> np.ndarray:
    """Where any of the runs was evaluated, as far as all of them go; nothing without a run."""
    if not runs:
        return np.empty(0)
    columns = [run.column("timesteps") for run in runs]
    latest = max(range(len(runs)), key=lambda index: columns[index][0])
    earliest = min(range(len(runs)), key=lambda index: columns[index][-1])
    first, last = columns[latest][0], columns[earliest][-1]
    if first > last:
        raise ValueError(
            f"The runs' evaluations have no stretch in common: {runs[latest].folder} begins at {first:g}, "
            f"{runs[earliest].folder} ends at {last:g}; leave one's arm out by --arms, or evaluate them at like steps."
        )
    points = np.unique(np.concatenate(columns))
    return points[(points >= first) & (points <= last)]


def choose_threshold(arms: Sequence[ArmRuns], least_rise: float = 0.0) -> float | None:
    """
    Nine tenths of the way from plain training's first evaluation to its last, by the interquartile mean.

    :param arms: of one algorithm
    :param least_rise: a return by which it must rise at least
    :return: ``None`` if plain training (or, without that arm, the first one) has no run or does not rise so much
    """
    plain = next((arm for arm in arms if arm.arm == "none"), arms[0])
    if not plain.runs:
        return None
    first, last = (float(interquartile_mean(plain.returns[:, :, point])) for point in (0, -1))
    return first + 0.9 * (last - first) if last > first and last - first >= least_rise else None


def _over_time(runs: Sequence[Run], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The curves over seconds of training, at ``count`` equal distances."""
    clocks = []
    if not all(map(is_timed, runs)):
        return np.empty(0), np.empty((len(runs), 1, 0))
    for run in runs:
        seconds, at = np.unique(run.column("wall_seconds"), return_index=True)
        clocks.append((seconds, run.column("mean_return")[at]))
    first = max((seconds[0] for seconds, _ in clocks), default=0.0)
    last = min((seconds[-1] for seconds, _ in clocks), default=0.0)
    if last <= first:
        return np.empty(0), np.empty((len(runs), 1, 0))
    times = np.linspace(first, last, max(2, count))
    curves = [resample_curve(times, seconds, returns) for seconds, returns in clocks]
    return times, np.array(curves)[:, None, :]
