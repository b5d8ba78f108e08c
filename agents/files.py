"""Files that are there whole or not at all, whatever happens while they are written."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WRITING = ".writing-"  # before the name of a file that is not whole yet


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """
    Write a file under another name, then rename it over the wanted one.

    :param file: what it will be called
    :return: the path to write to, with the same suffix; if the block raises, nothing is left of it
    """
    temporary = file.with_name(f"{WRITING}{file.name}")
    try:
        yield temporary
        flush_to_disk(temporary)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Replace a file's text."""
    with whole_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def flush_to_disk(path: Path) -> None:
    """Wait until a file or folder would survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that nobody finds half of it under its name."""
    doomed = folder.with_name(f".removing-{folder.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(folder, doomed)
    shutil.rmtree(doomed)
