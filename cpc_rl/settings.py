"""What a callback was told, checked at once, and heads built from it."""

import inspect
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from cpc_rl.attachment import Site, is_trpo
from cpc_rl.balance import Balance, Coefficient
from cpc_rl.checks import check_annotated, check_number
from cpc_rl.head import Head, Term
from cpc_rl.objectives import OBJECTIVES, Objective
from cpc_rl.stable_text import stable_text

Choice = str | type[Objective]


@dataclass(frozen=True)
class HeadSettings:
    """
    Settings of the heads of one model; see :class:`cpc_rl.ContrastiveCallback`, whose keywords these are.

    :raises ValueError: if one makes no sense
    """

    objective: Choice | Mapping[Choice, float] = "cpc"
    objective_kwargs: Mapping[str, Any] | None = None
    gradient: Literal["joint", "separate"] = "joint"
    coef: Coefficient = "auto"
    gradient_ratio: float = 1.0
    learning_rate: float = 1e-3
    batch_size: int = 128
    every: int = 1
    start: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "objective_kwargs", _copied({} if self.objective_kwargs is None else self.objective_kwargs))
        check_keywords(self.classes, self.keywords)
        Balance(self.coef, self.gradient_ratio)
        if self.gradient not in ("joint", "separate"):
            raise ValueError(f"gradient is {self.gradient!r}, but it takes 'joint' or 'separate'.")
        least = {"batch_size": 2, "every": 1, "start": 0}  # a contrast needs two windows
        if self.seed is not None:
            least["seed"] = 0
        for name, low in least.items():
            object.__setattr__(self, name, check_number(name, getattr(self, name), whole=True, low=low))
        check_number("learning_rate", self.learning_rate, low=0, above=True)

    @property
    def weights(self) -> dict[str, float]:
        """
        Weight by the objective's name, as in TensorBoard's tags.

        :raises ValueError: if there is none, one is not positive, or two are of the same name
        """
        if not isinstance(self.objective, Mapping):
            return {objective_name(self.objective): 1.0}
        if not self.objective:
            raise ValueError("objective is empty, but it takes at least one objective, each with a weight above zero.")
        weights: dict[str, float] = {}
        for choice, weight in self.objective.items():
            name = objective_name(choice)
            if name in weights:
                raise ValueError(f"Two objectives are called {name!r}: give one of the classes another name.")
            weights[name] = check_number(f"The weight of the objective {name!r}", weight, low=0, above=True)
        return weights

    @property
    def classes(self) -> dict[str, type[Objective]]:
        """Class by the objective's name."""
        choices = list(self.objective) if isinstance(self.objective, Mapping) else [self.objective]
        return dict(zip(self.weights, map(objective_class, choices), strict=True))

    @property
    def keywords(self) -> dict[str, dict[str, Any]]:
        """
        Keywords by the objective's name.

        :raises ValueError: if they are no mapping, or those of several objectives are not given by name
        """
        if not isinstance(self.objective_kwargs, Mapping):
            raise ValueError(f"objective_kwargs is {self.objective_kwargs!r}, but it takes a dict, such as dict(horizon=3).")
        if not isinstance(self.objective, Mapping):
            return {name: dict(self.objective_kwargs) for name in self.weights}
        unknown = [name for name in self.objective_kwargs if name not in self.weights]
        if unknown or not all(isinstance(value, Mapping) for value in self.objective_kwargs.values()):
            raise ValueError(
                f"With several objectives, objective_kwargs holds the keywords of each by its name "
                f"({', '.join(self.weights)}), but it is {dict(self.objective_kwargs)!r}."
            )
        return {name: dict(self.objective_kwargs.get(name, {})) for name in self.weights}

    def first_seed(self, model: BaseAlgorithm) -> int:
        """The seed given, else the model's, else what torch's generator stands at: another one for each model."""
        seed = self.seed if self.seed is not None else model.seed
        return zlib.crc32(torch.get_rng_state().numpy().tobytes()) if seed is None else seed

    def build(self, model: BaseAlgorithm, site: Site, number: int) -> Head:
        """
        A new head for one extractor of the model.

        :param number: of the head among the model's
        """
        seed = self.first_seed(model)
        separate = self.gradient == "separate" or is_trpo(model)
        parameter = next(site.encoder.parameters())
        # Features of half precision come as float32.
        dtype = parameter.dtype if parameter.dtype == torch.float64 else torch.float32
        coef: Coefficient = 1.0 if separate and isinstance(self.coef, str) else self.coef
        terms = {}
        for place, (name, make) in enumerate(self.classes.items()):
            # Building the head draws its first weights: not from the generators that the agent draws from.
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                torch.manual_seed(seed + number + 100 * place)
                objective = make.build(site.encoder, model.action_space, **self.keywords[name]).to(parameter.device)
            _put_in(objective, dtype)
            given = self.keywords[name].get("augment") is not None
            terms[name] = Term(objective, Balance(coef, self.gradient_ratio), self.weights[name], augment_given=given)
        return Head(terms, site.encoder, learning_rate=self.learning_rate, separate=separate, seed=seed + 1000 * number)

    def signature(self, head: Head) -> str:
        """A text that is the same for two heads whose state can be exchanged."""
        content = {
            "objectives": {name: type(term.objective).__name__ for name, term in head.terms.items()},
            "weights": self.weights,
            "keywords": self.keywords,
            "shapes": {
                name: {key: list(value.shape) for key, value in term.objective.state_dict().items()}
                for name, term in head.terms.items()
            },
            "separate": head.separate,
            "learning_rate": self.learning_rate,
        }
        return json.dumps(content, default=stable_text, sort_keys=True)


def _put_in(objective: nn.Module, dtype: torch.dtype) -> None:
    """What is of torch's default type, which may be another since the policy was made; copies of the encoder keep theirs."""
    default = torch.get_default_dtype()
    for tensor in (*objective.parameters(), *objective.buffers()):
        if tensor.dtype == default != dtype:
            tensor.data = tensor.data.to(dtype)


def _copied(keywords: Any) -> Any:
    """A copy of a mapping, and of those in it, which the caller may change; anything else as it is."""
    return {name: _copied(value) for name, value in keywords.items()} if type(keywords) is dict else keywords


def objective_class(objective: Choice) -> type[Objective]:
    """
    :raises ValueError: if there is no objective of this name
    """
    if isinstance(objective, str):
        if objective not in OBJECTIVES:
            raise ValueError(f"There is no objective {objective!r}; there are {', '.join(sorted(OBJECTIVES))}.")
        return OBJECTIVES[objective]
    if isinstance(objective, type) and issubclass(objective, Objective):
        return objective
    raise ValueError(
        f"objective is {objective!r}, but it takes a name or a subclass of cpc_rl.Objective, or a mapping of such to weights."
    )


def objective_name(objective: Choice) -> str:
    """The objective's name: the one given, the one that its class is known by, or else the class's in lower case."""
    if isinstance(objective, str):
        return objective
    cls = objective_class(objective)
    return next((name for name, known in OBJECTIVES.items() if known is cls), cls.__name__.lower())


def check_keywords(classes: Mapping[str, type[Objective]], keywords: Mapping[str, Mapping[str, Any]]) -> None:
    """
    :raises ValueError: if an objective has no keyword of a name, saying which it has; if one is of another kind than it must
        be; or if the class cannot be made as the others are
    """
    for name, cls in classes.items():
        parameters = list(inspect.signature(cls).parameters.values())[2:]  # after the encoder and the actions' length
        known = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
        unknown = [key for key in keywords[name] if key not in known]
        if unknown and not open_ended:
            raise ValueError(f"The objective {name!r} has no keyword {unknown[0]!r}; it has {', '.join(known)}.")
        check_annotated(f"the objective {name!r}", cls.__init__, keywords[name])
        if cls.build.__func__ is not Objective.build.__func__:  # type: ignore[attr-defined]  # it has arguments of its own
            continue
        try:
            inspect.signature(cls).bind(None, 0, **keywords[name])
        except TypeError as error:
            raise ValueError(
                f"The objective {name!r} is made by {cls.__name__}(encoder, action_dim, **objective_kwargs), and cannot be: "
                f"{error}."
            ) from None
