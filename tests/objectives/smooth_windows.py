"""Windows whose frames can be told from their neighbours."""

import numpy as np
import torch

from cpc_rl.sampling import Windows
from tests.synthetic import rolling_patterns


def fading_patterns(batch_size: int, length: int, seed: int, structure: bool = True) -> Windows:
    """
    One pattern of 4 x 4 grey fields turns into another over the window, evenly: each frame is the mean of its neighbours.

    Without ``structure`` every frame shows another pattern.
    """
    windows = rolling_patterns(batch_size, length, seed, structure=False)
    if structure:
        images = windows.observations.float()
        share = torch.from_numpy(np.linspace(0, 1, length, dtype=np.float32))[:, None, None, None]
        faded = images[:, :1] * (1 - share) + images[:, -1:] * share
        windows = windows._replace(observations=faded.round().to(torch.uint8))
    return windows
