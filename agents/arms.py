"""Arms: what is done to the encoder besides reinforcement learning, as one word of the command line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from agents.errors import UserError
from cpc_rl.objectives import OBJECTIVES

SYNTAX = (
    "an arm is none, aug, compute, shuffled, NAME or NAME=WEIGHT,NAME=WEIGHT, the latter two also after shuffled+ or "
    "compute+, and all but none after aug+"
)
PREFIXES = ("aug", "shuffled", "compute")


@dataclass(frozen=True)
class Arm:
    """
    One way of training in a comparison.

    :param name: the arm in its shortest spelling, which names the run's folder
    :param objectives: weight by objective; empty for plain reinforcement learning
    :param augment_rl: augment the batches of the reinforcement learning
    :param shuffled: give the objectives wrong positives
    :param compute: no objective, but as much more training as one would cost in time
    :param matched: names of the objectives whose time ``compute`` makes up for; weights take none
    """

    name: str
    objectives: tuple[tuple[str, float], ...] = ()
    augment_rl: bool = False
    shuffled: bool = False
    compute: bool = False
    matched: tuple[str, ...] = ()

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of its objectives."""
        return tuple(name for name, _ in self.objectives)


def parse_arm(text: str, default_objective: str) -> Arm:
    """
    Read an arm: ``none``, ``aug``, ``cpc``, ``cpc=1,curl=2``, ``aug+cpc``, ``shuffled+cpc``, ``shuffled``, ``compute``,
    ``aug+compute``, ``compute+spr``.

    :param text: the arm, in any case
    :param default_objective: what ``shuffled`` alone shuffles, and whose time ``compute`` alone makes up for
    :raises UserError: text that is no arm, or an unknown objective
    """
    *prefixes, last = re.split(r"\+(?!\d)", text.strip().lower())  # the plus of 1e+06 is the number's
    alone = last in PREFIXES  # and no objective after it
    if alone:
        prefixes = [*prefixes, last]
    for prefix in prefixes:
        if prefix not in PREFIXES or prefixes.count(prefix) > 1:
            raise UserError(f"The arm {text!r} has {prefix!r} before a '+'; {SYNTAX}.")
    augment_rl, shuffled, compute = (prefix in prefixes for prefix in PREFIXES)
    if last == "none":
        if prefixes:
            raise UserError(f"The arm {text!r} combines 'none' with something else, and it stands alone; {SYNTAX}.")
        return Arm("none")
    if shuffled and compute:
        raise UserError(f"The arm {text!r} has both 'shuffled' and 'compute', which trains no head to shuffle; {SYNTAX}.")
    if alone:
        last = default_objective if shuffled or compute else ""
    objectives = _read_weights(last, text) if last or not alone else ()
    words = [prefix for prefix in PREFIXES if prefix in prefixes]
    if compute:
        matched = tuple(name for name, _ in objectives)
        words += [",".join(matched)] if matched != (default_objective,) else []  # which is what compute alone means
        return Arm("+".join(words), (), augment_rl, compute=True, matched=matched)
    words += [_spell_objectives(objectives)] if objectives else []
    return Arm("+".join(words), objectives, augment_rl, shuffled)


def _spell_objectives(objectives: Sequence[tuple[str, float]]) -> str:
    """Names and weights as an arm's name has them."""
    if len(objectives) == 1 and objectives[0][1] == 1:
        return objectives[0][0]
    return ",".join(f"{name}={_spell(weight)}" for name, weight in objectives)


def _spell(weight: float) -> str:
    """A weight that reads back as the same number, without a plus, which has a meaning of its own in an arm's name."""
    short = f"{weight:g}"
    return short if float(short) == weight and "+" not in short else repr(weight).removesuffix(".0").replace("+", "")


def _read_weights(part: str, text: str) -> tuple[tuple[str, float], ...]:
    """``cpc=1,curl=2`` as pairs."""
    weights: dict[str, float] = {}
    for item in part.split(","):
        name, equals, number = item.partition("=")
        if name not in OBJECTIVES:
            known = ", ".join(sorted(OBJECTIVES))
            raise UserError(f"The arm {text!r} names the unknown objective {name!r}; known are {known}, and {SYNTAX}.")
        try:
            weight = float(number) if equals else 1.0
        except ValueError:
            weight = 0.0
        if not 0 < weight < float("inf") or name in weights:
            raise UserError(f"In the arm {text!r}, {item!r} should be an objective named once, with a weight above zero.")
        weights[name] = weight
    return tuple(weights.items())
