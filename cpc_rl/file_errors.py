"""What the command lines say of files and folders that cannot be read or written."""

import errno

# What a user can mend. Whatever else an operating system may say is a fault of the program and keeps its traceback.
REASONS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ENOSPC, errno.EDQUOT),
}


def file_error(error: OSError) -> str | None:
    """
    The sentence for an error that is about a place which the user has chosen.

    :return: ``None`` if it is about something else
    """
    if error.errno not in REASONS or not isinstance(error.filename, str):
        return None
    return f"{error.filename} cannot be read or written ({error.strerror}): choose another place, or mend this one."
