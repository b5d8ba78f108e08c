"""Everything through which the heads of one model share work with its updates."""

from collections.abc import Callable
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from cpc_rl.attachment import Site, is_trpo
from cpc_rl.head import Head
from cpc_rl.minibatch import Minibatches
from cpc_rl.rollout_features import RolloutFeatures
from cpc_rl.sampling import ReplayWindows, RolloutWindows
from cpc_rl.shared_pass import SharedPass, is_joined, matching_target
from cpc_rl.spare_backward import SpareBackward

LEAST_ROLLOUT = 4  # times the horizon, so that three anchors of four have their positives in the same rollout


def has_stock_update(model: BaseAlgorithm) -> bool:
    """Whether ``train()`` is Stable-Baselines3's or sb3-contrib's own, whose order of passes and steps is known."""
    return type(model).train.__module__.partition(".")[0] in ("stable_baselines3", "sb3_contrib")  # type: ignore[attr-defined]


class Sharing:
    """
    Makes the shared passes, and switches what watches the model on and off with its rollouts and updates.

    :param model: the model
    :param sites: all its trained extractors
    :param windows: the source of windows over its buffer
    :param alive: says whether the ``learn()`` that this belongs to still runs
    :param batch_size: at most so many rows of a minibatch take part
    :param rollout_keys: on-policy, features of the collection serve as keys
    """

    def __init__(
        self,
        model: BaseAlgorithm,
        sites: list[Site],
        windows: RolloutWindows | ReplayWindows,
        alive: Callable[[], bool],
        *,
        batch_size: int,
        rollout_keys: bool,
    ) -> None:
        self.model, self.alive, self.batch_size = model, alive, batch_size
        replay_buffer = getattr(model, "replay_buffer", None)
        buffer = model.rollout_buffer if replay_buffer is None else replay_buffer  # type: ignore[attr-defined]
        self.minibatches = Minibatches(buffer, windows, alive)
        self.rollout_steps = buffer.buffer_size if isinstance(windows, RolloutWindows) else None
        self.rollout_keys = rollout_keys and isinstance(windows, RolloutWindows)
        self.rollouts: list[RolloutFeatures] = []
        self.spare: SpareBackward | None = None
        critics = [site for site in sites if site.role == "critic" and len(set(map(id, site.optimizers))) == 1]
        if len(sites) > 1 and critics and isinstance(windows, ReplayWindows) and has_stock_update(model):
            self.spare = SpareBackward(critics[0].extractor, critics[0].optimizers[0], self.minibatches, alive)

    def shared_pass(self, site: Site, head: Head) -> SharedPass | None:
        """
        Where a head's objectives can have the algorithm's features; ``None`` where they cannot: several image entries, whose
        gradients come one by one, a step of the head's own, TRPO, or rollouts that are short for all of their horizons: the
        windows of a minibatch end with its rollout, and those that are drawn go on in the next one.
        """
        for term in head.terms.values():
            needed = LEAST_ROLLOUT * term.objective.horizon
            term.short_of_frames = self.rollout_steps is not None and needed > self.rollout_steps
            term.agent_augments = self.rollout_steps is None and getattr(site.extractor, "augmentation", None) is not None
        wanted = not head.separate and any(term.shares for term in head.terms.values())
        if not wanted or is_trpo(self.model) or site.encoder.is_dict:
            return None
        rollout = None
        if self.rollout_keys and any(term.shares and term.objective.takes_next_keys for term in head.terms.values()):
            policy: Any = self.model.policy
            rollout = RolloutFeatures(site.extractor, policy.value_net, lambda: self.model._last_obs, self.alive)
            self.rollouts.append(rollout)
        target = matching_target(self.model.policy, site.extractor)
        return SharedPass(self.minibatches, target, is_joined(self.model), self.batch_size, rollout)

    def begin_rollout(self) -> None:
        """The agent begins to act."""
        for rollout in self.rollouts:
            rollout.begin()

    def note_step(self) -> None:
        """It has acted once."""
        for rollout in self.rollouts:
            rollout.note_step()

    def attach(self) -> None:
        """An update begins. Before the heads' hooks are put in place: they are to see what is left of the passes."""
        for rollout in self.rollouts:
            rollout.end()
        self.minibatches.attach()
        if self.spare is not None:
            self.spare.attach()

    def detach(self) -> None:
        """Nothing is watched any more."""
        for rollout in self.rollouts:
            rollout.end()
        self.minibatches.detach()
        if self.spare is not None:
            self.spare.detach()
