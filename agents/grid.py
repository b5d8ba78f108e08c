"""From arguments to runs: every arm with every seed, and the report that compares them."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium as gym
import torch

from agents.algorithms import default_algorithm, find_algorithm
from agents.arm_checks import check_arms, remarks
from agents.arms import parse_arm
from agents.build import environment_keywords
from agents.configuration import RunConfiguration
from agents.errors import UserError
from agents.folder_checks import check_folders, check_utf8
from agents.jobs import Job, run_jobs
from agents.live import LiveTable
from agents.machine import Machine
from agents.recipe import FAMILY_ALGORITHM, Recipe, environment_family, load_recipe
from agents.run import execute
from agents.run_folder import RunFolder
from agents.transfer import FLAGS as ENCODER_FLAGS
from agents.transfer import check_head_has_work, encoder_label, encoder_sha256
from cpc_rl.evaluation.report import write_report
from cpc_rl.evaluation.words import in_words
from envs import make_env

if TYPE_CHECKING:  # nothing here imports the command line when it runs
    from train_agent import Arguments

RUN_ARGUMENTS = (
    *("env", "algo", "objective", "seeds", "timesteps", "n_envs", "pixels", "render", "precision", "eval_freq"),
    *("eval_episodes", "encoder", *ENCODER_FLAGS, "log_dir", "overwrite"),
)


def run_all(arguments: "Arguments", command: str) -> int:
    """
    Do what the command line asks for.

    :param arguments: the parsed flags
    :param command: the command as typed
    :return: exit status: 0 finished, 1 a run of several has failed, 130 stopped by the user
    :raises UserError: it cannot be done; whatever could be checked was checked before the first run began
    """
    check_numbers(arguments)
    parallel = arguments.jobs or 1
    machine = Machine(arguments.device, arguments.vec, max(1, (os.cpu_count() or 1) // parallel) if parallel > 1 else None)
    _check_device(arguments.device, elsewhere=arguments.ray)
    if arguments.resume is not None:
        given = [name for name in (*RUN_ARGUMENTS, "jobs", "ray") if getattr(arguments, name) not in (None, False)]
        if given:
            flag = given[0].replace("_", "-")
            raise UserError(f"--resume goes on with the run as it was configured, so leave --{flag} out.")
        folder = RunFolder(arguments.resume.resolve())  # "seed-3" or "." would not tell the log directory
        check_utf8(folder.path)
        runs = [(folder.read_configuration(), folder)]
    else:
        log_dir = arguments.log_dir or Path("runs")
        for path in filter(None, (log_dir, arguments.encoder)):
            check_utf8(path.absolute() if arguments.ray else path)  # Ray's nodes are told the whole of it
        configurations = configure(arguments)
        sentences = check_arms(configurations, machine) if len(configurations) > 1 else remarks(configurations)
        for sentence in sentences:
            print(sentence, file=sys.stderr)
        runs = [(configuration, RunFolder.of(log_dir, configuration)) for configuration in configurations]
    jobs = [Job(*run) for run in runs]
    if arguments.ray:
        from agents.ray_grid import PATIENCE
        from agents.ray_jobs import run_jobs_on_ray

        on_ray = partial(run_jobs_on_ray, parallel=arguments.jobs, cpus=arguments.cpus or 1)
        return run_grid(jobs, on_ray, machine, overwrite=arguments.overwrite, command=command, patience=PATIENCE)
    if len(jobs) > 1:
        return run_grid(jobs, partial(run_jobs, parallel=parallel), machine, overwrite=arguments.overwrite, command=command)
    (configuration, folder) = runs[0]
    done = execute(configuration, folder, machine, overwrite=arguments.overwrite, command=command)
    with suppress(OSError):
        jobs[0].failure.unlink(missing_ok=True)  # it was tried again, and did not fail
    return 0 if done else 130


def run_grid(
    jobs: list[Job], run: Callable[..., bool], machine: Machine, *, overwrite: bool, command: str, patience: float = 0.0
) -> int:
    """
    Bring the runs of a grid to their end, each in a process of its own, and compare them.

    :param jobs: all of one environment
    :param run: brings them to their end, as :func:`agents.jobs.run_jobs` does, and has been told how many at a time
    :param patience: seconds to wait for processes that are still at work in the runs' folders
    :return: exit status, as :func:`run_all` gives it
    :raises UserError: as :func:`agents.folder_checks.check_folders` does; then no run has begun
    """
    check_folders(jobs, overwrite=overwrite, patience=patience)
    with LiveTable() as table:
        ended = run(jobs, machine=machine, overwrite=overwrite, command=command, watch=table)
        table(jobs, last=True)
    failed = [job for job in jobs if job.state == "failed"]
    for job in failed:
        how = f": {job.problem}" if job.problem else f" with exit status {job.status}: {job.last_words()}"
        print(f"{job.name} failed{how} (log: {job.log})", file=sys.stderr)
    if not ended or any(job.state == "stopped" for job in jobs):
        again = "the same command without --overwrite" if overwrite else f"the same command: {command}"
        print(f"Stopped. Finished runs are kept, and the others go on from their newest checkpoint, by {again}")
        return 130
    folder = jobs[0].folder.path.parents[1]
    try:
        comparison = write_report(folder)
    except ValueError as error:
        print(f"There is no report: {error}", file=sys.stderr)
        return 1
    print("\n".join(in_words(comparison)).replace("**", ""))
    print(f"Report: {folder / 'report' / 'report.md'}\nCurves: tensorboard --logdir {shlex.quote(str(folder.parent))}")
    return 1 if failed else 0


def check_numbers(arguments: "Arguments") -> None:
    """
    See that every number is one that can be meant.

    :raises UserError: one is not
    """
    for name in ("timesteps", "n_envs", "eval_freq", "eval_episodes", "jobs", "cpus"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} must be 1 or more, and is {value}.")
    if arguments.cpus is not None and not arguments.ray:
        raise UserError("--cpus is about runs on Ray: give --ray as well, or leave it out.")
    for name in ("objective", "seeds"):
        values = getattr(arguments, name)
        if values is not None:
            _check_different(name, values)
    for seed in arguments.seeds or ():
        if not 0 <= seed < 2**32:
            raise UserError(f"--seeds must lie between 0 and {2**32 - 1}, and {seed} does not.")


def configure(arguments: "Arguments") -> list[RunConfiguration]:
    """
    The configurations of all runs, seeds in the outer loop: a grid that is cut short has compared all arms on some.

    :raises UserError: an unknown environment, algorithm or arm
    """
    if arguments.env is None:
        raise UserError("--env is missing, such as --env CarRacing-v2 (or --resume with a run's folder).")
    recipe = choose_recipe(arguments.env, arguments.algo, pixels=arguments.pixels)
    if arguments.precision is not None:
        recipe = replace(recipe, extractor={**recipe.extractor, "precision": arguments.precision})
    if arguments.render is not None and environment_family(arguments.env) != "carracing":
        raise UserError(f"--render chooses between CarRacing's two pictures, and {arguments.env} has one: leave it out.")
    _check_environment(arguments.env, recipe, pixels=arguments.pixels)
    arms = [parse_arm(text, recipe.objective) for text in arguments.objective or (recipe.objective,)]
    _check_arms([arm.name for arm in arms], arguments.objective or (recipe.objective,))
    label = encoder_label(arguments)
    for arm in arms:
        check_head_has_work(arm, recipe, arguments)
    contents = encoder_sha256(arguments.encoder) if arguments.encoder else None
    timesteps = arguments.timesteps or recipe.timesteps
    evaluation = recipe.evaluation
    return [
        RunConfiguration(
            env=arguments.env,
            arm=f"{arm.name}@{label}" if label else arm.name,
            seed=seed,
            timesteps=timesteps,
            n_envs=arguments.n_envs or recipe.n_envs,
            pixels=arguments.pixels,
            render=arguments.render or recipe.environment.render,
            eval_freq=arguments.eval_freq or max(1, timesteps // evaluation.count),
            eval_episodes=arguments.eval_episodes or evaluation.episodes,
            final_episodes=arguments.eval_episodes or evaluation.final_episodes,
            encoder=os.fspath(arguments.encoder) if arguments.encoder else None,
            recipe=recipe,
            encoder_train=arguments.encoder_train or "fine-tune",
            unfreeze_at=arguments.unfreeze_at,
            lr_scale=1.0 if arguments.lr_scale is None else arguments.lr_scale,
            envpool=arguments.vec == "envpool",
            encoder_sha256=contents,
        )
        for seed in arguments.seeds or (0,)
        for arm in arms
    ]


def _check_different(flag: str, values: Sequence[object]) -> None:
    """See that there are values, and none of them twice."""
    if not values or len(set(values)) < len(values):
        raise UserError(f"--{flag} needs one or several different values, and got {list(values)}.")


def _check_arms(names: Sequence[str], given: Sequence[str]) -> None:
    """See that no arm was given twice, by two texts that mean the same."""
    first: dict[str, str] = {}
    for name, text in zip(names, given, strict=True):
        if name in first:
            both = f"{first[name]!r} and {text!r}"
            raise UserError(f"--objective has {both}, which are the same arm here: leave one of them out.")
        first[name] = text


def choose_recipe(env_id: str, algorithm: str | None, *, pixels: bool) -> Recipe:
    """
    The recipe for an environment, and for the algorithm that suits it where none is named.

    :raises UserError: an unknown environment or algorithm
    """
    if algorithm is not None:
        find_algorithm(algorithm)
        return load_recipe(env_id, algorithm)
    family = environment_family(env_id)
    if family is not None:
        return load_recipe(env_id, FAMILY_ALGORITHM[family])
    env = _make(env_id, pixels=pixels)
    action_space = env.action_space
    env.close()
    return load_recipe(env_id, default_algorithm(action_space))


def _check_environment(env_id: str, recipe: Recipe, *, pixels: bool) -> None:
    """Make the environment once, as the recipe will have it."""
    keywords = environment_keywords(recipe, pixels=pixels)
    del keywords["frame_stack"]
    _make(env_id, **keywords).close()


def _make(env_id: str, **keywords: object) -> gym.Env:
    try:
        return make_env(env_id, **keywords)  # type: ignore[arg-type]
    except ValueError as error:
        raise UserError(str(error)) from error


def _check_device(device: str, *, elsewhere: bool) -> None:
    try:
        kind = torch.device("cpu" if device == "auto" else device).type
    except RuntimeError:
        raise UserError(f"--device {device!r} is no device of torch's; cpu, cuda and cuda:0 are.") from None
    if kind == "cuda" and not elsewhere and not torch.cuda.is_available():
        raise UserError(f"--device {device!r} needs CUDA, which torch does not find on this machine.")
