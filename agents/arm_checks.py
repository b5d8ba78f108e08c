"""What can be known of a grid's arms before its first run begins."""

from collections.abc import Sequence
from inspect import signature

from agents.algorithms import find_algorithm
from agents.arms import Arm, parse_arm
from agents.beginning import try_out
from agents.configuration import RunConfiguration
from agents.machine import Machine


def check_arms(configurations: Sequence[RunConfiguration], machine: Machine) -> list[str]:
    """
    See that every arm of a grid can begin.

    :param configurations: of all its runs
    :return: sentences that the user should read before the runs begin
    :raises UserError: an arm does not fit the algorithm or the environment
    """
    try_out(list({configuration.arm: configuration for configuration in reversed(configurations)}.values()), machine)
    return remarks(configurations)


def remarks(configurations: Sequence[RunConfiguration]) -> list[str]:
    """What runs will not show, though they can be made."""
    said = []
    recipe, timesteps = configurations[0].recipe, configurations[0].timesteps
    default = signature(find_algorithm(recipe.algorithm)).parameters.get("learning_starts")
    starts = recipe.hyperparameters.get("learning_starts", default.default if default else 0)
    if starts >= timesteps:
        said.append(f"Nothing will be learnt in {timesteps:,} steps: {recipe.algorithm}'s recipe begins after {starts:,}.")
    arms = [parse_arm(each.plain_arm, recipe.objective) for each in configurations]
    controls = [arm for arm in arms if arm.compute]
    missed = dict.fromkeys(
        ",".join(arm.heads)
        for arm in arms
        if arm.objectives and not arm.shuffled and not any(_matches(control, arm) for control in controls)
    )
    if controls and missed:
        said.append(
            f"No arm of these makes up for the time that {' and '.join(missed)} would take: "
            f"{' and '.join(f'compute+{head}' for head in missed)} would, as compute does for the recipe's {recipe.objective}."
        )
    return said


def _matches(control: Arm, arm: Arm) -> bool:
    """Whether one that trains longer makes up for another's objectives, and augments no more than it does."""
    return control.matched == arm.heads and control.augment_rl <= arm.augment_rl
