"""Contrastive representation learning for any Stable-Baselines3 agent that sees pixels."""

from cpc_rl.augment import make_augmentation
from cpc_rl.callback import ContrastiveCallback
from cpc_rl.encoding import encode, load_encoder, save_encoder
from cpc_rl.objectives import CPC, CURL, OBJECTIVES, Objective

__version__ = "0.1.0"

__all__ = [
    "CPC",
    "CURL",
    "OBJECTIVES",
    "ContrastiveCallback",
    "Objective",
    "encode",
    "load_encoder",
    "make_augmentation",
    "save_encoder",
]
