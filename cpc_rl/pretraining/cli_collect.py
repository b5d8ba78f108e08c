"""``cpc-rl collect``: record episodes of an environment."""

import sys
from dataclasses import dataclass

from cpc_rl.json_object import json_object
from cpc_rl.named_environment import make_environment
from cpc_rl.pretraining.collect import collect
from cpc_rl.pretraining.policies import make_policy


@dataclass(frozen=True)
class CollectArguments:
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
    env_kwargs: str = "{}"
    """Keywords for it, as a JSON object."""
    seed: int = 0
    """Of the first episode and of the policy."""
    infos: bool = False
    """Store what the environment says besides, the same entries at each step."""
    labels: tuple[str, ...] = ()
    """Store labels of each frame for probes: ram (Atari), info:KEY, attr:PATH."""
    jpeg: bool = False
    """Store images with losses, in less space."""


def run(arguments: CollectArguments) -> None:
    """:raises ValueError: see :func:`cpc_rl.pretraining.collect.collect`"""
    env = make_environment(
        arguments.env, arguments.env_factory, json_object(arguments.env_kwargs, "--env-kwargs", '{"size": 84}')
    )
    policy = make_policy(arguments.policy, arguments.algo, env)
    kept = ("steps", "out", "seed", "infos", "labels", "jpeg")
    done = collect(env, policy, **{name: getattr(arguments, name) for name in kept})
    if done.left_out:
        print(f"left out of the observations, which are stored as numbers: {', '.join(done.left_out)}", file=sys.stderr)
    print(f"{done.steps} steps in {done.episodes} episodes: {done.folder}")
