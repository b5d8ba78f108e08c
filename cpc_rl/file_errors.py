"""What is said of files and folders that cannot be read or written."""

import errno
import os

# What a user can mend. Whatever else an operating system may say is a fault of the program and keeps its traceback.
REASONS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    errno.ENAMETOOLONG,
}
FULL = {errno.ENOSPC, errno.EDQUOT}  # said of a file that is being written, and then without its name


def refuse_folder(path: str | os.PathLike, wanted: str) -> None:
    """
    Libraries that are given a folder to read say things such as "No such device".

    :param wanted: what the file should be
    :raises ValueError: if it is a folder
    """
    if os.path.isdir(path):
        raise ValueError(f"{os.fspath(path)} is a folder, but {wanted} is needed.")


def file_error(error: OSError) -> str | None:
    """
    The sentence for an error that is about a place which the user has chosen.

    :return: ``None`` if it is about something else
    """
    named = isinstance(error.filename, str)
    if error.errno in FULL:
        what = f"{error.filename} cannot be written" if named else "The disk is full"
        return f"{what} ({error.strerror}): make room, and give the same command again."
    if error.errno not in REASONS or not named:
        return None
    return f"{error.filename} cannot be read or written ({error.strerror}): choose another place, or mend this one."
