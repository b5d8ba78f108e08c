"""One run from beginning to end: made or resumed, trained, evaluated, and its results written."""

import json
import shutil
import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

import cpc_rl
from agents.algorithms import find_algorithm
from agents.arms import Arm, parse_arm
from agents.build import (
    attach_early,
    build_callback,
    build_model,
    environment_keywords,
    learn_keywords,
    more_compute,
    training_callbacks,
)
from agents.calibration import measure_compute_ratio, without_and_with_head
from agents.checkpoints import list_checkpoints, load_model, read_progress, restore_randomness
from agents.configuration import RunConfiguration, installed_versions
from agents.curve import write_curve
from agents.errors import UserError
from agents.evaluation import FINAL_SEEDS, Evaluation, Evaluator, interrupts_ignored
from agents.files import whole_file, write_text
from agents.logs import make_logger, restore_pending
from agents.memory import keep_freed_memory, put_channels_last
from agents.randomness import training_seed, undisturbed
from agents.run_folder import RunFolder
from agents.summary import summarize
from agents.training import RunCallback, Stopped
from agents.transfer import check_unchanged, transfer_callback
from agents.video import NoPictures, record_episode, write_video
from envs import make_vec_env
from envs.reward import RewardSign, ScaledReward

TRIAL_STEPS = 1_000  # what a replay buffer holds that nothing is put into


@dataclass(frozen=True)
class Machine:
    """
    Where a run is computed: no part of what it computes.

    :param device: torch's name of a device, or ``auto``
    :param vec: where the training's environments are stepped; ``envpool`` must be the configuration's as well
    :param processes: for evaluations; as many as there are cores if ``None``
    """

    device: str = "auto"
    vec: Literal["auto", "dummy", "subproc", "envpool"] = "auto"
    processes: int | None = None


def execute(configuration: RunConfiguration, folder: RunFolder, machine: Machine, *, overwrite: bool, command: str) -> bool:
    """
    Bring a run to its end, from wherever it is.

    :param folder: where it lies or will lie
    :param overwrite: replace what lies there
    :param command: what the user typed, for ``config.yaml``
    :return: whether it is finished; otherwise the user stopped it and it can be resumed
    :raises UserError: it cannot be done; then nothing in the folder was changed
    """
    keep_freed_memory()
    with ExitStack() as cleanup:
        cleanup.callback(folder.unlock)
        checkpoint = None
        if folder.is_there():
            folder.lock()
            if overwrite:
                folder.check_replaceable()
            else:
                checkpoint = _resumable(configuration, folder.read_configuration(), folder)
                if folder.read_results() is not None:
                    print(f"The run in {folder.path} is finished; --overwrite trains it anew.")
                    return True
        progress = read_progress(checkpoint) if checkpoint else None
        # After a checkpoint episodes start anew, and not with the first ones again.
        seed = training_seed(configuration.seed, progress.timesteps if progress else 0)
        vec_env = _make_vec_env(configuration, machine, seed)
        cleanup.callback(vec_env.close)
        arm = parse_arm(configuration.plain_arm, configuration.recipe.objective)
        callback = build_callback(configuration.recipe, arm, configuration.seed)
        if checkpoint and progress:
            model = load_model(checkpoint, configuration.recipe.algorithm, vec_env, machine.device)
            if configuration.recipe.channels_last:
                put_channels_last(model)
            # Loading seeds the random actions too, which would be those of the run's beginning once more.
            model.action_space.seed(seed)
            folder.sweep()
            folder.cut_logs(progress.log_lengths)
        else:
            model = _start(configuration, folder, machine, vec_env, arm, callback, overwrite=overwrite, command=command)
        # Making or loading a model seeds its environments with the model's own seed, and they would count up from there.
        vec_env.seed(seed)
        model.set_logger(make_logger(folder.path, progress.timesteps + 1 if progress else None))
        cleanup.callback(model.logger.close)
        evaluator = _evaluator(configuration, machine, _keywords(configuration, evaluation=True))
        cleanup.callback(evaluator.close)
        runner = RunCallback(folder, configuration, evaluator, progress)
        if checkpoint and progress:
            restore_pending(model.logger, progress.pending)
            restore_randomness(checkpoint)
        if not _train(model, vec_env, callback, runner):
            print(_how_to_resume(folder, runner))
            return False
        results = _finish(model, configuration, folder, evaluator, machine)
        print(summarize(configuration, folder, results))
        return True


def _resumable(configuration: RunConfiguration, existing: RunConfiguration, folder: RunFolder) -> Path | None:
    """The newest checkpoint of the run that lies in the folder, if it has one and is the run that is wanted."""
    differences = configuration.differences(existing)
    if differences:
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise UserError(
            f"{folder.path} holds a run with another configuration: {differences[0]}{more}; "
            "--overwrite replaces it, another --log-dir keeps both."
        )
    checkpoints = list_checkpoints(folder.checkpoints)
    return checkpoints[-1] if checkpoints else None


def _keywords(configuration: RunConfiguration, *, evaluation: bool = False) -> dict[str, Any]:
    render = "stock" if evaluation else configuration.render
    return environment_keywords(configuration.recipe, pixels=configuration.pixels, render=render, evaluation=evaluation)


def _evaluator(configuration: RunConfiguration, machine: Machine, keywords: dict[str, Any]) -> Evaluator:
    settings = configuration.recipe.evaluation
    return Evaluator(
        configuration.env, keywords, machine.processes, deterministic=settings.deterministic, epsilon=settings.epsilon
    )


def _make_vec_env(configuration: RunConfiguration, machine: Machine, seed: int) -> VecEnv:
    """
    The training's environments.

    :param seed: of the first one
    """
    recipe = configuration.recipe
    if machine.vec == "envpool" and not configuration.envpool:
        raise UserError("This run trains on Gymnasium's environments, and --vec envpool has others: leave it out.")
    vec = "envpool" if configuration.envpool else machine.vec
    try:
        with interrupts_ignored():
            vec_env = make_vec_env(
                configuration.env,
                configuration.n_envs,
                seed,
                vec=vec,
                lives_as_episodes=recipe.lives_as_episodes,
                **_keywords(configuration),
            )
        if recipe.reward_sign:
            vec_env = RewardSign(vec_env)
        return vec_env if recipe.reward_scale == 1 else ScaledReward(vec_env, recipe.reward_scale)
    except ValueError as error:
        raise UserError(str(error)) from error


def _start(
    configuration: RunConfiguration,
    folder: RunFolder,
    machine: Machine,
    vec_env: VecEnv,
    arm: Arm,
    callback: BaseCallback | None,
    *,
    overwrite: bool,
    command: str,
) -> BaseAlgorithm:
    """A new model in a new folder; the folder is touched once everything else has gone well."""
    recipe, seed = configuration.recipe, configuration.seed
    check_unchanged(configuration)
    ratio = 1.0
    if arm.compute:
        more_compute(
            find_algorithm(recipe.algorithm), recipe.hyperparameters, ratio, vec_env.num_envs
        )  # says first if it cannot
        ratio = measure_compute_ratio(recipe, arm, vec_env, seed, machine.device)
    model = build_model(recipe, vec_env, arm, seed, machine.device, timesteps=configuration.timesteps, compute_ratio=ratio)
    _attach(configuration, model, callback)
    content = {
        "run": configuration.as_dict(),
        "command": command,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": str(model.device),
        "versions": installed_versions(),
    }
    if arm.compute:
        names = [name for name in ("n_epochs", "gradient_steps") if hasattr(model, name)]
        more = {name: getattr(model, name) for name in names}
        content["compute"] = {"ratio": round(ratio, 4), "head": ",".join(arm.matched), **more}
    if overwrite and folder.is_there():
        folder.move_aside()
    else:
        folder.lock()
    folder.start(content)
    shutil.rmtree(folder.replaced, ignore_errors=True)
    return model


def _attach(configuration: RunConfiguration, model: BaseAlgorithm, callback: BaseCallback | None) -> None:
    """Give a new model the run's encoder and callback."""
    try:
        if configuration.encoder is not None:
            cpc_rl.load_encoder(model, configuration.encoder)  # what becomes of it is its callback's part, see _train
    except ValueError as error:
        raise UserError(str(error)) from error
    attach_early(callback, model)


def try_out(configurations: Sequence[RunConfiguration], machine: Machine) -> None:
    """
    Make one environment, and in it the model of each run as the run would, and let go of them.

    :param configurations: one of each arm of a grid
    :raises UserError: a run could not begin; its arm is named
    """
    vec = machine.vec if configurations[0].envpool else "dummy"
    with undisturbed(), warnings.catch_warnings(), ExitStack() as cleanup:
        warnings.simplefilter("ignore")  # the run says it again
        vec_env = _make_vec_env(replace(configurations[0], n_envs=1), replace(machine, vec=vec), 0)
        cleanup.callback(vec_env.close)
        for configuration in configurations:
            recipe, seed = configuration.recipe, configuration.seed
            arm = parse_arm(configuration.plain_arm, recipe.objective)
            try:
                model = build_model(recipe, vec_env, arm, seed, "cpu", timesteps=TRIAL_STEPS)
                _attach(configuration, model, build_callback(recipe, arm, seed))
                if arm.compute:  # it begins by training the head that it makes up for
                    with_head = without_and_with_head(arm)[1]
                    model = build_model(recipe, vec_env, with_head, seed, "cpu", timesteps=TRIAL_STEPS)
                    attach_early(build_callback(recipe, with_head, seed), model)
            except UserError as error:
                raise UserError(f"The arm {configuration.arm!r} cannot be trained here: {error}") from error


def _how_to_resume(folder: RunFolder, runner: RunCallback) -> str:
    """One line for the user who stopped the run."""
    if runner.saved is None:
        return "Stopped before the first checkpoint; the same command begins again."
    return f"Stopped; the checkpoint at {runner.saved:,} agent steps goes on by: python train_agent.py --resume {folder.path}"


def _train(model: BaseAlgorithm, vec_env: VecEnv, callback: BaseCallback | None, runner: RunCallback) -> bool:
    """Train what is left to train. Return whether the end was reached."""
    left = runner.configuration.timesteps - model.num_timesteps
    if left <= 0:
        return True
    transfer = transfer_callback(runner.configuration)
    heads = training_callbacks(runner.configuration.recipe, callback)
    callbacks = [*([transfer] if transfer is not None else []), *heads, runner]
    try:
        with runner.interruptible():
            model.learn(left, callback=callbacks, reset_num_timesteps=False, **learn_keywords(model, vec_env))
            runner.pause(evaluate=True)
    except (Stopped, KeyboardInterrupt):
        return False
    finally:
        runner.close()
    return True


def _finish(
    model: BaseAlgorithm, configuration: RunConfiguration, folder: RunFolder, evaluator: Evaluator, machine: Machine
) -> dict[str, Any]:
    """
    The last evaluation, on episodes of its own, and every file that a finished run has; ``results.json`` is the last.

    An environment that draws no pictures has no video, and the run is finished without.
    """
    print(f"Evaluating on {configuration.final_episodes} episodes never seen before ...", file=sys.stderr)
    seeds = range(FINAL_SEEDS, FINAL_SEEDS + configuration.final_episodes)
    final = evaluator.evaluate(model, seeds)
    evaluations = {"final": _statistics(final, seeds)}
    if configuration.recipe.evaluation.env_kwargs:  # the training's environment is another: what the agent reaches there
        trained_in = _evaluator(configuration, machine, _keywords(configuration))
        try:
            evaluations["final_in_training_environment"] = _statistics(trained_in.evaluate(model, seeds), seeds)
        finally:
            trained_in.close()
    rows = folder.read_evaluations()
    with whole_file(folder.model) as temporary:
        model.save(temporary)
    cpc_rl.save_encoder(model, folder.encoder)
    algorithm = find_algorithm(configuration.recipe.algorithm).__name__
    title = f"{algorithm} ({configuration.arm}) on {configuration.env}, seed {configuration.seed}"
    write_curve(folder.curve, rows, title, float(np.mean(final.returns)))
    try:
        write_video(folder.video, *record_episode(model, configuration.env, _keywords(configuration, evaluation=True)))
    except NoPictures as error:
        print(f"There is no video: {error}", file=sys.stderr)
    results = {
        "algorithm": algorithm,
        "timesteps": model.num_timesteps,
        "frames": model.num_timesteps * configuration.recipe.environment.frame_skip,
        "wall_seconds": rows[-1]["wall_seconds"],
        "first_return": rows[0]["mean_return"],
        "last_return": rows[-1]["mean_return"],
        **evaluations,
    }
    write_text(folder.results, json.dumps(results, indent=1) + "\n")
    return results


def _statistics(evaluation: Evaluation, seeds: range) -> dict[str, Any]:
    """An evaluation as ``results.json`` has it."""
    returns = evaluation.returns
    return {
        "episodes": len(returns),
        "mean_return": round(float(np.mean(returns)), 4),
        "std_return": round(float(np.std(returns)), 4),
        "returns": [round(float(value), 4) for value in returns],
        "lengths": [int(value) for value in evaluation.lengths],
        "seeds": [seeds.start, seeds.stop],
    }
