"""``cpc-rl``: what the package does from the command line, one subcommand each."""

import ast
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cpc_rl.pretraining.training import Training

# Subcommands that other parts of the package bring: a module with the function `run`, and its dataclass of arguments.
ELSEWHERE = {
    "probe": ("cpc_rl.diagnostics.cli_probe", "ProbeArguments"),
    "look": ("cpc_rl.diagnostics.cli_look", "LookArguments"),
}


@dataclass(frozen=True)
class Collect:
    """Record episodes of an environment as a Minari dataset."""

    env: str
    """A registered Gymnasium id with image observations."""
    out: str
    """Folder of the dataset, or minari:NAME-vN for one under MINARI_DATASETS_PATH."""
    policy: str = "random"
    """random, or the zip of a trained model of Stable-Baselines3 or sb3-contrib (a pickle in part: none from strangers)."""
    algo: str | None = None
    """The model's algorithm, its class name in any case."""
    steps: int = 30_000
    """Environment steps in all."""
    env_factory: str | None = None
    """module:function that makes the environment from its id, where gymnasium.make is not enough."""
    seed: int = 0
    """Of the first episode and of the policy."""
    infos: bool = False
    """Store what the environment says besides, for probes."""
    jpeg: bool = False
    """Store images with losses, in less space."""


@dataclass(frozen=True, kw_only=True)
class Pretrain(Training):
    """Train an encoder on recorded images; under torchrun in several processes."""

    data: str
    """A Minari dataset (folder, or minari:ID), a folder of images or videos, or a replay buffer (.pkl, a pickle)."""
    out: Path
    """Folder of the run. A run that was interrupted goes on from its checkpoint."""
    objective: str = "cpc"
    """A name, or several with weights, as cpc=1,spr=2."""
    set: tuple[str, ...] = ()
    """Keywords of the objective, as horizon=3; with several objectives spr.horizon=3."""
    extractor: str = "nature"
    """nature, impala or drq."""
    extractor_set: tuple[str, ...] = ()
    """Keywords of the extractor, as features_dim=256."""
    image_size: tuple[int, int] | None = None
    """Height and width for folders of images and videos."""
    grayscale: bool = False
    """One channel for folders of images and videos."""
    device: str = "auto"
    """torch's name of a device."""


def run_collect(arguments: Collect) -> None:
    """:raises ValueError: see :func:`cpc_rl.pretraining.collect.collect`"""
    from cpc_rl.pretraining.collect import collect
    from cpc_rl.pretraining.named import make_environment, make_policy

    sys.path.insert(0, "")  # a factory in the working directory, as `python` itself would find it
    env = make_environment(arguments.env, arguments.env_factory)
    policy = make_policy(arguments.policy, arguments.algo, env)
    kept = ("steps", "out", "seed", "infos", "jpeg")
    done = collect(env, policy, **{name: getattr(arguments, name) for name in kept})
    print(f"{done.steps} steps in {done.episodes} episodes: {done.folder}")


def run_pretrain(arguments: Pretrain) -> None:
    """:raises ValueError: see :func:`cpc_rl.pretraining.pretrain`"""
    from cpc_rl.pretraining import open_dataset, pretrain

    images = {"image_size": arguments.image_size, "grayscale": arguments.grayscale}
    done = pretrain(
        open_dataset(arguments.data, **{name: value for name, value in images.items() if value}),
        _objective(arguments.objective),
        arguments.extractor,
        out=arguments.out,
        objective_kwargs=keywords(arguments.set),
        extractor_kwargs=keywords(arguments.extractor_set),
        device=arguments.device,
        **{setting.name: getattr(arguments, setting.name) for setting in fields(Training)},
    )
    print(f"encoder: {done.encoder}")


COMMANDS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "collect": (Collect, run_collect),
    "pretrain": (Pretrain, run_pretrain),
}


def commands() -> dict[str, tuple[type, Callable[[Any], Any]]]:
    """Every subcommand's dataclass of arguments and the function that runs it; those of other parts where they are there."""
    found = dict(COMMANDS)
    for name, (place, arguments) in ELSEWHERE.items():
        if find_spec(place) is not None:
            module = import_module(place)
            found[name] = getattr(module, arguments), module.run
    return found


def keywords(settings: Sequence[str]) -> dict[str, Any]:
    """
    ``("horizon=3", "augment=None")`` as keywords; ``"spr.horizon=3"`` goes into a dict of its own.

    :raises ValueError: if one is no NAME=VALUE
    """
    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise ValueError(f"A keyword is given as NAME=VALUE, such as horizon=3, but this one is {setting!r}.")
        try:
            value = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            value = text
        outer, dot, inner = name.partition(".")
        if dot:
            found.setdefault(outer, {})[inner] = value
        else:
            found[name] = value
    return found


def _objective(text: str) -> Any:
    if "=" not in text and "," not in text:
        return text
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        return {name: float(weight or 1) for name, _, weight in pairs}
    except ValueError as error:
        raise ValueError(f"objective is {text!r}, but several are given as cpc=1,spr=2.") from error


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: without the program's name; the process's own if ``None``
    :return: exit status: 2 after a mistake in the arguments or the data, with a line that says which
    """
    try:
        import tyro
    except ImportError:
        print("cpc-rl needs the package tyro: pip install 'cpc_rl[pretrain]'.", file=sys.stderr)
        return 2
    try:
        known = commands()
        parsed = tyro.extras.subcommand_cli_from_dict(
            {name: arguments for name, (arguments, _) in known.items()}, prog="cpc-rl", args=argv
        )
        run = next(function for arguments, function in known.values() if isinstance(parsed, arguments))
        run(parsed)
    except ValueError as error:
        print(f"cpc-rl: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
