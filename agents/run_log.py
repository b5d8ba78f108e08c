"""The end of what a run has printed."""

import os
from pathlib import Path

TRACEBACK = "Traceback (most recent call last):"
IGNORED = "Exception ignored in"  # by a destructor at the very end, which is no reason
WORDS = 2**16  # bytes at the end of a log: the text of an exception may hold every number of a batch


def read_end(file: Path, size: int = 4096, after: int = 0) -> str:
    """
    The end of a text file.

    :param size: at most so many bytes
    :param after: only what comes after so many
    :return: empty if there is nothing that can be read
    """
    try:
        with open(file, "rb") as stream:
            stream.seek(max(after, os.fstat(stream.fileno()).st_size - size))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def last_words(log: Path, status: int | None, after: int = 0) -> str:
    """
    What a run says of its end: the last line that says something, or, of a traceback, the first one of the exception.

    :param status: the process's; 1 after a traceback
    :param after: bytes of the log that an earlier attempt has left
    """
    lines = [line.rstrip() for line in read_end(log, WORDS, after).replace("\r", "\n").splitlines()]
    spoken = [line for line in lines if line]
    tracebacks = [
        index
        for index, line in enumerate(spoken)
        if line.endswith(TRACEBACK) and not (index and spoken[index - 1].startswith(IGNORED))
    ]
    if status == 1 and tracebacks:
        exception = next((line for line in spoken[tracebacks[-1] + 1 :] if not line[0].isspace()), None)
        if exception is not None:
            return exception
    return spoken[-1].strip() if spoken else ""
