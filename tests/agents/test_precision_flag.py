"""``--precision``: the extractor of every arm computes in it, the recipe's or Stable-Baselines3's own."""

from dataclasses import replace

import pytest
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.arms import parse_arm
from agents.build import build_model, environment_keywords
from agents.errors import UserError
from agents.grid import configure
from cpc_rl import ImpalaExtractor, NatureExtractor
from envs import make_vec_env
from tests.agents.tiny import IMAGES, tiny_recipe
from tests.stamped_env import StampedEnv
from train_agent import Arguments


def extractors(env: str, algo: str, arm: str, precision) -> list[BaseFeaturesExtractor]:
    """Of the model that a run would train."""
    (configuration,) = configure(Arguments(env=env, algo=algo, objective=(arm,), precision=precision))
    recipe = configuration.recipe
    vec_env = make_vec_env(env, 1, 0, vec="dummy", **environment_keywords(recipe, pixels=False))
    model = build_model(recipe, vec_env, parse_arm(arm, recipe.objective), 0, "cpu", timesteps=50)
    vec_env.close()
    return [part for part in model.policy.modules() if isinstance(part, BaseFeaturesExtractor)]


@pytest.mark.parametrize("arm", ["none", "aug", "cpc"])
@pytest.mark.parametrize(("env", "algo"), [(IMAGES, "ppo"), (IMAGES, "dqn"), ("PixelPendulum-v0", "sac")])
def test_half_in_every_arm(env, algo, arm):
    found = extractors(env, algo, arm, "bf16")
    assert found and all(type(part) is NatureExtractor and part.precision == "bf16" for part in found)


@pytest.mark.parametrize("precision", ["float32", None])
def test_whole_leaves_the_stock_extractor(precision):
    found = extractors(IMAGES, "ppo", "none", precision)
    assert found and all(type(part) is NatureCNN for part in found)


def test_the_recipe_s_own_extractor_is_kept():
    recipe = replace(tiny_recipe(), extractor={"name": "impala", "width": 0.5, "precision": "bf16"})
    vec_env = make_vec_env(IMAGES, 1, 0, vec="dummy", **environment_keywords(recipe, pixels=False))
    extractor = build_model(recipe, vec_env, parse_arm("none", "curl"), 0, "cpu").policy.features_extractor
    assert type(extractor) is ImpalaExtractor and extractor.precision == "bf16"


def test_a_dict_observation_is_refused():
    recipe = replace(tiny_recipe(), extractor={"name": "nature_cnn", "precision": "bf16"})
    vec_env = DummyVecEnv([lambda: StampedEnv(0, "discrete", dict_obs=True, channels_last=True)])
    with pytest.raises(UserError, match="no precision but float32"):
        build_model(recipe, vec_env, parse_arm("none", "curl"), 0)
