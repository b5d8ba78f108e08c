"""One run from beginning to end: made or resumed, trained, evaluated, and its results written."""

import shlex
from contextlib import ExitStack

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from agents.arms import parse_arm
from agents.beginning import start_run
from agents.build import build_callback, learn_keywords, training_callbacks
from agents.checkpoints import list_checkpoints, load_model, read_progress, restore_randomness
from agents.configuration import RunConfiguration
from agents.finishing import finish_run
from agents.logs import make_logger, restore_pending
from agents.machine import Machine, make_evaluator, make_training_environments
from agents.memory import keep_freed_memory, put_channels_last
from agents.randomness import training_seed
from agents.run_folder import RunFolder
from agents.summary import summarize
from agents.training import RunCallback, Stopped
from agents.transfer import transfer_callback


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
        if found := folder.is_there():
            folder.lock()
            if overwrite:
                folder.check_replaceable()
            else:
                folder.check_same(configuration)
                checkpoint = next(reversed(list_checkpoints(folder.checkpoints)), None)
                if folder.read_results() is not None:
                    print(f"The run in {folder.path} is finished; --overwrite trains it anew.")
                    return True
        progress = read_progress(checkpoint) if checkpoint else None
        # After a checkpoint episodes start anew, and not with the first ones again.
        seed = training_seed(configuration.seed, progress.timesteps if progress else 0)
        vec_env = make_training_environments(configuration, machine, seed)
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
            model = start_run(
                configuration, folder, machine, vec_env, arm, callback, found=found, overwrite=overwrite, command=command
            )
        # Making or loading a model seeds its environments with the model's own seed, and they would count up from there.
        vec_env.seed(seed)
        model.set_logger(make_logger(folder.path, progress.timesteps + 1 if progress else None))
        cleanup.callback(model.logger.close)
        evaluator = make_evaluator(configuration, machine)
        cleanup.callback(evaluator.close)
        runner = RunCallback(folder, configuration, evaluator, progress)
        if checkpoint and progress:
            restore_pending(model.logger, progress.pending)
            restore_randomness(checkpoint)
        if not _train(model, vec_env, callback, runner):
            print(_how_to_resume(folder, runner))
            return False
        results = finish_run(model, configuration, folder, evaluator, machine)
        print(summarize(configuration, folder, results))
        return True


def _how_to_resume(folder: RunFolder, runner: RunCallback) -> str:
    """One line for the user who stopped the run."""
    if runner.saved is None:
        return "Stopped before the first checkpoint; the same command begins again."
    again = f"python train_agent.py --resume {shlex.quote(str(folder.path))}"
    return f"Stopped; the checkpoint at {runner.saved:,} agent steps goes on by: {again}"


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
