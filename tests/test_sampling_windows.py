"""Windows cut short, and what the entries of an action mean."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from cpc_rl.sampling import ActionLayout, action_dim, action_layout, encode_actions, shorten
from tests.test_sampling import filled
from tests.test_sampling_replay import expected_windows
from tests.window_checks import DICT, check


@pytest.mark.parametrize("kind", ["plain", "dict"])
def test_longer_windows_are_cut(kind: str) -> None:
    source, buffer, episodes = filled(kind)
    for horizon in range(5):
        windows = source.sample(30, 4, torch.Generator().manual_seed(0))
        short = shorten(windows, horizon)
        check(short, expected_windows(buffer, episodes, horizon), horizon)
        frames = short.observations["image"] if isinstance(short.observations, dict) else short.observations
        assert all(frames[:, i].is_contiguous() for i in range(horizon + 1))
        assert torch.equal(short.episode, windows.episode) and torch.equal(short.step, windows.step)
        assert [part.shape[1] for part in (short.actions, short.rewards, short.mask)] == [horizon, horizon, horizon + 1]
    for horizon in (5, -1):
        with pytest.raises(ValueError, match=f"4 frames after the first can be cut to 0 to 4, but not to {horizon}"):
            shorten(windows, horizon)


LAYOUTS: list[tuple[spaces.Space, ActionLayout]] = [
    (spaces.Discrete(4), ActionLayout("categorical", (4,))),
    (spaces.MultiDiscrete([2, 3, 1]), ActionLayout("categorical", (2, 3, 1))),
    (spaces.MultiDiscrete([[2, 3], [4, 2]]), ActionLayout("categorical", (2, 3, 4, 2))),
    (spaces.MultiBinary(3), ActionLayout("binary", (3,))),
    (spaces.MultiBinary((2, 3)), ActionLayout("binary", (6,))),
    (spaces.Box(-1.0, 1.0, (2, 2)), ActionLayout("continuous", (4,))),
]


@pytest.mark.parametrize(("space", "layout"), LAYOUTS)
def test_what_the_entries_of_an_action_mean(space: spaces.Space, layout: ActionLayout) -> None:
    assert action_layout(space) == layout
    assert all(type(size) is int for size in layout.sizes) and sum(layout.sizes) == action_dim(space)
    space.seed(0)
    actions = np.stack([np.asarray(space.sample()).reshape(-1) for _ in range(20)])
    groups = np.split(encode_actions(actions, space), np.cumsum(action_layout(space).sizes)[:-1], axis=-1)
    if layout.kind == "categorical":
        assert [group.argmax(axis=-1).tolist() for group in groups] == actions.T.tolist()
        assert all((np.sort(group, axis=-1) == np.eye(group.shape[-1])[-1]).all() for group in groups)
    else:
        np.testing.assert_allclose(groups[0], actions, atol=1e-6)


@pytest.mark.parametrize("space", [DICT, spaces.Tuple([spaces.Discrete(2)])])
def test_a_space_without_a_layout_is_refused(space: spaces.Space) -> None:
    with pytest.raises(ValueError, match=f"{type(space).__name__} space cannot be written as one vector"):
        action_layout(space)
