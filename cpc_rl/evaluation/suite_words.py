"""A comparison over several tasks in words and Markdown."""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence

from cpc_rl.evaluation.cells import interval_text, table
from cpc_rl.evaluation.pairs import MEASURES, SIGNIFICANT, names_for
from cpc_rl.evaluation.references import References
from cpc_rl.evaluation.run_words import ends_in_words, unknown_in_words
from cpc_rl.evaluation.suite_comparison import SUITE_STATISTICS, SuiteComparison
from cpc_rl.evaluation.suite_tables import final_table, return_table, steps_table
from cpc_rl.evaluation.table import Run, different_settings
from cpc_rl.evaluation.words import pair_table, pairs_in_words

SCORES = {"area": "mean score over the training", "final": "final score on unseen episodes"}
STATISTIC_NAMES = {"iqm": "IQM", "median": "median", "mean": "mean", "optimality_gap": "optimality gap"}

PLACEHOLDERS = {"--env": "ENV", "--objective": "ARM", "--seeds": "SEED"}
MEANINGLESS = ("--log-dir", "--jobs", "--overwrite")

HOW_TO_READ = """\
## How to read this

- A score is `(return - low) / (high - low)` with the task's reference scores, below 0 and above 1 too. "Over the training" is
  the area under a run's evaluation curve, divided by its length.
- IQM is the interquartile mean of all runs of all tasks; the median is that over the tasks of the mean over the runs; the
  optimality gap is by how much scores stay below 1 on average, lower being better. Every task has as many runs.
- Intervals are 95% stratified-bootstrap intervals (percentiles): runs are drawn for each task on its own, so they speak of
  other seeds and not of other tasks.
- "Better" and "worse" need an interval of the difference of IQMs without 0 **and** a permutation test of the means with
  p <= 0.05, runs being dealt to the two arms for each task on its own; an interval alone is called a hint. Where the means
  differ the other way than the IQMs (which leave out a task where all is lost), there is no evidence.
- In the tables of tasks returns are raw, interquartile means over all of a task's runs. Against plain training on that task
  alone: ↑ better, ↓ worse, (↑) and (↓) a hint. On one task three seeds against three can never be more than a hint.
- Steps to the threshold are the median run's, to its first evaluation at or above it. In brackets, how many times fewer than
  plain training's; "only plain" means that plain training gets there and the arm does not, "only here" the reverse. Where
  neither does, the ratio counts as 1; of an even number of tasks the median is the lower of the two in the middle.
- The probability of improvement is that of a run of one arm being better than a run of the other on the same task, averaged
  over the tasks; a tie counts half.
"""


def suite_markdown(
    comparisons: Sequence[SuiteComparison],
    references: References,
    runs: Sequence[Run],
    left_out: Sequence[str],
    pictures: Iterable[Iterable[str]],
) -> str:
    """
    The whole report.

    :param comparisons: one for each algorithm
    :param runs: all of them, finished or not
    :param left_out: environments without reference scores, whose runs are not among these
    :param pictures: of each algorithm, paths relative to the report
    """
    envs = list(dict.fromkeys(run.env for run in runs))
    parts = [f"# Sample efficiency over {len(envs)} tasks", f"Reference scores: {references.name}."]
    if left_out:
        parts.append(
            f"**Left out**, for there are no reference scores for them: {', '.join(left_out)}. `--normalise` takes a CSV "
            "file with the columns task, low, high; `cpc-rl report` of such a folder alone needs none."
        )
    for comparison, files in zip(comparisons, pictures, strict=True):
        algorithm = comparison.suite.algorithm
        scores, measures = (names_for(names, comparison.suite.runs) for names in (SCORES, MEASURES))
        parts += [
            f"## {algorithm}",
            "\n".join(_runs_in_words(comparison)),
            f"### {algorithm} in words",
            "\n".join(f"- {sentence}" for sentence in suite_in_words(comparison)),
            "\n\n".join(f"![{file}]({file})" for file in files),
            *(f"### {scores[name].capitalize()}\n\n{aggregate_table(comparison, name)}" for name in MEASURES),
            "### Pairs of arms, over all tasks",
            pair_table(comparison.pairs, scores) if comparison.pairs else "There is no arm to compare with.",
            "### Mean return over the training, by task",
            return_table(comparison),
            f"### {measures['final'].capitalize()}, by task",
            final_table(comparison),
            "### Steps to the threshold, by task",
            steps_table(comparison),
        ]
    parts += ["## Runs", "\n".join(_other_runs(runs)), HOW_TO_READ]
    return "\n\n".join(part for part in parts if part).rstrip() + "\n"


def suite_in_words(comparison: SuiteComparison) -> list[str]:
    """What each head brings over all tasks, how much sooner it gets to the thresholds, and where it does harm."""
    names = names_for(MEASURES, comparison.suite.runs)
    sentences = pairs_in_words([pair for pair in comparison.pairs if pair.measure == "area"], SCORES)
    for speedup in comparison.speedups:
        arm, tasks = f"`{speedup.arm.label}`", f"{speedup.arm.steps.shape[1]} tasks"
        where = f"on the median of {tasks}"
        if speedup.nobody_arrives:
            sentences.append(
                f"{arm}: neither its runs nor plain training's get to the threshold on any of {tasks}, so there is no ratio "
                "of steps; a threshold of several tasks is a normalised score, not a return."
            )
        elif speedup.median.estimate == 0:
            sentences.append(f"{arm} does not get to the threshold {where}, where plain training does.")
        else:
            times = interval_text(speedup.median, never="endlessly")
            sentences.append(f"{arm}: {times} times fewer steps to the threshold than plain training, {where}.")
    for verdict, means in (("worse", "**significantly worse**"), ("hint of worse", "a hint of worse")):
        found = [f"`{pair.arm.label}` on {task.env} ({names[pair.measure]})" for task, pair in comparison.verdicts(verdict)]
        sentences.append(f"On one task, {means} than plain training: {', '.join(found) or 'none'}.")
    able = [pair for pairs in comparison.task_pairs.values() for pair in pairs if pair.can_be_significant]
    everything = sum(map(len, comparison.task_pairs.values()))
    sentences.append(
        f"Of these {everything} comparisons with plain training on one task, {len(able)} have enough seeds for a claim; if "
        f"no arm differed, about {len(able) * SIGNIFICANT / 2:.1f} of them would be called worse, and as many better."
    )
    return sentences


def aggregate_table(comparison: SuiteComparison, measure: str) -> str:
    """A row for each arm: the figures over all tasks."""
    rows = [
        [
            f"`{arm.arm.label}`",
            f"{len(arm.arm.runs)} x {len(comparison.suite.tasks)}",
            *(interval_text(arm.figures[measure][name]) for name in SUITE_STATISTICS),
        ]
        for arm in comparison.arms
    ]
    names = [STATISTIC_NAMES[name] for name in SUITE_STATISTICS]
    return table(["arm", "runs x tasks", *names], rows)


def _runs_in_words(comparison: SuiteComparison) -> list[str]:
    suite = comparison.suite
    lines = [f"- {len(suite.tasks)} tasks: {', '.join(task.env for task in suite.tasks)}"]
    for arm in (each.arm for each in comparison.arms):
        left = f"; {arm.left_out} finished runs are in no joint figure, as another task has fewer" if arm.left_out else ""
        count = f"{len(arm.runs)} runs" if len(arm.runs) > 1 else "one run (no interval, no claim)"
        lines.append(f"- `{arm.label}`: {count} of each task{left}")
    for name in suite.names:
        if lacking := suite.lacks(name):
            where = "in pairs with other arms, over the tasks that both have, and in no other joint figure"
            lines.append(f"- **`{suite.label}{name}` is only {where}**: no finished run on {', '.join(lacking)}")
    if suite.not_counted:
        lines.append(f"- **Left out**, as plain training has no finished run there: {', '.join(suite.not_counted)}")
    if without := suite.without_threshold():
        rise = "plain training rises by less than a twentieth of the reference's range, or does not rise"
        lines.append(f"- No threshold, and so no ratio of steps: {', '.join(without)}; {rise}.")
    return lines


def _other_runs(runs: Sequence[Run]) -> list[str]:
    lines = []
    for run in runs:
        if run.status != "finished":
            got = f"{run.rows[-1]['timesteps']:,.0f} steps" if run.rows else "no evaluation"
            said = f": {run.problem}" if run.problem else ""
            lines.append(
                f"- **{run.status}, in no figure**: {run.env}, `{run.algorithm}-{run.arm}` seed {run.seed}, {got}{said}"
            )
    lines += unknown_in_words(runs)
    for env in dict.fromkeys(run.env for run in runs):
        lines += ends_in_words([run for run in runs if run.env == env], f" on {env}")
        for name, values in different_settings([run for run in runs if run.env == env]).items():
            lines.append(f"- **Runs on {env} differ in {name}**: {', '.join(values)}. What they show may be due to that.")
    finished = sum(run.status == "finished" for run in runs)
    lines.append(f"- {finished} of {len(runs)} runs are finished.")
    commands = Counter(command_pattern(run.command) for run in runs if run.command)
    return lines + [f"- Command of {count} runs: `{command}`" for command, count in commands.items()]


def command_pattern(command: str) -> str:
    """A command without what differs from run to run, and without what decides no figure."""
    words: list[str] = []
    flag = ""
    for word in shlex.split(command):
        if word.startswith("--"):
            flag = word.partition("=")[0]
            if flag not in MEANINGLESS:
                words += [flag, PLACEHOLDERS[flag]] if flag in PLACEHOLDERS else [word]
        elif flag not in (*PLACEHOLDERS, *MEANINGLESS):
            words.append(word)
    return " ".join(words)
