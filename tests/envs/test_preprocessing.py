"""Frame skip, image treatment and action tables on toy environments."""

import cv2
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from envs import ACTION_TABLES, DiscreteActions, FrameSkip, ImageObservation
from envs.preprocessing import has_image, is_image, resize
from tests.envs.toys import Numbers, Pictures

IMAGE = spaces.Box(0, 255, (8, 9, 3), np.uint8)


@pytest.mark.parametrize(
    ("space", "image"),
    [
        (IMAGE, True),
        (spaces.Box(0, 255, (3, 8, 9), np.uint8), True),
        (spaces.Box(0, 255, (8, 9, 1), np.uint8), True),
        (spaces.Box(0, 1, (8, 9, 3), np.float32), False),
        (spaces.Box(0, 1, (8, 9, 3), np.uint8), False),
        (spaces.Box(0, 255, (8,), np.uint8), False),
        (spaces.Discrete(4), False),
    ],
)
def test_what_an_image_is(space, image):
    assert is_image(space) is image
    assert has_image(space) is image
    assert has_image(spaces.Dict({"it": space, "number": spaces.Discrete(2)})) is image


def test_a_plane_is_an_image_but_not_among_other_entries():
    plane = spaces.Box(0, 255, (8, 9), np.uint8)
    assert has_image(plane)
    assert not has_image(spaces.Dict({"plane": plane}))


@pytest.mark.parametrize(("skip", "rewards"), [(1, [*range(1, 11)]), (4, [10, 26, 19]), (20, [55])])
def test_frame_skip_sums_rewards_and_stops_at_the_end(skip, rewards):
    env = FrameSkip(Pictures(length=10), skip)
    env.reset(seed=0)
    steps = [env.step(np.zeros(2, np.float32)) for _ in rewards]
    assert [step[1] for step in steps] == rewards
    assert [step[2] for step in steps] == [False] * (len(rewards) - 1) + [True]
    assert steps[-1][4] == {"count": 10}
    assert len(env.unwrapped.seen) == 10


def test_frame_skip_stops_at_a_time_limit_inside():
    env = FrameSkip(TimeLimit(Pictures(length=100), 6), 4)
    env.reset(seed=0)
    assert env.step(np.zeros(2, np.float32))[1:4] == (10, False, False)
    assert env.step(np.zeros(2, np.float32))[1:4] == (11, False, True)


def test_frame_skip_refuses_nothing():
    with pytest.raises(ValueError, match="frame_skip must be 1 or more, not 0"):
        FrameSkip(Pictures(), 0)


@pytest.mark.parametrize("shape", [(40, 30, 3), (3, 40, 30), (40, 30, 1), (1, 40, 30), (40, 30), (16, 16, 3), (40, 30, 4)])
@pytest.mark.parametrize("grayscale", [True, False])
def test_images_are_gray_then_resized(shape, grayscale):
    raw = Pictures(shape)
    env = ImageObservation(raw, 16, grayscale)
    observation, _ = env.reset(seed=3)
    raw.observation_space.seed(3)
    expected = raw.observation_space.sample()
    if shape[0] in (1, 3):
        expected = np.stack(list(expected), axis=-1)
    if expected.shape[-1] == 3 and grayscale:
        expected = cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY)
    expected = cv2.resize(expected, (16, 16), interpolation=cv2.INTER_AREA).reshape(16, 16, -1)
    np.testing.assert_array_equal(observation, expected)
    assert env.observation_space == spaces.Box(0, 255, expected.shape, np.uint8)
    assert env.observation_space.contains(observation)


@pytest.mark.parametrize("channels", [4, 5, 9, 12])
@pytest.mark.parametrize("size", [40, 64, 100])
def test_any_number_of_channels_is_resized(channels, size):
    """Each by itself: OpenCV shrinks four at once."""
    image = np.random.default_rng(0).integers(0, 256, (84, 84, channels), dtype=np.uint8)
    alone = [cv2.resize(image[..., channel], (size, size), interpolation=cv2.INTER_AREA) for channel in range(channels)]
    assert np.array_equal(resize(image, size), np.stack(alone, axis=2))


def test_other_entries_of_a_dict_are_left_alone():
    extra = {
        "speed": spaces.Box(-1, 1, (2,), np.float32),
        "gear": spaces.Discrete(5),
        "map": spaces.Box(0, 255, (7, 7), np.uint8),
    }
    raw = Pictures((3, 20, 20), extra=extra)
    env = ImageObservation(raw, 10)
    observation, _ = env.reset(seed=1)
    raw.observation_space.seed(1)
    expected = raw.observation_space.sample()
    assert env.observation_space["image"].shape == observation["image"].shape == (10, 10, 1)
    for key, space in extra.items():
        assert env.observation_space[key] == space
        np.testing.assert_array_equal(observation[key], expected[key])
    assert env.observation_space.contains(observation)


def test_no_image_is_refused():
    with pytest.raises(ValueError, match="holds no image"):
        ImageObservation(Numbers())
    with pytest.raises(ValueError, match="size must be 1 pixel or more, not 0"):
        ImageObservation(Pictures(), 0)


def test_discrete_actions_are_the_rows():
    table = [[0, 0], [-0.5, 1], [1, 0.25]]
    env = DiscreteActions(Pictures(), table)
    env.reset(seed=0)
    assert env.action_space == spaces.Discrete(3)
    for index in (2, np.int64(0), np.array(1)):
        env.step(index)
    np.testing.assert_array_equal(env.unwrapped.seen, np.array([table[2], table[0], table[1]], np.float32))
    assert env.unwrapped.seen[0].dtype == np.float32
    env.unwrapped.seen[0][:] = 9  # an environment that writes into its action does not change the table
    env.step(2)
    np.testing.assert_array_equal(env.unwrapped.seen[-1], table[2])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0, 0]], "two or more rows of 2 numbers"),
        ([[0, 0], [1]], "two or more rows of 2"),
        ([[0, 0], [2, 0]], "lies outside"),
    ],
)
def test_tables_that_do_not_fit_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        DiscreteActions(Pictures(), table)


def test_discrete_actions_need_a_box():
    with pytest.raises(ValueError, match="one-dimensional Box"):
        DiscreteActions(gym.make("CartPole-v1"), [[0], [1]])


def test_the_named_tables_are_within_car_racings_actions():
    space = gym.make("CarRacing-v3").action_space
    for name, rows in ACTION_TABLES.items():
        assert len(rows) == int(name.removeprefix("drive"))
        assert len({tuple(row) for row in rows}) == len(rows)
        assert [0, 0, 0] in [list(row) for row in rows]
        assert all(space.contains(np.array(row, np.float32)) for row in rows)
