"""A training in a process group of the caller's own, which goes on after it; for test_several_processes.py."""

import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from cpc_rl.pretraining import pretrain

if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", timeout=timedelta(seconds=20))
    data, out = map(Path, sys.argv[1:])
    settings = {"steps": 2, "batch_size": 8, "warmup": 1, "workers": 0, "verbose": 0, "probe_frames": 600}
    done = pretrain(data, "curl", out=out, extractor_kwargs={"features_dim": 16}, device="cpu", **settings)
    (out / f"{distributed.get_rank()}.txt").write_text(str(done.report))
    distributed.barrier()
    distributed.destroy_process_group()
