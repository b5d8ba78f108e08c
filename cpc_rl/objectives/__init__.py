"""Objectives by the names that their papers gave them."""

from cpc_rl.objectives.base import Objective
from cpc_rl.objectives.cpc import CPC
from cpc_rl.objectives.curl import CURL

OBJECTIVES: dict[str, type[Objective]] = {"curl": CURL, "cpc": CPC}

__all__ = ["CPC", "CURL", "OBJECTIVES", "Objective"]
