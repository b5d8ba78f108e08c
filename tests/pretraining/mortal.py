"""Run by several processes: a pre-training in which one of them dies, or hangs, if it is told to."""

import os
import sys
import time
from typing import Any

import torch

from cpc_rl.pretraining import pretrain
from cpc_rl.pretraining.training import Learner
from cpc_rl.sampling import Windows

SETTINGS: dict[str, Any] = {
    "extractor_kwargs": {"features_dim": 32},
    "objective_kwargs": {"horizon": 2},
    "steps": 8,
    "batch_size": 9,
    "warmup": 2,
    "workers": 1,
    "log_every": 4,
    "checkpoint_every": 2,
    "optimizer": "lars",
    "learning_rate": 1.0,
    "device": "cpu",
    "verbose": 0,
}


class Mortal(Learner):
    """In the process with the last rank, one step ends it."""

    def step(self, windows: Windows, step: int) -> Any:
        if step == 5 and os.environ["RANK"] == str(int(os.environ["WORLD_SIZE"]) - 1):
            if how == "dies":
                os._exit(1)
            if how == "hangs":
                time.sleep(600)
        return super().step(windows, step)


if __name__ == "__main__":
    torch.set_num_threads(1)
    data, out, how = sys.argv[1:]
    import cpc_rl.pretraining.loop

    cpc_rl.pretraining.loop.Learner = Mortal  # type: ignore[misc]
    pretrain(data, "cpc", out=out, **SETTINGS)
