"""How a run ends: the last evaluation, and every file that a finished run has."""

import json
import sys
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

import cpc_rl
from agents.algorithms import find_algorithm
from agents.configuration import RunConfiguration
from agents.curve import write_curve
from agents.evaluation import FINAL_SEEDS, Evaluation, Evaluator
from agents.files import whole_file, write_text
from agents.machine import Machine, environment_keywords_of, make_evaluator
from agents.run_folder import RunFolder
from agents.video import NoPictures, record_episode, write_video


def finish_run(
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
        trained_in = make_evaluator(configuration, machine, training_environment=True)
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
        write_video(
            folder.video, *record_episode(model, configuration.env, environment_keywords_of(configuration, evaluation=True))
        )
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
