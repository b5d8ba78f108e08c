"""A script whose calls stand under no guard, as many are; for test_loop.py."""

import sys

from cpc_rl.pretraining import pretrain

data, out, workers = sys.argv[1:]
pretrain(data, "curl", out=out, steps=2, batch_size=4, workers=int(workers), extractor_kwargs={"features_dim": 8}, verbose=0)
