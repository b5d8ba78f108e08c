"""JSON objects given as text on the command line."""

import json
from typing import Any


def json_object(text: str, flag: str, example: str) -> dict[str, Any]:
    """
    :param text: what was given
    :param flag: after which, such as ``--env-kwargs``
    :param example: what would be right
    :raises ValueError: the text is no JSON, or no object
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{flag} is no JSON: {error}; write it as '{example}'.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{flag} must be a JSON object, such as '{example}', not {text}.")
    return value
