"""``gradient="joint"`` means the gradient of ``rl_loss + coef * auxiliary_loss``, clipped as a sum."""

import pytest
import torch

from cpc_rl import CPC, CURL, ContrastiveCallback, Objective
from cpc_rl.objectives.base import frame
from tests.algorithms import make_model, steps

COEF = 0.7


class Recording:
    """Remembers what its first batch was and how its generator stood."""

    first = None

    def forward(self, encoder, windows, shared=None):
        if self.first is None:
            self.first = windows, shared, self.generator.get_state()
        return super().forward(encoder, windows, shared)


class RecordingCPC(Recording, CPC):
    pass


class RecordingCURL(Recording, CURL):
    pass


class Maps(Objective):
    """Reads features and feature maps of the same pass, so that a gradient reaches the convolutions in two ways."""

    local = True

    def __init__(self, encoder, action_dim=0, *, augment=None, shuffled=False):
        super().__init__(encoder, action_dim, augment=augment, shuffled=shuffled)
        (shape,) = encoder.map_shapes().values()
        self.to_map = torch.nn.Linear(encoder.features_dim, shape[0])

    def forward(self, encoder, windows, shared=None):
        features, maps = encoder.with_maps(self.augmented(frame(windows.observations, 0)))
        (local,) = maps.values()
        loss = (self.to_map(features)[:, :, None, None] - local).square().mean() + features.square().mean()
        return loss, {"loss": loss.detach()}


class RecordingMaps(Recording, Maps):
    pass


class FirstUpdate(ContrastiveCallback):
    """Keeps the gradients of the update in which the head first took part, as the optimiser received them."""

    gradients = None
    expected_addition = None

    def _on_rollout_end(self):
        super()._on_rollout_end()
        if self.gradients is None:
            optimizer = self._injections[0].site.optimizers[0]
            self._handle = optimizer.register_step_pre_hook(lambda *_: self.keep())

    def _on_rollout_start(self):
        super()._on_rollout_start()
        if hasattr(self, "_handle"):
            self._handle.remove()

    def keep(self):
        head = next(iter(self.heads.values()))
        if self.gradients is not None or any(term.objective.first is None for term in head.terms.values()):
            return
        holder = self.model.critic if hasattr(self.model, "critic") else self.model.policy
        self.gradients = {n: p.grad.clone() for n, p in holder.named_parameters() if p.grad is not None}
        if self.settings.coef == 0:  # the auxiliary gradient, the plain way, at the same parameters and on the same batch
            names = {id(p): n for n, p in holder.named_parameters()}
            losses = []
            with self._injections[0].guard:
                for term in head.terms.values():
                    windows, shared, state = term.objective.first
                    if shared is not None:  # the features again, from the observations that the windows say they are of
                        shared = shared._replace(anchors=head.encoder(frame(windows.observations, 0)))
                    now = term.objective.generator.get_state()
                    term.objective.generator.set_state(state)
                    losses.append(term.weight * term.objective(head.encoder, windows, shared)[0])
                    term.objective.generator.set_state(now)
                addition = torch.autograd.grad(sum(losses), head.encoder_parameters)
            self.expected_addition = {names[id(p)]: g for p, g in zip(head.encoder_parameters, addition, strict=True)}


CPC_ALONE = RecordingCPC
WEIGHTED = {RecordingCPC: 1, RecordingCURL: 0.5}
MAPS = {RecordingMaps: 2, RecordingCURL: 1}


@pytest.mark.parametrize(
    ("name", "objective"),
    [*((name, CPC_ALONE) for name in ("PPO", "A2C", "DQN", "RecurrentPPO", "SAC", "TD3", "CrossQ"))]
    + [(name, objective) for name in ("PPO", "SAC", "DQN") for objective in (WEIGHTED, MAPS)],
)
@pytest.mark.parametrize("share", [True, False])
def test_joint_is_the_gradient_of_the_sum_clipped_as_a_whole(name, objective, share):
    clips = name in ("PPO", "A2C", "DQN", "RecurrentPPO")
    results = {}
    for coef, clip in ((0, 1e12), (COEF, 0.01)):
        # A2C's rollout of 5 frames holds too few windows, and before them an update without a head would part the two runs.
        n_envs = 1 if name == "A2C" else 3
        model = make_model(
            name, n_envs, **({"max_grad_norm": clip} if clips else {}), **({"n_steps": 16} if name == "A2C" else {})
        )
        callback = FirstUpdate(objective, coef=coef, batch_size=4, share_passes=share)
        model.learn(n_envs * steps(name), callback=callback)
        results[coef] = callback
    terms = next(iter(results[COEF].heads.values())).terms
    assert all((term.objective.first[1] is not None) == (share and term.objective.can_share) for term in terms.values())
    plain, addition = results[0].gradients, results[0].expected_addition
    total = {n: g + COEF * addition[n] if n in addition else g for n, g in plain.items()}
    if clips:
        norm = torch.stack([g.norm() for g in total.values()]).norm()
        assert norm > 0.01
        total = {n: g * 0.01 / (norm + 1e-6) for n, g in total.items()}
    assert results[COEF].gradients.keys() == total.keys()
    for n, g in results[COEF].gradients.items():
        torch.testing.assert_close(
            g, total[n], rtol=2e-4, atol=2e-6 * float(total[n].abs().max()) + 1e-9, msg=lambda m, n=n: f"{n}: {m}"
        )


@pytest.mark.parametrize("name", ["cpc", "stdim"])
def test_ratio_holds_the_quotient_of_the_norms_at_the_features_or_at_the_map(name):
    model = make_model("PPO", 2, n_epochs=6)
    ratios = []

    class Watch(ContrastiveCallback):
        def _on_rollout_end(self):
            super()._on_rollout_end()
            for injection in self._injections:
                report = injection.report

                def kept(metrics, windows, report=report):
                    if "gradient_ratio" in metrics[name]:
                        ratios.append(float(metrics[name]["gradient_ratio"]))
                    report(metrics, windows)

                injection.report = kept

    # This agent's features grow twenty times, and a gradient at features of one length falls as they do, ahead of its average.
    keywords = {"feature_length": None}
    model.learn(256, callback=Watch(name, keywords, batch_size=8, coef="ratio", gradient_ratio=0.5))
    assert ratios[0] == pytest.approx(0.5, rel=1e-4)  # the first step knows nothing but itself
    assert 0.1 < sorted(ratios)[len(ratios) // 2] < 2.5


def test_a_schedule_gives_the_coefficient_of_the_remaining_progress():
    model = make_model("A2C", 2)
    callback = ContrastiveCallback("curl", batch_size=4, coef=lambda progress: progress, share_passes=False)
    seen = []
    original = callback._draw
    callback._draw = lambda *which: (seen.append(model._current_progress_remaining), original(*which))[1]
    model.learn(100, callback=callback)
    head = callback.heads["shared"]
    assert seen[0] > seen[-1]
    balance = head.terms["curl"].balance
    assert float(balance.coefficient(None, torch.tensor(1.0), 0.25)) == 0.25
    assert balance.is_zero(0.0) and not balance.is_zero(0.5)
