"""The augmentation of the algorithm's own batches, where the features extractor asks for one."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch.utils.hooks import RemovableHandle

from cpc_rl.attachment import Site, find_sites, is_trpo, target_extractors
from cpc_rl.augment.base import check_bounds
from cpc_rl.consistency import ConsistencyInjection
from cpc_rl.guard import Guard
from cpc_rl.image_extractor import ImageExtractor
from cpc_rl.learn_callback import LearnCallback
from cpc_rl.persistence import refuse_second, release_last, store_live, stored_state
from cpc_rl.sampling import window_source
from cpc_rl.sharing import Sharing
from cpc_rl.tying import Tie, tie_encoders
from cpc_rl.weak_hooks import ends_itself


class AugmentationDriver:
    """
    Switches the extractors' augmentation on while ``train()`` runs, and off while the agent acts.

    Off-policy as in DrQ (Kostrikov et al. 2021): every pass of an update sees augmented images, ``obs`` and ``next_obs``,
    online and target networks. On-policy as in DrAC: see :class:`cpc_rl.consistency.ConsistencyInjection`. What an
    interrupted update leaves on goes off before any pass of the next ``learn()``.

    :param model: any model; nothing happens if none of its extractors has an augmentation
    :param guard: shared with the heads' hooks
    :param alive: says whether the ``learn()`` that this belongs to still runs
    :param weight: of DrAC's terms
    :param seed: of the draws
    :raises ValueError: if the algorithm cannot keep consistent under augmentation, or the images are floats in other bounds
        than an augmentation takes
    """

    def __init__(
        self, model: BaseAlgorithm, guard: Guard, alive: Callable[[], bool], weight: float = 0.1, seed: int = 0
    ) -> None:
        self.online = _augmenting(site.extractor for site in find_sites(model))
        self.targets = _augmenting(target_extractors(model))
        for extractor in self.online:
            check_bounds(extractor.augmentation, cast(Any, extractor)._observation_space)
        self.alive = alive
        self._handles: list[RemovableHandle] = []
        self.consistency: ConsistencyInjection | None = None
        for number, extractor in enumerate(self.online + self.targets):
            if extractor.augment_seed == 0:  # a callback before this one has seeded it, and it goes on with its draws
                extractor.augment_seed = seed + 1 + number
        if not self.online or not isinstance(model, OnPolicyAlgorithm):
            return
        policy: Any = model.policy
        if is_trpo(model) or not hasattr(policy, "mlp_extractor") or hasattr(policy, "lstm_actor"):
            raise ValueError(
                f"The extractor of this {type(model).__name__} has an augmentation. On-policy that keeps policy and value "
                "consistent (DrAC), for PPO, A2C and MaskablePPO only: leave augment out; a head augments for itself."
            )
        self.consistency = ConsistencyInjection(policy, guard, alive, weight)
        for extractor in self.online:
            extractor.augment_mode = "train"  # tells it that it is driven, though its own passes stay as they are
            extractor.augment_mode = "off"

    def attach(self) -> None:
        if self.consistency is not None:
            self.consistency.attach()
            return
        for extractor in self.online:
            extractor.augment_mode = "train"
        for extractor in self.targets:
            extractor.augment_mode = "always"
        if not self._handles:
            self._handles += [ends_itself(extractor, self.alive, self.detach) for extractor in self.online + self.targets]

    def state_dict(self) -> list[torch.Tensor]:
        """The states of the extractors' generators, online ones first."""
        return [extractor.augment_generator.get_state() for extractor in self.online + self.targets]

    def load_state_dict(self, states: list[torch.Tensor]) -> None:
        for extractor, state in zip(self.online + self.targets, states, strict=False):
            extractor.augment_generator.set_state(state.cpu())

    def detach(self) -> None:
        if self.consistency is not None:
            self.consistency.detach()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for extractor in self.online + self.targets:
            extractor.augment_mode = "off"


class AugmentationCallback(LearnCallback):
    """
    Drives the ``augment`` of the features extractor without any contrastive head: the arm that every claim for one needs.

    :class:`cpc_rl.ContrastiveCallback` does the same beside its head: use one of the two.

    :param weight: of DrAC's terms, on-policy only (alpha_r of the paper)
    :param verbose: as in SB3
    :param tied: make actor and critic read one encoder, the critic's, as DrQ does and ``ContrastiveCallback(encoder="tied")``
    :raises ValueError: at the start of ``learn()``, if no extractor has an augmentation, if there is nothing to tie, or beside
        another callback of this package
    """

    def __init__(self, weight: float = 0.1, verbose: int = 0, *, tied: bool = False) -> None:
        super().__init__(verbose)
        self.weight, self.tied = weight, tied
        self.driver: AugmentationDriver | None = None
        self.tie: Tie | None = None
        self.sharing: Sharing | None = None

    def _init_callback(self) -> None:
        refuse_second(self.model)
        release_last(self.model)
        self._detach()  # an interrupted learn() calls no on_training_end
        stored = stored_state(self.model)
        token = self.model.start_time

        def alive() -> bool:
            return self.model.start_time == token

        sites = find_sites(self.model)
        self.tie = tie_encoders(sites, alive) if self.tied else None
        self.sharing = _sharing(self.model, sites, alive)
        self.driver = AugmentationDriver(self.model, Guard(), alive, self.weight, seed=self.model.seed or 0)
        if not self.driver.online:
            raise ValueError(
                "AugmentationCallback finds no extractor with an augmentation: pass policy_kwargs=dict("
                "features_extractor_class=cpc_rl.NatureExtractor, features_extractor_kwargs=dict(augment='random_shift'))."
            )

        driver = self.driver
        driver.load_state_dict((stored or {}).get("augmentation", []))
        # What a ContrastiveCallback left goes along: a later one goes on from there.
        store_live(self.model, lambda: {**(stored or {}), "augmentation": driver.state_dict()}, self._detach)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self._detach()

    def _on_rollout_end(self) -> None:
        assert self.driver is not None
        for part in (self.tie, self.sharing):
            if part is not None:
                part.attach()
        self.driver.attach()

    def _on_training_end(self) -> None:
        self._detach()

    def _detach(self) -> None:
        for part in (self.tie, self.sharing, self.driver):
            if part is not None:
                part.detach()


def _sharing(model: BaseAlgorithm, sites: list[Site], alive: Callable[[], bool]) -> Sharing | None:
    """
    What spares an update a backward pass that nobody reads, as a head's callback does: the arm that heads are held against is
    not to be slower than it need be. ``None`` where there is none, or the buffer is one that cannot be watched.
    """
    if isinstance(model, OnPolicyAlgorithm):
        return None
    try:
        sharing = Sharing(model, sites, window_source(model), alive, batch_size=2, rollout_keys=False)
    except ValueError:
        return None
    return sharing if sharing.spare is not None else None


def _augmenting(extractors: Iterable[object]) -> list[ImageExtractor]:
    return [e for e in extractors if isinstance(e, ImageExtractor) and e.augmentation is not None]
