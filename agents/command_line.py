"""Reading the command line, with errors of one line."""

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Sequence
from typing import TypeVar

import tyro

from agents.errors import UserError
from cpc_rl.flags import check_flags

T = TypeVar("T")
FRAME = re.compile(r"[─━│┃╭╮╰╯┌┐└┘]+")


def parse_arguments(cls: type[T], argv: Sequence[str]) -> T:
    """
    A dataclass of arguments from what was typed.

    :param cls: the dataclass; its docstring and its fields' are the help
    :raises UserError: an unknown flag, or a value of the wrong kind
    """
    try:
        check_flags(argv)
    except ValueError as error:
        raise UserError(str(error)) from None
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(cls, args=list(argv), prog="train_agent.py", config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise UserError(first_sentence(said.getvalue()) + " (--help lists the flags)") from None


def first_sentence(box: str) -> str:
    """What a framed error message says, without the frame and the advice below its rule."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines: list[str] = []
    for line in text.splitlines():
        if lines and re.search(r"─{5,}|╰", line):
            break
        words = FRAME.sub(" ", line).strip()
        if words and not re.fullmatch(r"[\w ]*(error|options)[\w ]*", words, flags=re.IGNORECASE):
            lines.append(words)
    return " ".join(lines) or "The arguments cannot be read"


def typed_command(argv: Sequence[str]) -> str:
    """The command as it can be typed again."""
    return shlex.join(["python", sys.argv[0] or "train_agent.py", *argv])
