"""The settings of a pre-training, checked at once, and its learner: encoder, objectives, optimiser, and one step of them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from gymnasium import spaces
from torch import Tensor, nn

from cpc_rl.checks import check_number
from cpc_rl.head import Metrics, checked, own_randomness
from cpc_rl.objectives import Objective
from cpc_rl.pretraining.distributed import sum_gradients, world_size
from cpc_rl.pretraining.optimizers import OPTIMIZERS, cosine_with_warmup, make_optimizer
from cpc_rl.pretraining.sharded_encoder import ShardedEncoder
from cpc_rl.sampling import Windows
from cpc_rl.settings import HeadSettings
from cpc_rl.windows import shorten


@dataclass(frozen=True)
class Training:
    """
    Settings of a pre-training.

    :param steps: updates
    :param batch_size: windows in each, over all processes
    :param optimizer: adamw (Loshchilov and Hutter 2019), or lars (You et al. 2017) for large batches
    :param learning_rate: the highest: it rises to it over the warm-up, then falls to zero as half a cosine. ``None``: that of
        :data:`cpc_rl.pretraining.optimizers.OPTIMIZERS`, which are far apart, since LARS takes a thousandth of it
    :param weight_decay: of weights; biases and the parameters of normalisations are left alone
    :param warmup: steps until the learning rate is reached; ``None``: 500, or in a short training a tenth of the steps
    :param accumulate: pieces that the encoder takes a batch in, to save memory; the gradient is that of the whole batch
    :param precision: float32, or bf16 for the extractors
    :param seed: of weights, windows and augmentations
    :param workers: processes that read and decode, per training process
    :param log_every: steps between two entries in TensorBoard
    :param checkpoint_every: steps between two checkpoints
    :param probe_frames: frames of the probe report, for data with labels; 0 for none
    :raises ValueError: if one makes no sense
    """

    steps: int = 10_000
    batch_size: int = 256
    optimizer: Literal["adamw", "lars"] = "adamw"
    learning_rate: float | None = None
    weight_decay: float = 1e-4
    warmup: int | None = None
    accumulate: int = 1
    precision: Literal["float32", "bf16"] = "float32"
    seed: int = 0
    workers: int = 2
    log_every: int = 100
    checkpoint_every: int = 1000
    probe_frames: int = 10_000

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {self.optimizer!r}, but it is one of {', '.join(OPTIMIZERS)}.")
        if self.precision not in ("float32", "bf16"):
            raise ValueError(f"precision is {self.precision!r}, but it is 'float32' or 'bf16'.")
        least = {
            "steps": 1,
            "batch_size": 2,
            "accumulate": 1,
            "workers": 0,
            "log_every": 1,
            "checkpoint_every": 1,
        }
        for name, bound in {**least, "seed": 0, "probe_frames": 0}.items():
            self._set(name, check_number(name, getattr(self, name), whole=True, low=bound))
        check_number("weight_decay", self.weight_decay, low=0)  # and left as it is, for checkpoints hold it as a text
        if self.learning_rate is not None:
            check_number("learning_rate", self.learning_rate, low=0, above=True)
        if self.warmup is not None:
            self._set("warmup", check_number("warmup", self.warmup, whole=True))
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(
                f"warmup is {self.warmup} with {self.steps} steps, but it must be at least 0 and below the steps, or the "
                "learning rate would never be reached."
            )

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def highest_rate(self) -> float:
        """The learning rate, the optimiser's own where none is given."""
        return OPTIMIZERS[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def warmup_steps(self) -> int:
        """The warm-up, in steps, whether one is given or not."""
        return min(500, self.steps // 10) if self.warmup is None else self.warmup

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that a checkpoint goes on with; the others may change."""
        free = ("workers", "log_every", "checkpoint_every", "accumulate", "probe_frames")
        used = {**dataclasses.asdict(self), "learning_rate": self.highest_rate, "warmup": self.warmup_steps}
        return {name: value for name, value in used.items() if name not in free}


class Learner:
    """
    :param encoder: that is trained; on its device already
    :param choice: the objectives with their weights and keywords
    :param action_space: of the data; ``None`` if there are no actions
    :param training: settings
    :raises ValueError: if an objective needs what the data does not have, or cannot be made with its keywords
    """

    def __init__(
        self, encoder: ShardedEncoder, choice: HeadSettings, action_space: spaces.Space | None, training: Training
    ) -> None:
        self.encoder, self.weights, self.training = encoder, choice.weights, training
        self.device = next(encoder.parameters()).device
        self.objectives: dict[str, Objective] = {}
        for number, (name, make) in enumerate(choice.classes.items()):
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                torch.manual_seed(training.seed + 1 + number)
                try:
                    objective = make.build(encoder, action_space, **choice.keywords[name]).to(self.device)
                except TypeError as error:  # of a keyword that is of another type than it must be
                    raise ValueError(f"{name!r} cannot be made with {choice.keywords[name]}: {error}.") from error
            objective.generator = torch.Generator(self.device).manual_seed(training.seed + 1 + 100 * number)
            self.objectives[name] = objective
        self.head = [p for objective in self.objectives.values() for p in objective.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(
            training.optimizer, [*encoder.parameters(), *self.head], training.highest_rate, training.weight_decay
        )

    @property
    def horizon(self) -> int:
        """Frames after the first that a batch's windows must hold."""
        return max(objective.horizon for objective in self.objectives.values())

    @property
    def per_trajectory(self) -> int:
        """Windows of one episode that a batch should hold."""
        return max(objective.per_trajectory for objective in self.objectives.values())

    def gradient(self, windows: Windows, step: int = 0) -> tuple[Tensor, dict[str, Metrics]]:
        """
        Put the gradient of the whole batch, over all processes, into every parameter.

        :param windows: the whole batch
        :param step: dropout and the like draw from it, the same in every process
        :return: the loss (nats), and detached metrics by the objectives' names
        """
        losses, metrics = [], {}
        self.optimizer.zero_grad()
        with own_randomness(self.device):
            torch.manual_seed(self.training.seed * 1_000_003 + step)
            for name, objective in self.objectives.items():
                loss, metrics[name] = checked(name, objective(self.encoder, shorten(windows, objective.horizon)))
                losses.append(self.weights[name] * loss)
            total = torch.stack(losses).sum()
            total.backward()
        sum_gradients(self.encoder.parameters())
        sum_gradients(self.head, divide=world_size())  # they are equal; this keeps them so where a GPU's rounding is not
        return total.detach(), metrics

    def step(self, windows: Windows, step: int) -> dict[str, Metrics]:
        """
        One update.

        :return: metrics by the objectives' names
        :raises ValueError: if the loss or its gradient is not finite; weights and optimiser are then as they were
        """
        training = self.training
        for group in self.optimizer.param_groups:
            group["lr"] = training.highest_rate * cosine_with_warmup(step, training.steps, training.warmup_steps)
        loss, metrics = self.gradient(windows, step)
        gradients = [p.grad for p in (*self.encoder.parameters(), *self.head) if p.grad is not None]
        if not torch.isfinite(loss + nn.utils.get_total_norm(gradients).to(loss.device)):
            raise ValueError(
                f"The loss of step {step}, or its gradient, is not a finite number, so that the training ends here; the "
                f"checkpoint is as it was. Make the learning rate smaller (it is {training.highest_rate:g}), or see that "
                "all images are finite numbers in their space's bounds."
            )
        self.optimizer.step()
        for objective in self.objectives.values():
            objective.after_step(self.encoder)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Everything that goes on where it stopped."""
        generators = {name: objective.generator for name, objective in self.objectives.items()}
        return {
            "encoder": self.encoder.state_dict(),
            "objectives": {name: objective.state_dict() for name, objective in self.objectives.items()},
            "generators": {name: g.get_state() for name, g in generators.items() if g is not None},
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.encoder.load_state_dict(state["encoder"])
        for name, objective in self.objectives.items():
            objective.load_state_dict(state["objectives"][name])
            assert objective.generator is not None
            objective.generator.set_state(state["generators"][name].cpu())
        self.optimizer.load_state_dict(state["optimizer"])


def stem(encoder: ShardedEncoder) -> nn.Module:
    """The extractor as a policy names its parameters: itself, or one per image entry as in SB3's ``CombinedExtractor``."""
    if not encoder.is_dict:
        return next(iter(encoder.extractors.values()))
    whole = nn.Module()
    whole.extractors = encoder.extractors
    whole.features_dim = encoder.features_dim  # type: ignore[assignment]
    return whole
