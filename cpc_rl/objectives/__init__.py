"""Objectives by the names that their papers gave them."""

from cpc_rl.objectives.atc import ATC
from cpc_rl.objectives.base import Objective
from cpc_rl.objectives.contrastive import ContrastiveObjective
from cpc_rl.objectives.cpc import CPC
from cpc_rl.objectives.curl import CURL
from cpc_rl.objectives.driml import DRIML
from cpc_rl.objectives.multiview import Multiview
from cpc_rl.objectives.simclr import SimCLR
from cpc_rl.objectives.stdim import STDIM
from cpc_rl.objectives.taco import TACO

OBJECTIVES: dict[str, type[Objective]] = {
    "atc": ATC,
    "cpc": CPC,
    "curl": CURL,
    "driml": DRIML,
    "multiview": Multiview,
    "simclr": SimCLR,
    "stdim": STDIM,
    "taco": TACO,
}

__all__ = [
    "ATC",
    "CPC",
    "CURL",
    "DRIML",
    "OBJECTIVES",
    "STDIM",
    "TACO",
    "ContrastiveObjective",
    "Multiview",
    "Objective",
    "SimCLR",
]
