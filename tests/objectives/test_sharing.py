"""The objectives that take an algorithm's features learn from them too, and do not let the features run away."""

import pytest
import torch

from cpc_rl.objectives import OBJECTIVES
from cpc_rl.objectives.base import frame
from cpc_rl.shared import Shared
from tests.synthetic import ACTIONS, make_encoder, rolling_patterns

SETTINGS = {
    "atc": {"horizon": 1, "augment": None},
    "cpc": {"actions": True, "augment": None},
    "curl": {},
    "inverse": {},
    "moco": {},
    "spr": {"space": "features", "horizon": 1, "augment": None},
    "taco": {"horizon": 1, "augment": None},
}
LEARNT = {"inverse": 0.5}  # share of right actions, chance .25; for the others share of right keys, chance 1/64 or less
GROWTH = {"inverse": 30, "spr": 10}  # of the features: nothing in these losses holds their size, but they learn


def test_all_that_can_share_are_here():
    can = set()
    for name, cls in OBJECTIVES.items():
        if name != "multiview":
            keywords = SETTINGS.get(name, {})
            can |= {name} if cls(make_encoder(16), ACTIONS, **keywords).can_share else set()
    assert can == set(SETTINGS)


@pytest.mark.parametrize("next_keys", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_shared_features_train_head_and_encoder(name, next_keys):
    encoder = make_encoder()
    objective = OBJECTIVES[name](encoder, ACTIONS, **SETTINGS[name])
    objective.generator = torch.Generator().manual_seed(0)
    trained = [*encoder.parameters(), *(p for p in objective.parameters() if p.requires_grad)]
    optimizer = torch.optim.Adam(trained, lr=1e-3)

    def step(seed: int) -> tuple[torch.Tensor, dict[str, torch.Tensor], float]:
        windows = rolling_patterns(64, objective.horizon + 1, seed)
        anchors = encoder(frame(windows.observations, 0))
        later = None
        if next_keys and objective.horizon > 0:  # as a target network that follows at once
            with torch.no_grad():
                later = encoder(frame(windows.observations, 1))
        loss, metrics = objective(encoder, windows, Shared(anchors, later))
        return loss, metrics, float(anchors.detach().norm(dim=1).mean())

    size = step(7)[2]
    for update in range(160):
        loss, _, _ = step(1000 + update)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step(encoder)
    with torch.no_grad():
        _, metrics, size_after = step(7)
    assert float(metrics["accuracy"]) > LEARNT.get(name, 0.12)
    assert size_after < GROWTH.get(name, 6) * size
