"""Objectives by the names that their papers gave them."""

from cpc_rl.objectives.atc import ATC
from cpc_rl.objectives.base import Objective
from cpc_rl.objectives.contrastive import ContrastiveObjective
from cpc_rl.objectives.cpc import CPC
from cpc_rl.objectives.curl import CURL
from cpc_rl.objectives.taco import TACO

OBJECTIVES: dict[str, type[Objective]] = {"atc": ATC, "cpc": CPC, "curl": CURL, "taco": TACO}

__all__ = ["ATC", "CPC", "CURL", "OBJECTIVES", "TACO", "ContrastiveObjective", "Objective"]
