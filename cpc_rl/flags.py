"""What is asked of a command line before it is read."""

from collections.abc import Sequence


def check_flags(argv: Sequence[str]) -> None:
    """
    See that no flag is there twice: the last one alone would count, and the others be forgotten in silence.

    :param argv: the words that were typed
    :raises ValueError: one is
    """
    flags = [word.partition("=")[0].replace("_", "-") for word in argv if word.startswith("--")]
    twice = next((flag for flag in flags if flags.count(flag) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is given twice, and the first would be forgotten: give it once, with all its values.")
