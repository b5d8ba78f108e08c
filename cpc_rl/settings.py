"""What a callback was told, checked at once, and heads built from it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from cpc_rl.attachment import Site, is_trpo
from cpc_rl.balance import Balance, Coefficient
from cpc_rl.head import Head
from cpc_rl.objectives import OBJECTIVES, Objective
from cpc_rl.sampling import action_dim


@dataclass(frozen=True)
class HeadSettings:
    """
    Settings of the heads of one model; see :class:`cpc_rl.ContrastiveCallback`, whose keywords these are.

    :raises ValueError: if one makes no sense
    """

    objective: str | type[Objective] = "cpc"
    objective_kwargs: Mapping[str, Any] = field(default_factory=dict)
    gradient: Literal["joint", "separate"] = "joint"
    coef: Coefficient = "auto"
    gradient_ratio: float = 1.0
    learning_rate: float = 1e-3
    batch_size: int = 128
    every: int = 1
    start: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        objective_class(self.objective)
        Balance(self.coef, self.gradient_ratio)
        if self.gradient not in ("joint", "separate"):
            raise ValueError(f"gradient is {self.gradient!r}, but it takes 'joint' or 'separate'.")
        if self.batch_size < 2:
            raise ValueError(f"batch_size is {self.batch_size}, but a contrast needs at least 2 windows.")
        if self.every < 1 or self.start < 0 or self.learning_rate <= 0:
            raise ValueError(
                f"every is {self.every}, start is {self.start} and learning_rate is {self.learning_rate}, but they must be "
                "at least 1, at least 0 and above 0."
            )

    @property
    def name(self) -> str:
        """The objective's name, as in TensorBoard's tags."""
        return self.objective if isinstance(self.objective, str) else self.objective.__name__.lower()

    def first_seed(self, model: BaseAlgorithm) -> int:
        """The seed given, else the model's, else one from the operating system."""
        seed = self.seed if self.seed is not None else model.seed
        return int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed

    def build(self, model: BaseAlgorithm, site: Site, number: int) -> Head:
        """
        A new head for one extractor of the model.

        :param number: of the head among the model's
        """
        seed = self.first_seed(model)
        separate = self.gradient == "separate" or is_trpo(model)
        device = next(site.encoder.parameters()).device
        # Building the head draws its first weights: not from the generators that the agent draws from.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed + number)
            make = objective_class(self.objective)
            objective = make(site.encoder, action_dim(model.action_space), **self.objective_kwargs).to(device)
        coef: Coefficient = 1.0 if separate and self.coef == "auto" else self.coef
        return Head(
            objective,
            site.encoder,
            Balance(coef, self.gradient_ratio),
            learning_rate=self.learning_rate,
            separate=separate,
            seed=seed + 1000 * number,
        )

    def signature(self, head: Head) -> str:
        """A text that is the same for two heads whose state can be exchanged."""
        content = {
            "objective": type(head.objective).__name__,
            "keywords": dict(self.objective_kwargs),
            "shapes": {name: list(value.shape) for name, value in head.objective.state_dict().items()},
            "separate": head.separate,
            "learning_rate": self.learning_rate,
        }
        return json.dumps(content, default=repr, sort_keys=True)


def objective_class(objective: str | type[Objective]) -> type[Objective]:
    """
    :raises ValueError: if there is no objective of this name
    """
    if isinstance(objective, str):
        if objective not in OBJECTIVES:
            raise ValueError(f"There is no objective {objective!r}; there are {', '.join(sorted(OBJECTIVES))}.")
        return OBJECTIVES[objective]
    if isinstance(objective, type) and issubclass(objective, Objective):
        return objective
    raise ValueError(f"objective is {objective!r}, but it takes a name or a subclass of cpc_rl.Objective.")
