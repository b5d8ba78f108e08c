"""Interruptions, several models, saving and going on, and what is refused."""

import copy
import subprocess
import sys
import textwrap
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import ARS
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback, EvalCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from cpc_rl import AugmentationCallback, ContrastiveCallback, NatureExtractor
from cpc_rl.objectives import OBJECTIVES
from cpc_rl.objectives.simclr import SimCLR
from cpc_rl.persistence import stored_state
from cpc_rl.settings import objective_name
from tests.algorithms import ALGORITHMS, hooks_left, make_model, same_parameters, steps
from tests.stamped_env import StampedEnv


def equal(a, b) -> bool:
    """Whether two nested states hold the same."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


class StopAt(BaseCallback):
    """Raises in the midst of collection."""

    def __init__(self, step, error):
        super().__init__()
        self.step, self.error = step, error

    def _on_step(self):
        if self.n_calls == self.step:
            raise self.error
        return True


@pytest.mark.parametrize("name", ["PPO", "SAC", "DQN", "TRPO"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the env broke")])
def test_an_interruption_leaves_no_hook_and_learn_works_again(name, error):
    model = make_model(name)
    callback = ContrastiveCallback("curl", batch_size=4, **({"encoder": "tied"} if name == "SAC" else {}))
    with pytest.raises(type(error)):
        model.learn(300, callback=[callback, StopAt(60, error)])
    assert hooks_left(model) == 0
    assert all(p.requires_grad for p in model.policy.parameters())
    before = next(iter(callback.heads.values())).steps
    assert before >= 1
    model.learn(steps(name), callback=callback)
    assert next(iter(callback.heads.values())).steps > before
    assert hooks_left(model) == 0


def test_hooks_left_by_an_interrupted_update_do_nothing_in_a_plain_learn():
    """A KeyboardInterrupt within train() is the one case in which hooks remain: the next learn() finds and removes them."""
    plain = make_model("PPO").learn(32)
    plain.set_random_seed(1)
    plain.learn(64)

    model = make_model("PPO")
    callback = ContrastiveCallback("curl", coef=0, batch_size=4)
    original = model.train
    model.train = lambda: (original(), (_ for _ in ()).throw(KeyboardInterrupt()))[0]
    with pytest.raises(KeyboardInterrupt):
        model.learn(32, callback=callback)
    del model.train
    assert hooks_left(model) > 0
    taken = next(iter(callback.heads.values())).steps
    model.num_timesteps = 32
    model.set_random_seed(1)
    model.learn(64)
    assert hooks_left(model) == 0 and next(iter(callback.heads.values())).steps == taken
    assert same_parameters(plain, model)


def test_two_models_in_one_process_do_not_disturb_each_other():
    alone = make_model("DQN")
    alone.learn(60, callback=ContrastiveCallback("cpc", batch_size=4))

    class Other(BaseCallback):
        """Trains a second model, with a head of its own, in the midst of the first one's training."""

        def _on_step(self):
            if self.n_calls == 40:
                state = torch.get_rng_state(), np.random.get_state()
                other = make_model("PPO")
                other.learn(64, callback=ContrastiveCallback("curl", batch_size=4))
                torch.set_rng_state(state[0])
                np.random.set_state(state[1])
            return True

    both = make_model("DQN")
    both.learn(60, callback=[ContrastiveCallback("cpc", batch_size=4), Other()])
    assert same_parameters(alone, both)


@pytest.mark.parametrize("name", ["PPO", "SAC", "DQN"])
def test_a_second_learn_and_a_loaded_model_go_on_with_the_heads(name, tmp_path):
    keywords = {"objective": "curl", "batch_size": 4}
    model = make_model(name)
    first = ContrastiveCallback(**keywords)
    model.learn(steps(name), callback=first)
    state = next(iter(first.heads.values())).state_dict()
    state = copy.deepcopy(state)
    model.save(tmp_path / "model.zip")
    for again in (model, ALGORITHMS[name].load(tmp_path / "model.zip", env=model.get_env())):
        if name != "PPO":
            again.replay_buffer = model.replay_buffer
        callback = ContrastiveCallback(**keywords)
        seen = {}

        class Look(BaseCallback):
            def _on_training_start(self, callback=callback, seen=seen):
                seen.update(copy.deepcopy(next(iter(callback.heads.values())).state_dict()))

            def _on_step(self):
                return True

        again.learn(steps(name), callback=[callback, Look()], reset_num_timesteps=False)
        assert equal(seen, state)
        assert seen["optimizer"]["state"] and seen["steps"] >= 2
        assert next(iter(callback.heads.values())).steps > state["steps"]


def test_other_settings_start_a_new_head_and_say_so():
    model = make_model("PPO")
    model.learn(64, callback=ContrastiveCallback("curl", batch_size=4))
    with pytest.warns(UserWarning, match="other settings"):
        callback = ContrastiveCallback("cpc", batch_size=4)
        model.learn(64, callback=callback)
    assert callback.heads["shared"].steps >= 2


def test_checkpoints_and_the_best_model_carry_the_heads(tmp_path):
    model = make_model("PPO")
    callback = ContrastiveCallback("curl", batch_size=4)
    eval_env = DummyVecEnv([lambda: StampedEnv(5, channels_last=True)])
    others = [
        CheckpointCallback(64, str(tmp_path)),
        EvalCallback(eval_env, eval_freq=40, n_eval_episodes=1, best_model_save_path=str(tmp_path), verbose=0),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.learn(128, callback=CallbackList([callback, *others]))
    saved = sorted(tmp_path.glob("*.zip"))
    assert len(saved) == 3
    for file in saved:
        state = stored_state(PPO.load(file))
        assert 0 < state["heads"]["shared"]["state"]["steps"] <= callback.heads["shared"].steps


def test_a_zip_of_stock_classes_needs_no_plugin(tmp_path):
    for name in ("PPO", "SAC"):
        model = make_model(name)
        model.learn(steps(name), callback=ContrastiveCallback("curl", batch_size=4))
        model.save(tmp_path / f"{name}.zip")
    code = """
        import sys
        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "cpc_rl":
                    raise ImportError("cpc_rl is not installed here")
        sys.meta_path.insert(0, Block())
        import numpy as np
        from stable_baselines3 import PPO, SAC
        for cls in (PPO, SAC):
            model = cls.load(sys.argv[1] + "/" + cls.__name__ + ".zip")
            model.predict(np.zeros(model.observation_space.shape, np.uint8))
            model.save(sys.argv[1] + "/" + cls.__name__ + "_again.zip")
        assert not any(name.startswith("cpc_rl") for name in sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=True)
    for cls in (PPO, SAC):
        state = stored_state(cls.load(tmp_path / f"{cls.__name__}_again.zip"))
        assert state["heads"] and equal(state, stored_state(cls.load(tmp_path / f"{cls.__name__}.zip")))


@pytest.mark.parametrize(("keys", "remedy"), [(None, r"norm_obs_keys=\['vector'\]"), (["image"], "norm_obs=False")])
def test_images_that_vec_normalize_takes_for_vectors_are_named_as_the_cause(keys, remedy):
    def made(keys):
        env = DummyVecEnv([lambda: StampedEnv(dict_obs=True, channels_last=True)])
        return PPO("MultiInputPolicy", VecNormalize(env, norm_obs_keys=keys), n_steps=8, batch_size=8, device="cpu")

    with pytest.raises(ValueError, match=rf"VecNormalize normalises 'image' \(norm_obs_keys\).* with {remedy}, and") as info:
        made(keys).learn(16, callback=ContrastiveCallback(batch_size=4))
    assert "MultiInputPolicy" not in str(info.value)
    made(["vector"]).learn(16, callback=ContrastiveCallback(batch_size=4))  # the remedy


def test_what_cannot_take_a_head_is_refused_with_a_reason():
    class Vectors(gym.ObservationWrapper):
        observation_space = gym.spaces.Box(0, 1, (4,), np.float32)

        def observation(self, observation):
            return np.zeros(4, np.float32)

    vectors = DummyVecEnv([lambda: Vectors(StampedEnv())])
    with pytest.raises(ValueError, match="without an optimiser"):
        ARS("MlpPolicy", vectors, n_delta=1).learn(20, callback=ContrastiveCallback())
    with pytest.raises(ValueError, match="no trainable parameters"):
        PPO("MlpPolicy", vectors, n_steps=16).learn(16, callback=ContrastiveCallback())
    with pytest.raises(ValueError, match="tied"):
        make_model("DQN").learn(16, callback=ContrastiveCallback(encoder="tied"))
    model = make_model("DQN")

    class Strange:
        pass

    model.replay_buffer = Strange()
    with pytest.raises(ValueError, match="Strange"):
        model.learn(16, callback=ContrastiveCallback())


@pytest.mark.parametrize("space", [spaces.Box(0, 255, (1, 48, 48), np.int32), spaces.MultiBinary((1, 48, 48))])
@pytest.mark.parametrize("entries", [False, True])
def test_images_of_other_integers_are_refused_at_the_start(space, entries):
    """Not by the augmentation, in the midst of the first update."""
    whole = spaces.Dict(image=space) if entries else space

    class Integers(gym.Env):
        observation_space, action_space = whole, spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return whole.sample(), {}

    class Convolution(BaseFeaturesExtractor):
        def __init__(self, observation_space):
            super().__init__(observation_space, 8)
            self.extractors = nn.ModuleDict({"image": nn.Sequential(nn.Conv2d(1, 2, 3, 3), nn.Flatten(), nn.Linear(512, 8))})

        def forward(self, observations):
            return self.extractors["image"](observations["image"] if entries else observations)

    policy = "MultiInputPolicy" if entries else "CnnPolicy"
    kwargs = {"features_extractor_class": Convolution}
    model = PPO(policy, Integers(), n_steps=16, policy_kwargs=kwargs)
    with pytest.raises(ValueError, match="of uint8 or of floating point, but the space is"):
        model.learn(16, callback=ContrastiveCallback("curl"))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"objective": "cpcc"}, "cpc, curl"),
        ({"objective": 3}, "name or a subclass"),
        ({"gradient": "both"}, "'joint' or 'separate'"),
        ({"encoder": "x"}, "encoder is 'x', but it takes one of 'critic', 'actor', 'both', 'tied'"),
        ({"coef": -1.0}, "of at least 0"),
        ({"coef": "automatic"}, "'auto'"),
        ({"gradient_ratio": -0.1}, "of at least 0"),
        ({"batch_size": 1}, "at least 2"),
        ({"every": 0}, "at least 1"),
        ({"learning_rate": 0.0}, "above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveCallback(**keywords)


def test_a_class_goes_by_the_name_that_it_is_known_by(monkeypatch):
    """So that a model's head is the same one to a callback that names it and to one that has the class."""

    class StepsBetween(SimCLR):
        pass

    assert [objective_name(cls) for cls in OBJECTIVES.values()] == list(OBJECTIVES)
    assert objective_name(StepsBetween) == "stepsbetween"
    monkeypatch.setitem(OBJECTIVES, "steps_between", StepsBetween)
    assert objective_name(StepsBetween) == "steps_between"
    ContrastiveCallback({StepsBetween: 1, "curl": 1}, {"steps_between": {"temperature": 0.2}})


@pytest.mark.parametrize("second", (ContrastiveCallback, AugmentationCallback))
@pytest.mark.parametrize("first", (ContrastiveCallback, AugmentationCallback))
def test_a_second_callback_in_one_learn_is_refused(first, second):
    kwargs = {"features_extractor_class": NatureExtractor, "features_extractor_kwargs": {"augment": "random_shift"}}
    model = make_model("PPO", policy_kwargs=kwargs)
    with pytest.raises(ValueError, match="already, and two of them would add to each other's gradients"):
        model.learn(64, callback=[first(), second()])
    assert hooks_left(model) == 0
    for callback in (first(), second()):  # one after the other is well
        model.learn(64, callback=callback)


def test_an_unknown_encoder_is_refused():
    with pytest.raises(ValueError, match="'critic', 'actor', 'both', 'tied'"):
        make_model("PPO").learn(16, callback=ContrastiveCallback(encoder="value"))


def test_every_and_start_space_the_head_steps():
    model = make_model("PPO")  # 4 updates in each rollout of 32 steps
    callback = ContrastiveCallback("curl", batch_size=4, every=2, start=33)
    model.learn(96, callback=callback)
    assert callback.heads["shared"].steps == 4  # of the second and third rollout's 8 updates every other one


def test_rollouts_are_held_for_large_batches_and_a_head_that_never_had_windows_is_told():
    callback = ContrastiveCallback("simclr", batch_size=2100)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        make_model("PPO", n_steps=512, batch_size=256, n_epochs=1).learn(512 * 5, callback=callback)
    assert callback.heads["shared"].steps == 2  # in the two updates of the fifth rollout
    callback = ContrastiveCallback({"simclr": 1, "curl": 1}, batch_size=200)
    with pytest.warns(UserWarning, match="'simclr' made no step in this learn.* never 200 windows") as told:
        make_model("PPO").learn(96, callback=callback)
    assert len(told) == 1  # curl took the agent's own minibatches
    with pytest.warns(UserWarning, match="'spr' made no step"):
        make_model("DQN").learn(60, callback=ContrastiveCallback("spr", batch_size=300))


def test_a_learn_that_ends_before_the_agent_learns_is_told():
    model = make_model("DQN", learning_starts=40)
    with pytest.warns(UserWarning, match="agent itself was not updated in its 32 steps; .* before 40 steps"):
        model.learn(32, callback=ContrastiveCallback("curl", batch_size=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.learn(32, reset_num_timesteps=False, callback=ContrastiveCallback("curl", batch_size=4))


def test_callback_is_reusable_after_training_has_ended_twice():
    """rl_zoo3 calls on_training_end a second time."""
    model = make_model("PPO")
    callback = ContrastiveCallback("curl", batch_size=4)
    model.learn(64, callback=callback)
    callback.on_training_end()
    assert hooks_left(model) == 0


def test_learn_needs_no_logger_of_a_special_kind_and_stock_models_are_untouched():
    settings = ((PPO, {"n_steps": 16, "batch_size": 8}), (DQN, {"learning_starts": 8, "buffer_size": 50}), (SAC, {}))
    for cls, keywords in settings:
        env = DummyVecEnv([lambda cls=cls: StampedEnv(0, "box" if cls is SAC else "discrete")])
        model = cls("CnnPolicy", env, policy_kwargs={"features_extractor_kwargs": {"features_dim": 8}}, **keywords)
        names = set(model.policy.state_dict())
        model.learn(24, callback=ContrastiveCallback("curl", batch_size=4))
        assert set(model.policy.state_dict()) == names
