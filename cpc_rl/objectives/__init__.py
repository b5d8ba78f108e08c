"""Objectives by the names that their papers gave them."""

from cpc_rl.objectives.atc import ATC
from cpc_rl.objectives.base import Objective
from cpc_rl.objectives.byol import BYOL
from cpc_rl.objectives.contrastive import ContrastiveObjective
from cpc_rl.objectives.cpc import CPC
from cpc_rl.objectives.curl import CURL
from cpc_rl.objectives.driml import DRIML
from cpc_rl.objectives.inverse import Inverse
from cpc_rl.objectives.masked import Masked
from cpc_rl.objectives.moco import MoCo
from cpc_rl.objectives.multiview import Multiview
from cpc_rl.objectives.simclr import SimCLR
from cpc_rl.objectives.spr import SPR
from cpc_rl.objectives.stdim import STDIM
from cpc_rl.objectives.taco import TACO
from cpc_rl.objectives.vicreg import VICReg

OBJECTIVES: dict[str, type[Objective]] = {
    "atc": ATC,
    "byol": BYOL,
    "cpc": CPC,
    "curl": CURL,
    "driml": DRIML,
    "inverse": Inverse,
    "masked": Masked,
    "moco": MoCo,
    "multiview": Multiview,
    "simclr": SimCLR,
    "spr": SPR,
    "stdim": STDIM,
    "taco": TACO,
    "vicreg": VICReg,
}

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
    "ContrastiveObjective",
    "Inverse",
    "Masked",
    "MoCo",
    "Multiview",
    "Objective",
    "SimCLR",
    "VICReg",
]
