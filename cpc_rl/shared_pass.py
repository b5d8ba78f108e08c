"""Where an algorithm's own features of its minibatch are picked up, so that a head needs no pass of its own for them."""

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cpc_rl.attachment import paths
from cpc_rl.encoder import whole_features
from cpc_rl.guard import Guard
from cpc_rl.head import Head
from cpc_rl.minibatch import Minibatches, Rows
from cpc_rl.rollout_features import RolloutFeatures
from cpc_rl.same_pixels import is_of
from cpc_rl.sampling import Windows
from cpc_rl.shared import Shared
from cpc_rl.weak_hooks import ModuleHook

LOOK_EVERY = 50  # head steps


class Batch(NamedTuple):
    """What the objectives get of one update."""

    windows: dict[str, Windows]
    shared: Shared
    places: Tensor | slice
    """Rows of the anchors in what the extractor gave out."""
    whole: bool
    """The windows hold all their frames, also those that no objective needs."""

    def added(self, gradient: Tensor, anchors: Tensor) -> Tensor:
        """The gradient ``(rows, F)`` of the extractor's output, grown by the anchors' ``(B, F)``."""
        gradient = gradient.clone()
        gradient[self.places] += anchors.view_as(gradient[self.places])
        return gradient


class SharedPass:
    """
    :param minibatches: tells which transitions the algorithm trains on
    :param target: extractor of the target network that runs on the next observations, or ``None``
    :param joined: the extractor gets observations and next observations as one batch (CrossQ)
    :param rollout: features that collection computed, to serve as keys, or ``None``
    :param batch_size: of the minibatch, so many rows at most take part
    """

    def __init__(
        self,
        minibatches: Minibatches,
        target: nn.Module | None,
        joined: bool,
        batch_size: int,
        rollout: RolloutFeatures | None = None,
    ) -> None:
        self.minibatches, self.target, self.joined, self.batch_size = minibatches, target, joined, batch_size
        self.rollout = rollout
        self._passes: list[tuple[Rows, Tensor, Tensor]] = []  # of the target's extractor: the minibatch then, input, output
        self._looked = False  # since this learn() began: a loaded head's steps go on from anywhere

    def hooks(self, guard: Guard) -> list[RemovableHandle]:
        """Hooks for the time of an update; whoever takes them removes them."""

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            rows = self.minibatches.latest
            if not guard.busy and rows is not None and inputs:
                self._passes = [each for each in self._passes if each[0] is rows]
                self._passes.append((rows, inputs[0], output.detach()))

        return [] if self.target is None else [self.target.register_forward_hook(ModuleHook(keep))]

    def rows_of(self, given: Any) -> Rows | None:
        """
        The minibatch that a pass is of; ``None`` if it is of something else, as a loss of the user's own may be.

        :param given: to the extractor, preprocessed
        """
        rows = self.minibatches.latest
        if rows is None or not isinstance(given, Tensor):
            return None
        if not self.joined:
            return rows if is_of(given, rows.observations) else None
        first, second = given[: rows.n_padded], given[rows.n_padded :]
        return rows if is_of(first, rows.observations) and is_of(second, rows.next_observations) else None

    def _target_features(self, rows: Rows) -> Tensor | None:
        """What the target's extractor made of a minibatch's next observations."""
        passes = ((given, output) for then, given, output in self._passes if then is rows)
        return next((output for given, output in passes if is_of(given, rows.next_observations)), None)

    def batch(self, head: Head, names: tuple[str, ...], rows: Rows, output: Tensor) -> Batch | None:
        """
        The minibatch as windows and shared features.

        :param names: of the objectives
        :param rows: that the pass is of
        :param output: what the extractor gave out in the pass that is being differentiated, without graph
        :return: ``None`` where the algorithm has moved on to another minibatch, or there are too few rows
        """
        if rows is not self.minibatches.latest:
            return None
        count = min(self.batch_size, len(rows.indices))
        if count < 2:
            return None
        features = whole_features(output)
        places: Tensor | slice = slice(count) if rows.places is None else rows.places[:count]
        next_keys = None
        if rows.next_is_one_step and self.joined:
            next_keys = features[rows.n_padded : rows.n_padded + count]
        elif rows.next_is_one_step and self.target is not None:
            following = self._target_features(rows)
            next_keys = None if following is None else whole_features(following)[:count]
        elif self.rollout is not None:
            next_keys = self.rollout.after(rows.indices[:count])
        shared = Shared(features[places], next_keys)
        look = head.steps % LOOK_EVERY == 0 or not self._looked  # pictures and figures want images now and then
        self._looked = True
        windows = {}
        for name in names:
            objective = head.terms[name].objective
            only = None if look else objective.frames_needed(shared)
            windows[name] = self.minibatches.draw(rows, objective.horizon, head.device, head.encoder.keys, count, only)
        return Batch(windows, shared, places, look)


def is_joined(model: Any) -> bool:
    """CrossQ's critic reads observations and next observations in one pass."""
    return any(cls.__name__ == "CrossQ" for cls in type(model).__mro__)


def matching_target(policy: nn.Module, extractor: nn.Module) -> nn.Module | None:
    """The extractor of the target network that goes with an online one: ``critic_target``'s with ``critic``'s, and so on."""
    modules = paths(policy)
    path = next(path for path, module in modules.items() if module is extractor)
    network, _, rest = path.partition(".")
    return modules.get(f"{network}_target.{rest}")
