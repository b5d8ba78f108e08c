"""One run in a process of its own: ``python -m agents.worker``, told what to do by a line of JSON on its standard input."""

import json
import os
import sys
import threading
import traceback
from pathlib import Path

from agents.errors import Busy, UserError
from agents.processes import BUSY, STOPPED


def main() -> int:
    """
    Bring the run to its end.

    :return: exit status: 0 finished, 1 a fault, 2 it cannot be done, 75 another process is doing it, 130 stopped
    """
    task = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        from agents.configuration import RunConfiguration
        from agents.machine import Machine
        from agents.run import execute
        from agents.run_folder import RunFolder

        folder = RunFolder(Path(task["folder"]))
        if task["patience"] and folder.path.is_dir():  # it has been here before, and its last process may still be dying
            folder.lock(task["patience"])
        done = execute(
            RunConfiguration.from_dict(task["configuration"], "The task of this process"),
            folder,
            Machine(task["device"], task["vec"], task["processes"]),
            overwrite=task["overwrite"],
            command=task["command"],
        )
        return 0 if done else STOPPED
    except UserError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return BUSY if isinstance(error, Busy) else 2
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from the newest checkpoint.", file=sys.stderr)
        return STOPPED
    except Exception:
        traceback.print_exc()
        return 1


def _end_with_parent() -> None:
    """The input's end means that the process that started this one is gone: nobody else keeps it from training on alone."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
