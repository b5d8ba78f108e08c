"""Augmentations that do not fit the images: they change the size, as CURL's crop does, or need other numbers."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from cpc_rl import AugmentationCallback, NatureExtractor, pinned_policy_kwargs
from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.objectives import OBJECTIVES

SPACE = spaces.Box(0, 255, (3, 44, 44), np.uint8)


class Pooling(BaseFeaturesExtractor):
    """Reads images of any size."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space, 8)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, images):
        return self.layers(images)


@pytest.mark.parametrize("name", ["curl", "simclr", "byol"])
def test_a_crop_is_refused_where_the_extractor_reads_one_size(name):
    crop = {"random_crop": {"size": 40}}
    actions = spaces.Discrete(3)
    with pytest.raises(ValueError, match=r"of shape \(3, 44, 44\) into \(3, 40, 40\), which NatureCNN cannot read"):
        OBJECTIVES[name].build(Encoder({IMAGE: NatureCNN(SPACE, 32)}, SPACE), actions, augment=crop)
    OBJECTIVES[name].build(Encoder({IMAGE: Pooling(SPACE)}, SPACE), actions, augment=crop)
    both = spaces.Dict({"left": SPACE, "right": SPACE})
    with pytest.raises(ValueError, match="NatureCNN cannot read"):
        OBJECTIVES[name].build(Encoder({"left": Pooling(SPACE), "right": NatureCNN(SPACE, 32)}, both), actions, augment=crop)


@pytest.mark.parametrize("augment", ["brightness", "contrast", "color_jitter", "random_shift+color_jitter"])
@pytest.mark.parametrize("bounds", [(0, 10), (-1, 1), (-np.inf, np.inf)])
def test_floats_that_a_change_of_colour_would_cut_off_are_refused(augment, bounds):
    floats = spaces.Box(*bounds, (3, 44, 44), np.float32)
    with pytest.raises(ValueError, match="cuts float images off at 0 and 1"):
        OBJECTIVES["simclr"].build(Encoder({IMAGE: NatureCNN(floats, 32, True)}, floats), spaces.Discrete(3), augment=augment)


def test_floats_that_the_agents_own_augmentation_would_cut_off_are_refused_before_it_trains():
    """And not where a model is loaded, which may have been trained so and still acts."""

    class Floats(gymnasium.Env):
        observation_space = spaces.Box(0, 10, (3, 44, 44), np.float32)
        action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return self.observation_space.sample(), {}

    kwargs = pinned_policy_kwargs(PPO, NatureExtractor, features_dim=8, augment="contrast", normalized_image=True)
    model = PPO("CnnPolicy", DummyVecEnv([Floats]), policy_kwargs={**kwargs, "normalize_images": False})
    with pytest.raises(ValueError, match="cuts float images off at 0 and 1"):
        model.learn(10, callback=AugmentationCallback())


def test_floats_up_to_1_and_changes_that_cut_nothing_off_are_not():
    unit, wide = (spaces.Box(0, high, (3, 44, 44), np.float32) for high in (1, 10))
    for space, augment in (
        (unit, "color_jitter"),
        (wide, "random_shift+intensity"),
        (SPACE, "color_jitter"),
        (wide, lambda x, generator: x),
    ):
        OBJECTIVES["simclr"].build(Encoder({IMAGE: Pooling(space)}, space), spaces.Discrete(3), augment=augment)
