"""Windows from replay buffers: for any sizes, ends and resets each frame is what its place says, and none is missed."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.her import HerReplayBuffer

from cpc_rl.replay_trajectories import ReplayTrajectories
from cpc_rl.sampling import ReplayWindows, Windows
from tests.stamped_env import read_stamps
from tests.window_checks import ACTIONS, DICT, IMAGE, Episodes, Expected, check_draws

KINDS = ("plain", "memory", "dict", "n-step", "hindsight")


def make_buffer(kind: str, size: int, n_envs: int) -> ReplayBuffer:
    arguments: dict[str, Any] = {"device": "cpu", "n_envs": n_envs}
    if kind == "dict":
        return DictReplayBuffer(size * n_envs, DICT, ACTIONS, **arguments)
    if kind == "hindsight":
        # The environment is only asked for the rewards of goals that were not pursued, which no window holds
        return HerReplayBuffer(size * n_envs, DICT, ACTIONS, env=None, **arguments)  # type: ignore[arg-type]
    if kind == "n-step":
        return NStepReplayBuffer(size * n_envs, IMAGE, ACTIONS, n_steps=3, **arguments)
    memory = {"optimize_memory_usage": True, "handle_timeout_termination": False} if kind == "memory" else {}
    return ReplayBuffer(size * n_envs, IMAGE, ACTIONS, **arguments, **memory)


def write(buffer: ReplayBuffer, episodes: Episodes) -> None:
    observation, next_observation, action, reward, done = episodes.play(isinstance(buffer, DictReplayBuffer))
    infos = [{"TimeLimit.truncated": bool(done[env] and env % 2)} for env in range(buffer.n_envs)]
    buffer.add(observation, next_observation, action, reward, done, infos)


def expected_windows(buffer: ReplayBuffer, episodes: Episodes, horizon: int) -> Expected:
    memory = buffer.optimize_memory_usage
    n_kept = buffer.buffer_size - 1 if memory and buffer.full else buffer.buffer_size
    return episodes.windows(n_kept, horizon, not memory, memory)


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


EVENTS = ["write"] * 12 + ["reset", "go on", "interrupt", "draw", "save and load"]


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    size=st.integers(2, 12),
    n_envs=st.integers(1, 3),
    end=st.sampled_from([0.0, 0.1, 0.4, 1.0]),
    events=st.lists(st.sampled_from(EVENTS), min_size=15, max_size=80),
    horizon=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_every_frame_is_in_its_place(
    kind: str, size: int, n_envs: int, end: float, events: list[str], horizon: int, seed: int
) -> None:
    buffer, episodes = make_buffer(kind, size, n_envs), Episodes(n_envs, seed, end)
    source = ReplayWindows(buffer, ACTIONS)
    generator = torch.Generator().manual_seed(seed)
    for event in [*events, "draw"]:
        if event == "write":
            source.note_step()
            write(buffer, episodes)
        elif event == "reset":
            source.mark_seam(reset=True)
            episodes.reset()
        elif event == "go on":
            source.mark_seam()
            episodes.seam(stale=True)
        elif event == "interrupt":
            source.note_step()
            episodes.interrupt()
            source.mark_seam()
        elif event == "save and load":
            state = through_a_file(source.state_dict())
            source = ReplayWindows(buffer, ACTIONS)
            source.load_state_dict(state)
        else:
            check_draws(source, expected_windows(buffer, episodes, horizon), horizon, generator)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["plain", "dict", "n-step", "hindsight"]),
    size=st.integers(2, 12),
    n_envs=st.integers(1, 3),
    end=st.sampled_from([0.0, 0.1, 0.4]),
    events=st.lists(
        st.sampled_from(["write"] * 4 + ["announced write", "reset", "interrupt", "draw"]), min_size=10, max_size=60
    ),
    seed=st.integers(0, 1000),
)
def test_unannounced_writes_and_resets_are_found(
    kind: str, size: int, n_envs: int, end: float, events: list[str], seed: int
) -> None:
    """A buffer that others fill, with resets that no one marked: learn() with another callback, or a pickle from elsewhere."""
    buffer, episodes = make_buffer(kind, size, n_envs), Episodes(n_envs, seed, end)
    source = ReplayWindows(buffer, ACTIONS)
    generator = torch.Generator().manual_seed(seed)
    unmarked = marked = False
    for event in [*events, "draw"]:
        if event == "write":
            write(buffer, episodes)
        elif event == "announced write":
            if unmarked:
                # Who announces writes also says that training starts
                source.mark_seam(reset=True)
                unmarked, marked = False, True
            source.note_step()
            write(buffer, episodes)
        elif event == "reset":
            episodes.reset()
            unmarked = True
        elif event == "interrupt":
            source.note_step()
            source.mark_seam(reset=True)
            episodes.reset()
            unmarked, marked = False, True
        else:
            expected = expected_windows(buffer, episodes, 3)
            for candidate in (source, ReplayWindows(buffer, ACTIONS)):
                windows = candidate.sample(max(len(expected), 1), 3, generator)
                assert (windows is None) == (not expected)
                if windows is not None:
                    # A seam was marked at a slot that may since have been written more than once: that can cost windows
                    check_steps(windows, expected, exact=not marked or candidate is not source)


def check_steps(windows: Windows, expected: Expected, exact: bool) -> None:
    """As ``check``, where the beginning of the oldest trajectories is not known. Not ``exact``: later frames may be masked."""
    observations = windows.observations["image"] if isinstance(windows.observations, dict) else windows.observations
    stamps = read_stamps(observations.numpy())
    for b in range(len(windows.mask)):
        assert len(set(stamps.env[b])) == len(set(stamps.episode[b])) == 1
        steps = expected[int(stamps.env[b, 0]), int(stamps.episode[b, 0]), int(stamps.step[b, 0])].steps
        shown = stamps.step[b][windows.mask[b].numpy()].tolist()
        assert shown == (steps if exact else steps[: len(shown)])


def test_a_memory_saving_buffer_with_unannounced_writes_shows_no_wrong_window() -> None:
    """Nothing in that buffer tells of a reset, so that whatever joins the known to the unknown is given up."""
    buffer, episodes = make_buffer("memory", 12, 2), Episodes(2, 0, 0.0)
    source = ReplayWindows(buffer, ACTIONS)
    for _ in range(4):
        source.note_step()
        write(buffer, episodes)
    episodes.reset()
    for _ in range(4):
        write(buffer, episodes)
    source.mark_seam(reset=True)
    windows = source.sample(12, 3, torch.Generator())
    assert windows is not None
    check_steps(windows, expected_windows(buffer, episodes, 3), exact=False)


@pytest.mark.parametrize("n_unannounced", [3, 4, 5, 8, 9])
@pytest.mark.parametrize("kind", ["plain", "dict"])
def test_a_buffer_that_others_filled_once_round_is_noticed(n_unannounced: int, kind: str) -> None:
    """Its position may then be the one that is expected."""
    buffer, episodes = make_buffer(kind, 4, 2), Episodes(2, 1, 0.4)
    source = ReplayWindows(buffer, ACTIONS)
    for _ in range(6):
        source.note_step()
        write(buffer, episodes)
    assert source.sample(1, 3, torch.Generator()) is not None
    source.note_step()
    for _ in range(n_unannounced):
        write(buffer, episodes)
    expected = expected_windows(buffer, episodes, 3)
    windows = source.sample(len(expected), 3, torch.Generator())
    assert windows is not None
    check_steps(windows, expected, exact=True)


@pytest.mark.parametrize("kind", KINDS)
def test_rewards_that_others_change_cost_no_numbering(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer, episodes = make_buffer(kind, 8, 2), Episodes(2, 0, 0.2)
    source, generator, numberings = ReplayWindows(buffer, ACTIONS), torch.Generator(), []
    number_all = ReplayTrajectories._number_all
    monkeypatch.setattr(
        ReplayTrajectories, "_number_all", lambda *args, **kw: (numberings.append(1), number_all(*args, **kw))[1]
    )
    for _ in range(20):
        source.note_step()
        buffer.rewards[buffer.pos - 1] += 0.5  # a bonus for the newest transition, from a callback's _on_step
        write(buffer, episodes)
        assert source.sample(1, 0, generator) is not None
        buffer.rewards -= 1.0
    assert len(numberings) == 1  # at the first use
    windows = source.sample(8, 3, generator)
    assert windows is not None
    check_steps(windows, expected_windows(buffer, episodes, 3), exact=True)


def test_a_marked_seam_holds_for_unannounced_writes_where_all_frames_look_alike() -> None:
    buffer = make_buffer("plain", 8, 1)
    frame, source = np.zeros((1, *IMAGE.shape), np.uint8), ReplayWindows(buffer, ACTIONS)
    for written in range(6):
        if written == 3:
            source.mark_seam(reset=True)
        buffer.add(frame, frame, np.zeros(1), np.array([written]), np.zeros(1), [{}])
    windows = source.sample(6, 5, torch.Generator())
    assert windows is not None
    assert sorted(windows.mask.sum(dim=1).tolist()) == [2, 2, 3, 3, 4, 4]


def test_an_emptied_buffer_is_noticed() -> None:
    buffer, episodes = make_buffer("plain", 6, 2), Episodes(2, 0, 0.3)
    source, generator = ReplayWindows(buffer, ACTIONS), torch.Generator()
    for n_writes in (8, 4, 3):
        for _ in range(n_writes):
            source.note_step()
            write(buffer, episodes)
        source.mark_seam(reset=True)
        source.note_step()
        episodes.reset()
        write(buffer, episodes)
        check_draws(source, expected_windows(buffer, episodes, 2), 2, generator)
        buffer.reset()
        assert source.sample(1, 2, generator) is None
        episodes.rows = [[] for _ in range(2)]
        episodes.reset()
