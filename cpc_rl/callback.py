"""``ContrastiveCallback``: one line attaches a contrastive head to any Stable-Baselines3 or sb3-contrib algorithm."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from stable_baselines3.common.base_class import BaseAlgorithm

from cpc_rl.attachment import check_encoder, check_roles, choose_sites, find_sites, is_trpo, still_trained
from cpc_rl.augmentation import AugmentationDriver
from cpc_rl.balance import Coefficient
from cpc_rl.checks import check_flag
from cpc_rl.compiled import UncompiledHolders
from cpc_rl.guard import Guard
from cpc_rl.head import Head
from cpc_rl.injection import Injection
from cpc_rl.learn_callback import LearnCallback
from cpc_rl.monitor import Monitors
from cpc_rl.persistence import refuse_second, release_last, store_live, stored_state
from cpc_rl.sampling import ReplayWindows, RolloutWindows, Windows, window_source
from cpc_rl.settings import Choice, HeadSettings
from cpc_rl.sharing import Sharing
from cpc_rl.tying import Tie, tie_encoders

FLUSH_EVERY = 100  # head steps between two entries in the log
LEAST_HELD = 2048  # transitions of rollouts to draw windows from; more for large batches


class ContrastiveCallback(LearnCallback):
    """
    Trains a contrastive head on the model's features extractor while the model trains.

    The heads, their optimiser, momentum copies and generators ride in the model's own zip: after ``Model.load`` (or a
    second ``learn()``) a callback with the same settings goes on where they stopped.

    :param objective: a name from :data:`cpc_rl.objectives.OBJECTIVES`, or a subclass of :class:`cpc_rl.Objective`; or several
        with their weights, such as ``{"curl": 1, "spr": 2}``: each one's coefficient is multiplied by its weight
    :param objective_kwargs: keywords of the objective, such as ``dict(horizon=3)``; with a mapping of objectives, a mapping
        from their names to such keywords
    :param gradient: ``"joint"``: the update follows ``rl_loss + coef * auxiliary_loss``, the algorithm's own clipping
        acting on the sum. ``"separate"``: after each of the algorithm's updates the encoder takes a step of its own with
        ``learning_rate`` (as in CURL). TRPO is always separate: its encoder has no gradient to join.
    :param coef: weight of the auxiliary loss: a number, a schedule (from the remaining progress, 1 to 0), ``"ratio"``, which
        holds the norm of the auxiliary gradient at the features at ``gradient_ratio`` times that of the agent's own, or
        ``"auto"``, which holds as much of that as the head has to teach: ``4 s (1 - s)``, with ``s`` its bound of the mutual
        information over the ceiling, which begins at a half and sinks slowly (all of it for objectives without a bound, and
        beyond a half for those that leave the features' lengths alone, as ``cpc`` does). In separate mode ``"auto"``
        and ``"ratio"`` are 1, for Adam sets the scale there. With 0 the head learns and the agent is bit-identical to one
        without the callback, unless passes change its extractor (statistics of batch normalisation, `spectral_norm`).
    :param gradient_ratio: the ratio that ``coef="ratio"`` holds, and ``"auto"`` at most
    :param encoder: which extractor the head trains where actor and critic have one each: ``"critic"``, ``"actor"``, ``"both"``
        (a head for each) or ``"tied"`` (the critic's, which the actor reads detached, as CURL and DrQ do)
    :param learning_rate: of the head's own Adam
    :param batch_size: number of windows in each head step
    :param every: the head steps with every n-th update of the encoder
    :param start: environment steps before the head's first step
    :param seed: of the head's own generators; the model's seed if ``None``
    :param share_passes: where an objective can, take its anchors' features, and where there are any the target network's of
        the next frame, from the update itself, on its own minibatch; the convolutions then run no second time for them.
        ``False``: draw windows, augment them, and make passes of its own
    :param rollout_keys: on-policy, with shared passes: the features that the collection computed serve as keys one step ahead
        (``cpc``; ``atc`` with ``horizon=1``), so that the head makes no pass at all. They are of the encoder before the
        update, which holds the targets still, and made learning faster (benchmarks/sharing_learning.md)
    :param verbose: 1 to print what was attached
    :raises ValueError: if a setting makes no sense; at the start of ``learn()``, when heads are built, if a value of an
        objective's keyword makes none, or the model cannot take a head
    """

    def __init__(
        self,
        objective: Choice | Mapping[Choice, float] = "cpc",
        objective_kwargs: Mapping[str, Any] | None = None,
        *,
        gradient: Literal["joint", "separate"] = "joint",
        coef: Coefficient = "auto",
        gradient_ratio: float = 1.0,
        encoder: Literal["critic", "actor", "both", "tied"] = "critic",
        learning_rate: float = 1e-3,
        batch_size: int = 128,
        every: int = 1,
        start: int = 0,
        seed: int | None = None,
        share_passes: bool = True,
        rollout_keys: bool = True,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        if isinstance(objective, Mapping) and isinstance(objective.get("self"), BaseAlgorithm):  # SB3 called it as a function
            raise ValueError("learn() was given the class itself: pass an object, callback=ContrastiveCallback().")
        check_flag("share_passes", share_passes)
        check_flag("rollout_keys", rollout_keys)
        check_encoder(encoder)
        self.settings = HeadSettings(
            objective=objective,
            objective_kwargs=objective_kwargs,
            gradient=gradient,
            coef=coef,
            gradient_ratio=gradient_ratio,
            learning_rate=learning_rate,
            batch_size=batch_size,
            every=every,
            start=start,
            seed=seed,
        )
        self.encoder, self.share_passes, self.rollout_keys = encoder, share_passes, rollout_keys
        self.heads: dict[str, Head] = {}
        self._injections: list[Injection] = []
        self._monitors: dict[str, Monitors] = {}  # by role, as the heads
        self._began_at: tuple[int, Any, int] = 0, None, 0  # steps, the agent's updates and the heads', when this learn() began
        self._tie: Tie | None = None
        self._sharing: Sharing | None = None
        self._augmentation: AugmentationDriver | None = None
        self._uncompiled: UncompiledHolders | None = None
        self._windows: RolloutWindows | ReplayWindows | None = None
        self._warned_of_changes = False

    # -- attaching ------------------------------------------------------------------------------------------------

    def _init_callback(self) -> None:
        refuse_second(self.model)
        release_last(self.model)
        self._detach()  # an interrupted learn() calls no on_training_end
        stored = stored_state(self.model)  # read before there are new heads: this callback's own may be what is stored
        sites = find_sites(self.model)
        chosen = choose_sites(sites, self.encoder)
        check_roles(chosen)
        for site in chosen:
            site.encoder.check_images()
        self._warned_of_changes = False
        self._windows = window_source(self.model, capacity=max(LEAST_HELD, 2 * self.settings.batch_size))
        self.heads, self._injections, self._monitors = {}, [], {}
        token = self.model.start_time  # of this learn(): hooks that an interrupted one left behind find another and go
        guard = Guard()

        def alive() -> bool:
            return self.model.start_time == token

        self._tie = tie_encoders(sites, alive) if self.encoder == "tied" else None
        self._sharing = None
        if self.share_passes:
            self._sharing = Sharing(
                self.model,
                sites,
                self._windows,
                alive,
                batch_size=self.settings.batch_size,
                rollout_keys=self.rollout_keys,
            )
        self._augmentation = AugmentationDriver(self.model, guard, alive, seed=self.settings.first_seed(self.model))
        for number, site in enumerate(chosen):
            head = self.settings.build(self.model, site, number)
            suffix = f"_{site.role}" if len(chosen) > 1 else ""
            self.heads[site.role] = head
            self._monitors[site.role] = monitors = Monitors(list(head.terms), suffix)
            self._injections.append(
                Injection(
                    site,
                    head,
                    guard=guard,
                    draw=self._draw,
                    alive=alive,
                    progress=lambda: self.model._current_progress_remaining,
                    report=monitors.add,
                    every=self.settings.every,
                    rl_norm=not is_trpo(self.model),
                    shared_pass=None if self._sharing is None else self._sharing.shared_pass(site, head),
                )
            )
        self._uncompiled = UncompiledHolders(
            self.model.policy, [part for each in self._injections for part in each.hooked], alive
        )
        self._restore(stored)
        # Of this model's parts, and not of those that the same callback may have on another model later.
        heads, injections, windows, augmentation = self.heads, self._injections, self._windows, self._augmentation
        parts = [*injections, self._tie, self._sharing, augmentation, self._uncompiled]
        store_live(
            self.model,
            lambda: collect_state(self.settings, heads, injections, windows, augmentation),
            lambda: detach_all(parts),
        )
        if self.verbose > 0:
            places = ", ".join(
                f"{role} ({type(site.extractor).__name__})" for role, site in zip(self.heads, chosen, strict=True)
            )
            print(f"ContrastiveCallback: {', '.join(self.settings.weights)} on {places}")

    # -- SB3's events ---------------------------------------------------------------------------------------------

    def _on_training_start(self) -> None:
        assert self._windows is not None
        # A new learn() resets the envs, which no `done` tells; or it goes on from where an interrupted one left them.
        self._windows.mark_seam(reset=bool(self.locals.get("reset_num_timesteps")))
        self._began_at = self.num_timesteps, getattr(self.model, "_n_updates", None), self._head_steps

    def _on_rollout_start(self) -> None:
        # Hooks stand only between the end of a rollout and the start of the next, so an exception in the env leaves none.
        self._detach()
        self._flush(at_least=FLUSH_EVERY)
        if self._sharing is not None:
            self._sharing.begin_rollout()

    def _on_step(self) -> bool:
        if isinstance(self._windows, ReplayWindows):
            self._windows.note_step()
        if self._sharing is not None:
            self._sharing.note_step()
        return True

    def _on_rollout_end(self) -> None:
        if isinstance(self._windows, RolloutWindows):
            buffer = self.model.rollout_buffer  # type: ignore[attr-defined]
            self._windows.add(buffer)
        if self._augmentation is not None:
            self._augmentation.attach()
        if self.num_timesteps < self.settings.start:
            return
        if self._tie is not None:
            self._tie.attach()
        if self._uncompiled is not None:
            self._uncompiled.attach()
        if self._sharing is not None:
            self._sharing.attach()
        for injection in self._injections:
            injection.attach()
        self._warn_of_changes()

    def _on_training_end(self) -> None:
        self._detach()
        self._warn_of_no_updates()
        self._warn_of_no_norm()
        self._warn_of_no_windows()
        if any(monitors.steps for monitors in self._monitors.values()):
            self._flush(at_least=1)
            # As Stable-Baselines3's own rows have it; TensorBoard has the steps on its axis.
            self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
            self.logger.dump(self.num_timesteps)

    # -- helpers --------------------------------------------------------------------------------------------------

    def _draw(self, head: Head, names: tuple[str, ...]) -> dict[str, Windows] | None:
        assert self._windows is not None
        batches = {}
        for name in names:
            term = head.terms[name]
            windows = self._windows.sample(
                self.settings.batch_size,
                term.objective.horizon,
                head.window_generator,
                head.device,
                keys=head.encoder.keys,
                per_trajectory=term.objective.per_trajectory,
            )
            if windows is None:
                return None
            batches[name] = windows
        return batches

    @property
    def _head_steps(self) -> int:
        return sum(head.steps for head in self.heads.values())

    def _warn_of_changes(self) -> None:
        """Once, of what the heads do not know of."""
        if self._warned_of_changes:
            return
        sites = [injection.site for injection in self._injections]
        if not still_trained(self.model, sites):
            changed = "networks or optimisers of this model were"
        elif isinstance(self._windows, ReplayWindows) and self._windows.replay_buffer is not self.model.replay_buffer:  # type: ignore[attr-defined]
            changed = "replay buffer of this model was"
        else:
            return
        self._warned_of_changes = True
        warnings.warn(
            f"The {changed} made anew or replaced in the midst of learn(), and its heads go on with the old: begin a new "
            "learn(reset_num_timesteps=False) after such a change.",
            stacklevel=3,
        )

    def _warn_of_no_updates(self) -> None:
        steps, updates, head_steps = self._began_at
        made = self.num_timesteps - steps
        if updates is None or made == 0 or self._head_steps != head_steps:
            return
        if self.model._n_updates == updates:
            starts = getattr(self.model, "learning_starts", 0)
            after = f" before {starts} steps (its learning_starts)" if starts else " before its first rollout is full"
            why = (
                f"the agent itself was not updated in its {made} steps; {type(self.model).__name__} does not learn{after}: "
                "train for longer."
            )
        elif any(injection.watched and not injection.reached for injection in self._injections):
            why = (
                "no gradient of the agent's came to the encoder. A head rests while a TransferCallback holds it frozen. Where "
                "a policy detaches its features: gradient='separate' trains an encoder by the head alone."
            )
        elif self.settings.start > steps and not any(injection.watched for injection in self._injections):
            why = f"start is {self.settings.start}, and from there to step {self.num_timesteps} the encoder was not updated."
        elif 0 < (most := max((injection.updates for injection in self._injections), default=0)) < self.settings.every:
            why = f"every is {self.settings.every}, and the encoder had {most} updates: train for longer, or make it smaller."
        else:
            return
        warnings.warn(f"No head made a step in this learn(), for {why}", stacklevel=2)

    def _warn_of_no_norm(self) -> None:
        """Of a policy that calls the parts of its extractor, say: no hook sees what the extractor gives out."""
        measured = isinstance(self.settings.coef, str) and self.settings.gradient_ratio > 0
        names = list(dict.fromkeys(name for each in self._injections for name in each.unmeasured)) if measured else []
        if names:
            warnings.warn(
                f"{' and '.join(names)} had no say in this learn(): coef={self.settings.coef!r} weighs heads by the agent's "
                "gradient at what the features extractor gives out, or its convolutions for an objective that reads maps, and "
                "none was seen there: the policy calls parts of the extractor or its forward, was given a compiled method, or "
                "these layers are frozen. Give coef a number.",
                stacklevel=2,
            )

    def _warn_of_no_windows(self) -> None:
        for name in self.settings.weights:
            if any(name in injection.starved and name not in injection.fed for injection in self._injections):
                warnings.warn(
                    f"The objective '{name}' made no step in this learn(), for there were never {self.settings.batch_size} "
                    "windows to draw; pass a smaller batch_size, train for longer, or give a replay buffer more room.",
                    stacklevel=2,
                )

    def _detach(self) -> None:
        detach_all([*self._injections, self._tie, self._sharing, self._augmentation, self._uncompiled])

    def _flush(self, at_least: int) -> None:
        for role, monitors in self._monitors.items():
            if monitors.steps >= at_least:
                monitors.flush(self.logger, self.heads[role], self.num_timesteps)

    def _restore(self, stored: dict[str, Any] | None) -> None:
        if stored is None:
            return
        assert self._windows is not None and self._augmentation is not None
        self._augmentation.load_state_dict(stored.get("augmentation", []))
        if "heads" not in stored:  # what an AugmentationCallback left
            return
        self._windows.load_state_dict(stored["windows"])
        for role, head in self.heads.items():
            entry = stored["heads"].get(role)
            if entry is None and set(stored["heads"]) < set(self.heads):  # one more head than there was
                continue
            if entry is None or entry["signature"] != self.settings.signature(head):
                warnings.warn(
                    f"This model carries the state of a head with other settings than those of the '{role}' head now; it "
                    "starts anew. To go on with it, give the callback the settings that it had.",
                    stacklevel=2,
                )
                continue
            head.load_state_dict(entry["state"])
        if len(stored["updates"]) == len(self._injections):
            for injection, updates in zip(self._injections, stored["updates"], strict=True):
                injection.updates = updates


def collect_state(
    settings: HeadSettings,
    heads: Mapping[str, Head],
    injections: Sequence[Injection],
    windows: RolloutWindows | ReplayWindows,
    augmentation: AugmentationDriver,
) -> dict[str, Any]:
    """What a model's zip keeps of its heads, as nested dicts of tensors and plain numbers."""
    return {
        "heads": {role: {"signature": settings.signature(head), "state": head.state_dict()} for role, head in heads.items()},
        "updates": [injection.updates for injection in injections],
        "windows": windows.state_dict(),
        "augmentation": augmentation.state_dict(),
    }


def detach_all(parts: Iterable[Any]) -> None:
    """Take away the hooks of each part that is there."""
    for part in parts:
        if part is not None:
            part.detach()
