"""Keywords of a head that were objects, made again from the texts that its signature has of them."""

import ast
from typing import Any

from cpc_rl.augment import AUGMENTATIONS, Compose
from cpc_rl.negatives import Negatives

KNOWN = {cls.__name__: cls for cls in (Negatives, Compose, *AUGMENTATIONS.values())}


def read_back(value: Any) -> Any:
    """
    ``"RandomShift(pad=2)"`` to that augmentation, and the same of ``Negatives``, also within lists and dicts.

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
