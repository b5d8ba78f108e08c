"""Trainings one after the other in the same processes; for test_several_processes.py."""

import sys
from pathlib import Path

import torch

from cpc_rl.pretraining import pretrain

if __name__ == "__main__":
    torch.set_num_threads(1)
    data, out = map(Path, sys.argv[1:])
    for seed in range(3):
        settings = {"steps": 2, "batch_size": 8, "warmup": 1, "workers": 0, "verbose": 0, "seed": seed}
        pretrain(data, "curl", out=out / str(seed), extractor_kwargs={"features_dim": 16}, device="cpu", **settings)
