"""The heads that a model was trained with, made again from what its zip holds of them."""

import ast
import json
from typing import Any, NamedTuple

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from cpc_rl.attachment import choose_sites, find_sites
from cpc_rl.augment import AUGMENTATIONS, Compose
from cpc_rl.negatives import Negatives
from cpc_rl.objectives import OBJECTIVES, Objective
from cpc_rl.persistence import stored_state

KNOWN = {cls.__name__: cls for cls in (Negatives, Compose, *AUGMENTATIONS.values())}


class Heads(NamedTuple):
    """What a model was trained with besides its own loss."""

    objectives: dict[str, Objective]
    """By name."""
    left_out: dict[str, str]
    """Name of each that cannot be made again, and why."""


def load_objectives(model: BaseAlgorithm) -> Heads:
    """
    The objectives of the head that rides in a model's zip (of the critic's encoder where there are two).

    :return: without objectives if the model has none; one that is not of :data:`cpc_rl.objectives.OBJECTIVES`, or that had a
        function or an object of another package as a keyword, is left out
    """
    stored = stored_state(model)
    if stored is None or not stored.get("heads"):
        return Heads({}, {})
    site = choose_sites(find_sites(model), "critic")[0]
    entry = stored["heads"].get(site.role) or next(iter(stored["heads"].values()))
    signature = json.loads(entry["signature"])
    objectives: dict[str, Objective] = {}
    left_out: dict[str, str] = {}
    for name in entry["state"]["terms"]:  # in the order that they were given in
        cls = OBJECTIVES.get(name)
        if cls is None or cls.__name__ != signature["objectives"][name]:
            left_out[name] = f"{signature['objectives'][name]} is no objective of this package"
            continue
        keywords = read_back(signature["keywords"].get(name, {}))
        try:
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                objective = cls.build(site.encoder, model.action_space, **keywords)
            objective.load_state_dict(entry["state"]["terms"][name]["objective"])
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            left_out[name] = f"a model's file has only the text of its keywords, which does not make it again: {error}"
            continue
        objective.generator = torch.Generator(model.device).manual_seed(0)
        objectives[name] = objective.to(model.device)
    return Heads(objectives, left_out)


def read_back(value: Any) -> Any:
    """
    Keywords that were objects, from the texts that a signature has of them: ``"RandomShift(pad=2)"`` to that augmentation, and
    the same of ``Negatives``, also within lists and dicts.

    A text is parsed and never run: it makes one of these classes, with literals, or stays the text that it is.

    :param value: as JSON has it
    """
    if isinstance(value, dict):
        return {key: read_back(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [read_back(entry) for entry in value]
    if not isinstance(value, str):
        return value
    try:
        node = ast.parse(value, mode="eval").body
        return _made(node) if isinstance(node, ast.Call) else value
    except (SyntaxError, ValueError, TypeError):
        return value


def _made(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KNOWN:
        keywords = {str(keyword.arg): _made(keyword.value) for keyword in node.keywords}
        return KNOWN[node.func.id](*map(_made, node.args), **keywords)
    return [_made(entry) for entry in node.elts] if isinstance(node, ast.List) else ast.literal_eval(node)
