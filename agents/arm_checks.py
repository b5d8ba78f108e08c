"""What can be known of a grid's arms before its first run begins."""

from collections.abc import Sequence
from inspect import signature

from agents.algorithms import find_algorithm
from agents.arms import parse_arm
from agents.configuration import RunConfiguration
from agents.run import Machine, try_out


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
    heads = list(dict.fromkeys(name for arm in arms for name, _ in arm.objectives))
    if any(arm.compute for arm in arms) and heads and heads != [recipe.objective]:
        others = ", ".join(name for name in heads if name != recipe.objective)
        said.append(
            f"The arm compute trains longer by what the recipe's objective, {recipe.objective}, costs in time, "
            f"and is no measure of what {others} costs."
        )
    return said
