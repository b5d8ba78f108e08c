"""``cpc-rl``: what the package does from the command line, one subcommand each."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import NamedTuple

from cpc_rl.file_errors import file_error
from cpc_rl.flags import check_flags


class Command(NamedTuple):
    """Where a subcommand lives. Only the one that is called is imported: each has optional packages of its own."""

    module: str
    """With a function ``run`` that takes the arguments."""
    arguments: str
    """The module's dataclass of them."""
    meaning: str
    """One line."""


COMMANDS = {
    "collect": Command("cpc_rl.pretraining.cli_collect", "CollectArguments", "record episodes of an environment"),
    "pretrain": Command("cpc_rl.pretraining.cli_pretrain", "PretrainArguments", "train an encoder on recorded images"),
    "probe": Command("cpc_rl.diagnostics.cli_probe", "ProbeArguments", "what the features tell of the state"),
    "look": Command("cpc_rl.diagnostics.cli_look", "LookArguments", "pictures of a representation, as one page"),
    "report": Command("cpc_rl.evaluation.cli_report", "ReportArguments", "compare finished runs"),
}
STOPPED = 130  # as a shell says of a program that Ctrl-C ended


def usage() -> str:
    """All subcommands, a line each."""
    lines = [f"  {name:10}{command.meaning}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: cpc-rl COMMAND ...; cpc-rl COMMAND --help says more", "", *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: without the program's name; the process's own if ``None``
    :return: exit status: 2 after a mistake in the arguments or the data, or at a place that cannot be read or written, 130
        after Ctrl-C, with a line that says which
    """
    try:
        return _main(argv)
    except KeyboardInterrupt as error:
        if os.environ.get("RANK", "0") == "0":  # under torchrun all are told to stop
            print(f"cpc-rl: {str(error) or 'stopped'}.", file=sys.stderr)
        return STOPPED


def _main(argv: Sequence[str] | None) -> int:
    name, *rest = [*(sys.argv[1:] if argv is None else argv), ""]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name not in COMMANDS:
        return _mistake(f"there is no command {name!r}; there are {', '.join(COMMANDS)}." if name else usage())
    command = COMMANDS[name]
    try:
        import tyro

        module = import_module(command.module)
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] == "cpc_rl":  # a fault of our own, which is shown as it is
            raise
        missing = isinstance(error, ModuleNotFoundError)
        why = "is not installed" if missing else f"cannot be imported ({error})"
        return _mistake(f"{name} needs the package {error.name}, which {why}: pip install -e '.[pretrain]'.")
    try:
        check_flags(rest)
    except ValueError as error:
        return _mistake(str(error))
    arguments = tyro.cli(getattr(module, command.arguments), prog=f"cpc-rl {name}", args=rest[:-1])
    try:
        with _modules_here():
            module.run(arguments)
    except ValueError as error:
        return _mistake(str(error))
    except OSError as error:
        told = file_error(error)
        if told is None:
            raise
        return _mistake(told)
    return 0


@contextmanager
def _modules_here() -> Iterator[None]:
    """Modules of the working directory can be imported, as `python` itself would: those of factories, and of a model's own."""
    before = list(sys.path)
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path[:] = before


def _mistake(text: str) -> int:
    print(f"cpc-rl: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
