"""Folders of runs as train_agent.py leaves them, without any training."""

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

ENV = "Toy-v0"
HEADER = "timesteps,mean_return,std_return,episodes,wall_seconds\n"


def make_run(
    log_dir: Path,
    arm: str,
    seed: int,
    returns: Sequence[float],
    *,
    final: float | None = None,
    algorithm: str = "ppo",
    every: int = 100,
    speed: float = 10.0,
    n_envs: int = 2,
    env: str = ENV,
) -> Path:
    """
    One run, finished if ``final`` is given.

    :param returns: of the evaluations at 0, ``every``, ...
    :param speed: environment steps per second
    """
    folder = log_dir / env.replace("/", "-") / f"{algorithm}-{arm}" / f"seed-{seed}"
    folder.mkdir(parents=True)
    run = {"env": env, "arm": arm, "seed": seed, "n_envs": n_envs, "recipe": {"algorithm": algorithm, "objective": "curl"}}
    content = {"run": run, "command": f"python train_agent.py --env {env}"}
    if arm == "compute":  # as an older version wrote it down
        content["compute"] = {"ratio": 1.31}
    elif "compute+" in arm:
        content["compute"] = {"ratio": 1.52, "head": arm.split("+")[-1]}
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    rows = [f"{point * every},{value},1.5,5,{point * every / speed}\n" for point, value in enumerate(returns)]
    (folder / "evaluations.csv").write_text(HEADER + "".join(rows))
    if final is not None:
        result = {"mean_return": final, "std_return": 2.0, "episodes": 20}
        (folder / "results.json").write_text(json.dumps({"timesteps": every * (len(returns) - 1), "final": result}))
    return folder


def make_arm(log_dir: Path, arm: str, ends: Sequence[float], **keywords: object) -> None:
    """One finished run for each end; a curve rises in a straight line from 0 to it over ten evaluations."""
    for seed, end in enumerate(ends):
        make_run(log_dir, arm, seed, [end * point / 10 for point in range(11)], final=end, **keywords)  # type: ignore[arg-type]
