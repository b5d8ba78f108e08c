"""What becomes of a loaded encoder while the agent trains: it stays frozen, thaws later, or moves by smaller steps."""

import warnings
from collections.abc import Iterator
from typing import Any, Literal

import torch
from stable_baselines3.common.callbacks import CallbackList, EventCallback
from torch import nn

from cpc_rl.attachment import Site, find_sites, is_trpo, outermost_extractors, target_extractors
from cpc_rl.callback import ContrastiveCallback
from cpc_rl.checks import check_number
from cpc_rl.compiled import UncompiledHolders
from cpc_rl.head import Head
from cpc_rl.learn_callback import LearnCallback
from cpc_rl.transfer_hooks import Freeze, ScaledAssignments, ScaledSteps, StillCheck

Train = Literal["fine-tune", "frozen"]


class TransferCallback(LearnCallback):
    """
    Keeps the features extractors frozen, or slows them down, on any of SB3's and sb3-contrib's algorithms with an optimiser.
    :func:`cpc_rl.load_encoder` returns one; to resume from a zip, make one with the same settings and load no file: the zip
    has the weights.

    Frozen, all features extractors of the model stay the same to the bit, buffers of batch normalisations and target networks
    included (those that lag behind, of a model that has trained already, go on following): features are detached where they
    leave the extractor, so that no loss reaches it, neither the agent's nor a head's, the backward pass through it is spared,
    and its optimiser passes it by (no moments, no weight decay). Layers that act differently in training, such as dropout, act
    as in evaluation; an extractor's ``augment`` goes on. A joint head of :class:`cpc_rl.ContrastiveCallback` rests as long; a
    separate one trains on the frozen features.

    ``lr_scale`` multiplies every step that an optimiser makes with the extractors' parameters, after it has been made: under
    Adam a scaled gradient would change nothing. That is what a learning rate of ``lr_scale`` times the algorithm's would do,
    for every optimiser whose steps are proportional to the learning rate, as all of PyTorch's first-order ones are (Adam,
    AdamW with its weight decay, RMSprop, SGD with momentum). The steps of a separate head are scaled as well. TRPO moves its
    actor without an optimiser: there the encoder's part of each candidate of the line search is scaled, and what is checked
    against the trust region is what is kept.

    :param train: ``"fine-tune"`` or ``"frozen"``
    :param unfreeze_at: environment steps (the model's ``num_timesteps``, which a ``learn()`` sets to 0 unless it gets
        ``reset_num_timesteps=False``) from which a frozen encoder is fine-tuned; never if ``None``
    :param lr_scale: multiplies the encoder's steps while it is fine-tuned
    :param verbose: 1 to print when the encoder thaws
    :raises ValueError: if a setting makes no sense; at the start of ``learn()``, if the model has nothing to freeze
    """

    def __init__(
        self, train: Train = "fine-tune", unfreeze_at: int | None = None, lr_scale: float = 1.0, verbose: int = 0
    ) -> None:
        if train not in ("fine-tune", "frozen"):
            raise ValueError(f"train is {train!r}, but it takes 'fine-tune' or 'frozen'.")
        if unfreeze_at is not None:
            unfreeze_at = check_number("unfreeze_at", unfreeze_at, whole=True, low=0)
            if train != "frozen":
                raise ValueError(
                    f"unfreeze_at is {unfreeze_at} and train is {train!r}, but only an encoder with train='frozen' can be "
                    "unfrozen."
                )
        check_number("lr_scale", lr_scale, low=0)
        if lr_scale == 0:
            raise ValueError("lr_scale is 0, but it must be above 0; to stop the encoder pass train='frozen'.")
        super().__init__(verbose)
        self.train: Train = train
        self.unfreeze_at, self.lr_scale = unfreeze_at, lr_scale
        self._owed = False
        self._was_frozen = False
        self._freeze: Freeze | None = None
        self._uncompiled: UncompiledHolders | None = None
        self._check: StillCheck | None = None
        self._scaled: list[ScaledSteps] = []
        self._assignments: ScaledAssignments | None = None
        self._sites: list[Site] = []
        self._targets: list[tuple[nn.Module, nn.Module]] = []  # extractors of target networks, and those that they follow

    @property
    def frozen(self) -> bool:
        """Whether the encoder is frozen at the present step."""
        return self.train == "frozen" and (self.unfreeze_at is None or self.num_timesteps < self.unfreeze_at)

    @property
    def idle(self) -> bool:  # type: ignore[override]
        """Whether the settings leave nothing to do, so that ``learn()`` need not be given this callback."""
        return self.lr_scale == 1 and (self.train == "fine-tune" or self.unfreeze_at == 0)

    def _init_callback(self) -> None:
        self._owed = False
        self._detach()  # an interrupted learn() calls no on_training_end
        token = self.model.start_time

        def alive() -> bool:
            return self.model.start_time == token

        self._alive = alive
        self._sites = find_sites(self.model)
        extractors = [part for site in self._sites for part in (site.extractor, *site.encoder.extractors.values())]
        self._freeze = Freeze(extractors, alive)
        # An actor's is given the critic's values where they are tied.
        still = [site.extractor for site in self._sites if site.role != "actor"]
        self._check = StillCheck(p for extractor in still for p in extractor.parameters())
        self._uncompiled = UncompiledHolders(self.model.policy, extractors, alive)
        pairs = followed_extractors(self.model.policy, target_extractors(self.model))
        self._targets = [pair for pair in pairs if _alike(*pair)]  # others follow as ever, for a trained model's lag behind
        if is_trpo(self.model) and self.lr_scale != 1:
            self._assignments = ScaledAssignments([site.extractor for site in self._sites], self.lr_scale, alive)

    def _on_training_start(self) -> None:
        self._was_frozen = self.frozen
        self._detach()
        if self.lr_scale == 1:
            return
        # Now, and not at a rollout's end: a separate head steps in a hook of the same optimisers, which must come later.
        parameters = {p for site in self._sites for p in site.extractor.parameters()}
        optimizers = [optimizer for site in self._sites for optimizer in site.optimizers]
        optimizers += [head.optimizer for head in heads_of(self.locals["callback"]) if head.separate and head.optimizer]
        self._scaled = [ScaledSteps(o, parameters, self.lr_scale, self._alive) for o in dict.fromkeys(optimizers)]
        for scaled in self._scaled:
            scaled.attach()

    def _on_rollout_start(self) -> None:
        # Like a head's, hooks on modules stand only while train() runs, so that an exception in the env leaves none.
        self._detach_from_modules()
        self._warn_if_moved()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        assert self._freeze is not None
        assert self._uncompiled is not None and self._check is not None
        if self.frozen:
            self._uncompiled.attach()
            self._freeze.attach()
            if self.num_timesteps > getattr(self.model, "learning_starts", -1):  # an update comes: not at each step before it
                self._check.begin(getattr(self.model, "_n_updates", 0))
            return
        if self._assignments is not None:
            self._assignments.attach()
        if self._was_frozen and self.verbose > 0:
            print(f"TransferCallback: from step {self.num_timesteps} on the encoder is fine-tuned.")
        self._was_frozen = False

    def _on_training_end(self) -> None:
        self._detach()
        self._warn_if_moved()

    def _warn_if_moved(self) -> None:
        if self._check is not None and self._check.end(getattr(self.model, "_n_updates", 0)):
            warnings.warn(
                "The encoder moved although it is frozen: what calls it was compiled before, in a way that cannot be told, "
                "and that graph knows nothing of it. Compile the extractor alone, by features_extractor.compile(), or begin "
                "anew without torch.compile.",
                stacklevel=2,
            )

    def _detach_from_modules(self) -> None:
        if self._assignments is not None:
            self._assignments.detach()
        if self._uncompiled is not None:
            self._uncompiled.detach()
        if self._freeze is not None and self._freeze.detach() and self._targets:
            # Their moving average of equal weights is equal only but for rounding. Looked up anew, for while encoders are tied
            # the actor has other tensors.
            following = [tensor for target, _ in self._targets for tensor in target.state_dict().values()]
            followed = [tensor for _, online in self._targets for tensor in online.state_dict().values()]
            with torch.no_grad():
                torch._foreach_copy_(following, followed)

    def _detach(self) -> None:
        self._detach_from_modules()
        for scaled in self._scaled:
            scaled.detach()
        self._scaled = []

    def expect_learn(self) -> None:
        """From now on warn if this callback goes without ever having been given to a ``learn()`` in which it has work."""
        self._owed = not self.idle

    def __del__(self) -> None:
        if getattr(self, "_owed", False):
            warnings.warn(
                f"The callback of load_encoder(..., train={self.train!r}, lr_scale={self.lr_scale}) was never given "
                "to learn(), and without it the encoder is trained like the rest of the agent: pass it as callback=.",
                stacklevel=2,
            )


def heads_of(callback: Any) -> Iterator[Head]:
    """The contrastive heads of a callback, of all in a list, and of what event callbacks call."""
    if isinstance(callback, ContrastiveCallback):
        yield from callback.heads.values()
    children = callback.callbacks if isinstance(callback, CallbackList) else []
    if isinstance(callback, EventCallback) and callback.callback is not None:
        children = [callback.callback]
    for child in children:
        yield from heads_of(child)


def _alike(first: nn.Module, second: nn.Module) -> bool:
    """Whether two extractors have the same weights and buffers but for rounding."""
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-7) for a, b in pairs)


def followed_extractors(policy: nn.Module, targets: list[Any]) -> list[tuple[nn.Module, nn.Module]]:
    """The targets' extractors, each with the online one that it follows."""
    pairs: list[tuple[nn.Module, nn.Module]] = []
    for path, extractor in outermost_extractors(policy).items():
        network, _, rest = path.partition(".")
        if any(extractor is target for target in targets) and network.endswith("_target"):
            pairs.append((extractor, policy.get_submodule(f"{network.removesuffix('_target')}.{rest}")))
    return pairs
