"""The pages that a process fetches, counted in processes of their own (the setting cannot be undone); the weights' order."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from agents.memory import VARIABLES, put_channels_last
from agents.recipe import load_recipe
from benchmarks.small_runs import recipe_training
from tests.algorithms import in_layout

PROGRAM = """
import ctypes, resource
import numpy as np
from agents.memory import keep_freed_memory

def fetched():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):  # as an update does: some large arrays beside each other, all of them freed at its end
        arrays = [np.ones(2_500_000, np.float64) for _ in range(4)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_freed_memory()
fetched()
print(int(kept), int(hasattr(ctypes.CDLL(None), "mallopt")), fetched())
"""


def run(**variables: str) -> tuple[int, int, int]:
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES} | variables
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=True)
    kept, possible, pages = map(int, done.stdout.split())
    return kept, possible, pages


def test_freed_memory_is_kept_where_the_allocator_can_be_told() -> None:
    kept, possible, pages = run()
    assert kept == possible
    if kept:  # 20 times 80 MB are 400,000 pages
        assert pages < 4_000


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_of_the_users_stands(name: str) -> None:
    kept, possible, pages = run(**{name: "131072"})
    assert kept == 0
    if possible:  # 128 KiB, so every array goes back to the system
        assert pages > 4_000


@pytest.mark.parametrize("algorithm", ["a2c", "dqn"])
def test_a_recipe_says_whether_the_channels_come_last(algorithm: str) -> None:
    recipe = load_recipe("PixelCartPole-v0", algorithm)
    for wanted in (False, True):
        training = recipe_training(replace(recipe, channels_last=wanted), "PixelCartPole-v0", "none", timesteps=100)
        training.vec_env.close()
        assert in_layout(training.model, torch.channels_last) == wanted


def test_on_other_devices_nothing_is_done() -> None:
    recipe = replace(load_recipe("PixelCartPole-v0", "ppo"), channels_last=False)
    training = recipe_training(recipe, "PixelCartPole-v0", "none", timesteps=100)
    training.vec_env.close()
    training.model.device = torch.device("cuda")
    put_channels_last(training.model)
    assert not in_layout(training.model, torch.channels_last)
