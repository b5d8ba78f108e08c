"""What probes found."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

Kind = Literal["categorical", "continuous"]


@dataclass(frozen=True)
class VariableScore:
    """
    One variable, on the test episodes.

    :ivar categories: groups that it counts in
    :ivar score: weighted F1 of a categorical variable, R2 of a continuous one
    :ivar baseline: the same of a guess that ignores the features: the mean of training; or the most frequent class, or draws
        in the shares of the classes, whichever scores better
    :ivar f1_macro: categorical only
    :ivar accuracy: categorical only
    :ivar classes: seen in training; categorical only
    :ivar epoch: at which training stopped being better; ``None`` for ridge regression
    :ivar majority: weighted F1 of the most frequent class of training, always; categorical only
    """

    name: str
    kind: Kind
    categories: tuple[str, ...]
    score: float
    baseline: float
    f1_macro: float | None = None
    accuracy: float | None = None
    classes: int | None = None
    epoch: int | None = None
    majority: float | None = None

    @property
    def measure(self) -> str:
        """``"F1"`` or ``"R2"``."""
        return "F1" if self.kind == "categorical" else "R2"


@dataclass(frozen=True)
class ProbeReport:
    """
    :ivar variables: in the order of the labels
    :ivar dropped: name of each variable that was left out, and why
    :ivar frames: number of frames by ``"train"``, ``"validation"``, ``"test"``
    :ivar settings: of the probes
    :ivar remarks: sentences on how far the scores can be trusted
    """

    variables: list[VariableScore]
    dropped: dict[str, str]
    frames: dict[str, int]
    settings: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def category_means(self, kind: Kind = "categorical") -> dict[str, float]:
        """Mean score of each category, over the variables of one kind."""
        scores: dict[str, list[float]] = {}
        for variable in self.variables:
            if variable.kind == kind:
                for category in variable.categories:
                    scores.setdefault(category, []).append(variable.score)
        return {category: float(np.mean(values)) for category, values in scores.items()}

    def mean(self, kind: Kind = "categorical") -> float | None:
        """
        The mean over the categories of their means, as the tables of Anand et al. 2019 have it; ``None`` if there is no
        variable of this kind.
        """
        means = self.category_means(kind)
        return float(np.mean(list(means.values()))) if means else None

    def as_dict(self) -> dict[str, Any]:
        """Plain containers, for JSON."""
        kinds: tuple[Kind, Kind] = ("categorical", "continuous")
        return {
            **asdict(self),
            "category_means": {kind: self.category_means(kind) for kind in kinds},
            "mean": {kind: self.mean(kind) for kind in kinds},
        }

    def table(self) -> str:
        """Markdown."""
        lines = ["| variable | category | measure | probe | without features | classes |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {v.name} | {', '.join(v.categories)} | {v.measure} | {v.score:.3f} | {v.baseline:.3f} | {v.classes or ''} |"
            for v in self.variables
        ]
        for kind, measure in (("categorical", "F1"), ("continuous", "R2")):
            mean = self.mean(kind)  # type: ignore[arg-type]
            if mean is not None:
                lines.append(f"| mean over categories | | {measure} | {mean:.3f} | | |")
        return "\n".join([*lines, *_remarks([self])])


def merged(reports: Mapping[str, ProbeReport]) -> str:
    """
    Several reports side by side, in Markdown: a row for each variable, a column for each report, and one of guesses without
    features.

    :param reports: by what was probed, on the same frames
    """
    variables = {v.name: v for report in reports.values() for v in report.variables}
    scores = {title: {v.name: v.score for v in report.variables} for title, report in reports.items()}
    lines = [f"| variable | {' | '.join(reports)} | without features | measure |", "|---" * (len(reports) + 3) + "|"]
    for name, v in variables.items():
        cells = [f"{scores[title][name]:.3f}" if name in scores[title] else "" for title in reports]
        lines.append(f"| {name} | {' | '.join(cells)} | {v.baseline:.3f} | {v.measure} |")
    return "\n".join([*lines, *_remarks(list(reports.values()))])


def _remarks(reports: Sequence[ProbeReport]) -> list[str]:
    """A line for each variable that has no score, and why, and for each remark."""
    reasons = dict.fromkeys((name, why) for report in reports for name, why in report.dropped.items())
    remarks = dict.fromkeys(remark for report in reports for remark in report.remarks)
    return [*(f"\nLeft out: {name}, {why}." for name, why in reasons), *(f"\n{remark}" for remark in remarks)]
