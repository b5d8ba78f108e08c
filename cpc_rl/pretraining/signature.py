"""What a pre-training is, as a text: whether it can go on from a checkpoint is whether the two texts are the same."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from cpc_rl.pretraining.batches import Batch, EpisodeBatches
from cpc_rl.pretraining.episodes import Episodes
from cpc_rl.pretraining.opening import Data
from cpc_rl.pretraining.training import Learner
from cpc_rl.settings import HeadSettings
from cpc_rl.stable_text import stable_text

WINDOWS = 8  # read to tell one set of data from another


def signature(
    choice: HeadSettings,
    learner: Learner,
    make: type[BaseFeaturesExtractor],
    keywords: Mapping[str, Any],
    data: Data,
    frame_stack: int,
) -> str:
    """
    A text, JSON, that is the same for two runs of which one can go on where the other stopped.

    :param choice: the objectives
    :param learner: of the run
    :param make: class of the extractors
    :param keywords: of the extractors
    :param data: as it is trained on, stacked already
    :param frame_stack: recorded frames in an observation
    :raises ValueError: if no window of the data can be read
    """
    content = {
        "training": learner.training.identity,
        "objectives": {name: type(objective).__name__ for name, objective in learner.objectives.items()},
        "weights": choice.weights,
        "keywords": choice.keywords,
        "extractor": f"{make.__module__}.{make.__qualname__}",
        "extractor_keywords": dict(keywords),
        "frames": int(data.lengths.sum()) if isinstance(data, Episodes) else data.windows.replay_buffer.size(),
        "frame_stack": frame_stack,
        "observations": str(data.observation_space),
        "actions": str(data.action_space),
        "data": _digest(data, learner),
    }
    return json.dumps(content, default=stable_text, sort_keys=True)


def _digest(data: Data, learner: Learner) -> str:
    """Of the episodes' lengths and of some windows, the same ones whatever the seed. A copy elsewhere has the same."""
    count, horizon = min(WINDOWS, learner.training.batch_size), learner.horizon
    digest = hashlib.sha256()
    if isinstance(data, Episodes):
        digest.update(np.asarray(data.lengths, np.int64).tobytes())
        batch: Batch = EpisodeBatches(data, count, horizon)[0]
    else:
        batch = next(data.stream(0, 1, batch_size=count, horizon=horizon, per_trajectory=1, seed=0))
    images, *columns = batch.windows
    seen = [images[key] for key in sorted(images)] if isinstance(images, dict) else [images]
    for column in [*seen, *columns]:
        digest.update(column.numpy().tobytes())
    return digest.hexdigest()[:16]
