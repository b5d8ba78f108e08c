"""A comparison in words and Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence

from cpc_rl.evaluation.arm_names import split_encoder
from cpc_rl.evaluation.cells import digits, interval_text, table
from cpc_rl.evaluation.comparison import STATISTICS, ArmSummary, Comparison
from cpc_rl.evaluation.pairs import MEASURES, Pair, names_for
from cpc_rl.evaluation.run_words import ends_in_words, unknown_in_words
from cpc_rl.evaluation.table import Run, different_settings

HINT = "no evidence of a difference (too few seeds, or too scattered, for the permutation test)"

HOW_TO_READ = """\
## How to read this

- Intervals are 95% stratified-bootstrap intervals over the seeds (percentiles). With few seeds they are too narrow: of two
  equal arms with three seeds each, over a fifth of such intervals of the difference leave 0 out. So "better" and "worse"
  need an interval of the difference without 0 **and** a permutation test of the means with p <= 0.05, which three seeds
  against three can never reach; an interval alone is called a hint. Where the means differ the other way than the
  interquartile means, there is no evidence.
- Every statement stands for itself. Of twenty statements about arms that do not differ, one will claim a difference.
- IQM is the interquartile mean (of four runs or more, a quarter is left out at each end); the median is over the runs.
  "Over the training" is the area under a run's evaluation curve, divided by its length.
- The probability of improvement is that of a run of one arm being better than a run of the other; a tie counts half.
- Steps to the threshold are those of the first evaluation at or above it. A run that never gets there counts as later than any
  that does.
- Wall time is the training's own, without evaluations, on whatever else the machine was doing.
"""


def markdown(title: str, comparison: Comparison, runs: Sequence[Run], pictures: Iterable[str]) -> str:
    """
    The whole report.

    :param title: what was compared
    :param runs: all of them, finished or not
    :param pictures: paths relative to the report
    """
    parts = [
        f"# {title}",
        "\n".join(_runs_in_words(comparison, runs)),
        "## In words",
        "\n".join(f"- {sentence}" for sentence in in_words(comparison)),
        "\n\n".join(f"![Interquartile mean with its 95% interval]({picture})" for picture in pictures),
        "## Arms",
        arm_table(comparison),
        "## Probability of improvement",
        pair_table(comparison.pairs, names_for(MEASURES, runs))
        if comparison.pairs
        else "There is no arm to compare with: `none`, `aug` or `compute`.",
        HOW_TO_READ,
    ]
    return "\n\n".join(part for part in parts if part).rstrip() + "\n"


def in_words(comparison: Comparison) -> list[str]:
    """What each head brings by itself, then over plain training, a sentence for each pair and measure."""
    return pairs_in_words(comparison.pairs, names_for(MEASURES, [run for arm in comparison.arms for run in arm.runs.runs]))


def pairs_in_words(pairs: Sequence[Pair], measures: Mapping[str, str] = MEASURES) -> list[str]:
    """
    The pairs that say something of a head or of the encoder that an arm starts from, a sentence each.

    :param measures: what to call the measures
    """
    chosen = [pair for pair in pairs if pair.own_gain or _of_interest(pair)]
    if not chosen:
        return ["No arm with an objective can be compared with `none`, `aug` or `compute`."]
    return [sentence(pair, measures) for pair in sorted(chosen, key=lambda pair: not pair.own_gain)]


def _of_interest(pair: Pair) -> bool:
    """Over plain training a head, and over plain training and as much more of it an encoder."""
    (_, encoder), (plain, other) = split_encoder(pair.arm.arm), split_encoder(pair.over.arm)
    if encoder and not other:
        return plain in ("none", "compute")
    return plain == "none" and encoder == other and bool(pair.arm.head)


def sentence(pair: Pair, measures: Mapping[str, str] = MEASURES) -> str:
    """One pair's verdict with its figures."""
    what = f"`{pair.arm.label}` over `{pair.over.label}`, {measures[pair.measure]} ({pair.seeds})"
    difference, improvement = pair.difference, pair.improvement
    if pair.verdict == "one seed":
        return (
            f"{what}: {digits(difference.estimate, sign='+')}; an arm has one seed, so nothing can be said about a difference."
        )
    figures = (
        f"difference {digits(difference.estimate, sign='+')} [{digits(difference.lower)}, {digits(difference.upper)}], "
        f"probability of improvement {interval_text(improvement)}, p = {pair.p_value:.2g}"
    )
    says = {
        "better": "**better**",
        "worse": "**worse**",
        "no evidence": "no evidence of a difference",
        "hint of better": f"a hint of better, {HINT}",
        "hint of worse": f"a hint of worse, {HINT}",
    }
    turned = ""
    if pair.means_disagree and difference.excludes(0):
        turned = f" (the means differ by {digits(pair.mean_difference, sign='+')}, the other way)"
    return f"{what}: {says[pair.verdict]}; {figures}{turned}."


def arm_table(comparison: Comparison) -> str:
    """A row for each arm."""
    head = [
        "arm",
        "seeds",
        *(f"{measure}: {name}" for measure in ("over the training", "final") for name in ("IQM", "median", "mean")),
    ]
    limits = set(comparison.thresholds.values())
    if limits != {None}:
        limit = digits(comparison.threshold) if comparison.threshold is not None else "its threshold"
        head += [f"reached {limit}", f"steps to {limit} (median)", "seconds (median)"]
    rows = [_arm_row(arm, limits != {None}) for arm in comparison.arms]
    return table(head, rows)


def pair_table(pairs: Sequence[Pair], measures: Mapping[str, str] = MEASURES) -> str:
    """A row for each pair and measure."""
    rows = [
        [
            f"`{pair.arm.label}`",
            f"`{pair.over.label}`",
            pair.seeds,
            measures[pair.measure],
            interval_text(pair.improvement),
            interval_text(pair.difference),
            "" if math.isnan(pair.p_value) else f"{pair.p_value:.2g}",
            pair.verdict,
        ]
        for pair in pairs
    ]
    return table(["arm", "over", "of", "measure", "probability", "difference of IQMs", "p", "verdict"], rows)


def _runs_in_words(comparison: Comparison, runs: Sequence[Run]) -> list[str]:
    lines = []
    for arm in comparison.arms:
        seeds = ", ".join(str(run.seed) for run in arm.runs.runs)
        ratios = [f"{run.compute_ratio:.2f}" for run in arm.runs.runs if run.compute_ratio]
        heads = "` and `".join(dict.fromkeys(run.compute_head for run in arm.runs.runs if run.compute_head))
        measured = f"an update with `{heads}` was measured at {', '.join(ratios)} times that of one without"
        more = f"; {measured}, and heads that cost more have less of a control in it" if ratios else ""
        alone = " (one seed: no interval, no claim)" if len(arm.runs.runs) == 1 else ""
        lines.append(f"- `{arm.runs.label}`: {len(arm.runs.runs)} finished, seeds {seeds}{alone}{more}")
    lines += [f"- `{arm.label}`: no finished run" for arm in comparison.empty]
    for run in runs:
        if run.status != "finished":
            got = f"{run.rows[-1]['timesteps']:,.0f} steps" if run.rows else "no evaluation"
            said = f": {run.problem}" if run.problem else ""
            lines.append(f"- **{run.status}, in no figure**: `{run.algorithm}-{run.arm}` seed {run.seed}, {got}{said}")
    for algorithm in comparison.thresholds:
        if comparison.pairs and not any(pair.arm.algorithm == algorithm for pair in comparison.pairs):
            names = [arm.runs.label for arm in comparison.arms if arm.runs.algorithm == algorithm]
            lines.append(
                f"- **Compared with nothing**: `{'`, `'.join(names)}`, for `{algorithm}` has no `none`, `aug` or `compute`"
            )
    for algorithm, threshold in comparison.thresholds.items():
        lines += _axes_in_words(comparison, algorithm, threshold)
    lines += ends_in_words(runs) + unknown_in_words(runs)
    for name, values in different_settings(runs).items():
        lines.append(f"- **Runs differ in {name}**: {', '.join(values)}. What they show may be due to that.")
    lines += [f"- Command: `{command}`" for command in dict.fromkeys(run.command for run in runs if run.command)]
    return lines


def _axes_in_words(comparison: Comparison, algorithm: str, threshold: float | None) -> list[str]:
    """From where to where an algorithm's curves are compared, and what its threshold is."""
    arms = [arm.runs for arm in comparison.arms if arm.runs.algorithm == algorithm]
    of = f" of `{algorithm}`" if len(comparison.thresholds) > 1 else ""
    steps = arms[0].steps
    lines = [f"- Curves{of} are compared from {steps[0]:,.0f} to {steps[-1]:,.0f} agent steps, where the shortest run ends."]
    if any(arm.resampled for arm in arms):
        lines.append(
            f"- Runs{of} were evaluated at different steps: each stands at all of these steps, where it was not evaluated on "
            "the straight line between its evaluations, and so it may reach a threshold there."
        )
    if threshold is None:
        return [*lines, f"- No threshold{of}: plain training does not rise, or has no finished run."]
    whose = "plain training" if any(arm.arm == "none" for arm in arms) else f"`{arms[0].label}`"
    chosen = f"nine tenths of {whose}'s way from first to last evaluation"
    return [*lines, f"- Threshold{of}: {digits(threshold)}, {'as asked for' if comparison.threshold_given else chosen}."]


def _arm_row(arm: ArmSummary, threshold: bool) -> list[str]:
    figures = [interval_text(arm.figures[measure][name]) for measure in MEASURES for name in STATISTICS]
    row = [f"`{arm.runs.label}`", str(len(arm.runs.runs)), *figures]
    if threshold and arm.steps_to_threshold is None:
        row += ["no threshold", "", ""]
    elif arm.steps_to_threshold:
        seconds = arm.seconds_to_threshold
        row += [
            f"{arm.reached} of {len(arm.runs.runs)}",
            interval_text(arm.steps_to_threshold),
            interval_text(seconds) if seconds else "not measured",
        ]
    return row
