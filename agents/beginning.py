"""How a run begins: a new model in a new folder; and whether every arm of a grid could begin."""

import shutil
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

import cpc_rl
from agents.algorithms import find_algorithm
from agents.arms import Arm, parse_arm
from agents.build import attach_early, build_callback, build_model, more_compute
from agents.calibration import measure_compute_ratio, without_and_with_head
from agents.configuration import RunConfiguration, installed_versions
from agents.errors import Busy, UserError
from agents.machine import Machine, make_training_environments
from agents.randomness import undisturbed
from agents.run_folder import RunFolder
from agents.transfer import check_unchanged

TRIAL_STEPS = 1_000  # what a replay buffer holds that nothing is put into


def start_run(
    configuration: RunConfiguration,
    folder: RunFolder,
    machine: Machine,
    vec_env: VecEnv,
    arm: Arm,
    callback: BaseCallback | None,
    *,
    found: bool,
    overwrite: bool,
    command: str,
) -> BaseAlgorithm:
    """
    A new model in a new folder; the folder is touched once everything else has gone well.

    :param found: whether there was a run, and the folder is locked
    :raises Busy: there was none, and now there is
    """
    recipe, seed = configuration.recipe, configuration.seed
    check_unchanged(configuration)
    ratio = 1.0
    if arm.compute:
        more_compute(find_algorithm(recipe.algorithm), recipe.hyperparameters, ratio, vec_env.num_envs)  # says if it cannot
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
    if not found:
        folder.lock()
        if folder.is_there():
            again = "the same command goes on with that, --overwrite anew"
            raise Busy(f"Another process has meanwhile trained in {folder.path}; {again}.")
    elif overwrite:
        folder.move_aside()
    folder.start(content)
    shutil.rmtree(folder.replaced, ignore_errors=True)
    return model


def _attach(configuration: RunConfiguration, model: BaseAlgorithm, callback: BaseCallback | None) -> None:
    """Give a new model the run's encoder and callback."""
    try:
        if configuration.encoder is not None:
            cpc_rl.load_encoder(model, configuration.encoder)  # what becomes of it is its callback's part, see agents.run
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
        vec_env = make_training_environments(replace(configurations[0], n_envs=1), replace(machine, vec=vec), 0)
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
