"""Which bytes of an Atari's RAM hold which variable of the game's state (AtariARI)."""

import csv
from functools import cache
from importlib.resources import files

from numpy.typing import NDArray

SMALL_OBJECTS, AGENTS, COORDINATES = ("ball", "missile"), ("agent", "player"), ("_x", "_y", "_z", "_column")


def ram_variables(game: str) -> dict[str, int]:
    """
    Name and byte of every variable of a game.

    The table is that of Anand et al. 2019, "Unsupervised State Representation Learning in Atari", section 4 and appendix, as
    their ``atariari`` package publishes it (MIT licence); a variable of several bytes has a number at its name's end.

    :param game: such as ``"pong"``, ``"ms_pacman"`` or ``"MsPacman"``
    :raises ValueError: if there is no such game in the table
    """
    table = _table()
    key = game.replace("_", "").lower()
    if key not in table:
        raise ValueError(f"There are no RAM labels for {game!r}; there are for {', '.join(sorted(table))}.")
    return dict(table[key])


def ram_labels(ram: NDArray, variables: dict[str, int]) -> dict[str, int]:
    """
    :param ram: ``(128,)`` uint8, as ``env.unwrapped.ale.getRAM()`` gives it
    :param variables: of :func:`ram_variables`
    """
    return {name: int(ram[byte]) for name, byte in variables.items()}


def ram_categories(variable: str) -> tuple[str, ...]:
    """
    The categories that a variable counts in, by its name, as in the code of Anand et al. 2019; none for a few variables.

    :param variable: such as ``"player_x"``
    :return: of ``"small object localisation"``, ``"agent localisation"``, ``"other localisation"``,
        ``"score, clock, lives, display"`` and ``"misc"``
    """

    def has(*parts: str) -> bool:
        return any(part in variable for part in parts)

    found = []
    if has(*COORDINATES):
        small = has(*SMALL_OBJECTS)
        agent = has(*AGENTS) and not small
        found.append(f"{'small object' if small else 'agent' if agent else 'other'} localisation")
    if has("score", "clock", "lives", "lifes", "meter", "display"):
        found.append("score, clock, lives, display")
    if has("count", "bit_map", "existence", "direction", "level", "room", "game_state"):
        found.append("misc")
    return tuple(found)


@cache
def _table() -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    text = files("cpc_rl.diagnostics").joinpath("atari_ram.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        table.setdefault(row["game"], {})[row["variable"]] = int(row["byte"])
    return table
