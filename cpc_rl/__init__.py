"""Contrastive representation learning for any Stable-Baselines3 agent that sees pixels."""

from cpc_rl.augment import make_augmentation
from cpc_rl.augmentation import AugmentationCallback
from cpc_rl.buffers import FrameStackReplayBuffer, FrameStackRolloutBuffer
from cpc_rl.callback import ContrastiveCallback
from cpc_rl.diagnostics.probe import probe
from cpc_rl.diagnostics.probe_callback import ProbeCallback
from cpc_rl.encoding import encode, load_encoder, save_encoder
from cpc_rl.extractors import (
    DataEfficientExtractor,
    DrQExtractor,
    ImpalaExtractor,
    NatureExtractor,
    ViTExtractor,
    pinned_policy_kwargs,
)
from cpc_rl.negatives import Negatives
from cpc_rl.objectives import (
    ATC,
    BYOL,
    CPC,
    CURL,
    DRIML,
    OBJECTIVES,
    SPR,
    STDIM,
    TACO,
    ContrastiveObjective,
    Inverse,
    Masked,
    MoCo,
    Multiview,
    Objective,
    SimCLR,
    VICReg,
)
from cpc_rl.pretraining import Pretrained, pretrain
from cpc_rl.transfer import TransferCallback

__version__ = "0.1.0"

__all__ = [
    "ATC",
    "BYOL",
    "CPC",
    "CURL",
    "DRIML",
    "OBJECTIVES",
    "SPR",
    "STDIM",
    "TACO",
    "AugmentationCallback",
    "ContrastiveCallback",
    "ContrastiveObjective",
    "DataEfficientExtractor",
    "DrQExtractor",
    "FrameStackReplayBuffer",
    "FrameStackRolloutBuffer",
    "ImpalaExtractor",
    "Inverse",
    "Masked",
    "MoCo",
    "Multiview",
    "NatureExtractor",
    "Negatives",
    "Objective",
    "Pretrained",
    "ProbeCallback",
    "SimCLR",
    "TransferCallback",
    "VICReg",
    "ViTExtractor",
    "encode",
    "load_encoder",
    "make_augmentation",
    "pinned_policy_kwargs",
    "pretrain",
    "probe",
    "save_encoder",
]
