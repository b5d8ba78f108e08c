"""The last screen of a run: what was learnt, and where everything lies."""

import shlex
from typing import Any

from agents.configuration import RunConfiguration
from agents.recipe import environment_family
from agents.run_folder import RunFolder


def summarize(configuration: RunConfiguration, folder: RunFolder, results: dict[str, Any]) -> str:
    """
    A few lines of plain text.

    :param results: what ``results.json`` holds
    """
    final = results["final"]
    episodes = "tracks, on the stock picture" if environment_family(configuration.env) == "carracing" else "episodes"
    trained_in = results.get("final_in_training_environment")
    log_dir = [*folder.path.parents][:3][-1]  # a folder that was moved may lie less deep
    files = [
        (folder.model, "the agent, for Stable-Baselines3"),
        (folder.encoder, "its encoder alone"),
        (folder.evaluations, "every evaluation"),
        (folder.curve, "the same as a picture"),
        (folder.video, "one episode"),
        (folder.config, "everything that was set, versions and command"),
        (folder.results, "the numbers above"),
    ]
    width = max(len(file.name) for file, _ in files)
    lines = [
        "",
        f"{results['algorithm']} ({configuration.arm}) on {configuration.env}, seed {configuration.seed}: "
        f"{results['timesteps']:,} agent steps ({results['frames']:,} frames) in {_duration(results['wall_seconds'])}",
        f"  mean return {results['first_return']:.1f} before training, {results['last_return']:.1f} after it "
        f"({configuration.eval_episodes} episodes)",
        f"  mean return {final['mean_return']:.1f} ± {final['std_return']:.1f} over {final['episodes']} unseen {episodes}",
        *([_gap(final, trained_in)] if trained_in else []),
        f"In {folder.path}:",
        *(f"  {file.name:{width}}  {meaning}" for file, meaning in files if file.exists()),
        f"Curves: tensorboard --logdir {shlex.quote(str(log_dir))}",
    ]
    return "\n".join(lines)


def _gap(final: dict[str, Any], trained_in: dict[str, Any]) -> str:
    mean, gap = trained_in["mean_return"], trained_in["mean_return"] - final["mean_return"]
    return f"  mean return {mean:.1f} in the environment of the training: the generalisation gap is {gap:.1f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
