"""What is counted are the pages that a process fetches, in processes of their own: the setting cannot be taken back."""

import os
import subprocess
import sys

import pytest

from agents.memory import VARIABLES

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
