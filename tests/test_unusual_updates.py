"""Subclasses and policies whose updates are not Stable-Baselines3's own."""

import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.ppo import CnnPolicy
from torch.nn import functional as F

from cpc_rl import ContrastiveCallback, NatureExtractor
from cpc_rl.encoder import probing
from cpc_rl.shared_pass import SharedPass, is_of
from tests.algorithms import ALGORITHMS, make_model, same_parameters, steps


def model_of(monkeypatch, cls, **keywords):
    """A tiny model of a subclass."""
    name = next(name for name, known in ALGORITHMS.items() if issubclass(cls, known))
    monkeypatch.setitem(ALGORITHMS, name, cls)
    return make_model(name, **keywords)


class DemonstrationPPO(PPO):
    """With a behaviour-cloning term, as DAPG has one: another batch, of the minibatch's length, in the same backward pass."""

    def train(self):
        shown, actions = torch.randint(0, 255, (16, 3, 36, 36), dtype=torch.uint8), torch.randint(0, 5, (16,))
        evaluate = self.policy.evaluate_actions

        def both(observations, taken):
            values, log_prob, entropy = evaluate(observations, taken)
            return values, log_prob, entropy + 0.1 * evaluate(shown, actions)[1].mean()

        self.policy.evaluate_actions = both
        super().train()
        del self.policy.evaluate_actions


class ResidualDQN(DQN):
    """Gradients through the next state's value, too; and the target network on the observations, as Munchausen DQN has it."""

    def train(self, gradient_steps, batch_size=100):
        self.policy.set_training_mode(True)
        for _ in range(gradient_steps):
            data = self.replay_buffer.sample(batch_size)
            self._n_updates += 1
            q = self.q_net(data.observations).gather(1, data.actions.long())
            following = self.q_net(data.next_observations).max(1, keepdim=True).values
            with torch.no_grad():
                following = following + self.q_net_target(data.next_observations).mean(1, keepdim=True)
                bonus = F.log_softmax(self.q_net_target(data.observations), 1).gather(1, data.actions.long())
            loss = F.smooth_l1_loss(q, data.rewards + bonus + self.gamma * following)
            self.policy.optimizer.zero_grad()
            loss.backward()
            self.policy.optimizer.step()


@pytest.mark.parametrize("cls", [PPO, DemonstrationPPO, DQN, ResidualDQN])
def test_features_that_are_shared_are_those_of_the_windows(cls, monkeypatch):
    anchors, keys, original = [], [], SharedPass.batch

    def watched(self, head, names, rows, output):
        batch = original(self, head, names, rows, output)
        if batch is None:
            return None
        count = len(batch.shared.anchors)
        with torch.no_grad(), probing(head.encoder):
            anchors.append(torch.allclose(head.encoder(rows.observations[:count]), batch.shared.anchors, atol=1e-4))
            if self.target is not None and batch.shared.next_keys is not None:
                ahead = self.target(rows.next_observations[:count].float() / 255)
                keys.append(torch.allclose(ahead, batch.shared.next_keys, atol=1e-4))
        return batch

    monkeypatch.setattr(SharedPass, "batch", watched)
    callback = ContrastiveCallback("cpc", batch_size=8)
    model_of(monkeypatch, cls).learn(64, callback=callback)
    assert len(anchors) == callback.heads["shared"].steps >= 8 and all(anchors)
    assert all(keys) and bool(keys) == issubclass(cls, DQN)


def test_a_pass_is_known_by_its_pixels():
    images = torch.zeros(32, 4, 48, 48, dtype=torch.uint8)
    for number, stack in enumerate(images):  # little that differs between frames, as in PixelCatch
        stack[:, number : number + 4, 20:24] = 255
    moved = images.roll(1, 3)
    for given, raw in ((images.float() / 255, images), (images.float(), images), (images.float(), images.double())):
        assert is_of(given, raw)
    for other in (moved.float() / 255, images[:16].float() / 255, images.float() / 2, None):
        assert not is_of(other, images)


class SwitchedOff(NatureExtractor):
    """With a part that gets a gradient of exactly 0."""

    def __init__(self, observation_space, features_dim=32):
        super().__init__(observation_space, features_dim)
        self.gate = torch.nn.Parameter(torch.zeros(1))
        self.branch = torch.nn.Linear(features_dim, features_dim)

    def forward(self, observations):
        features = super().forward(observations)
        return features + 0 * self.gate * self.branch(features)


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("share", [True, False])
def test_gradients_of_zero_begin_no_update_of_their_own(share, every):
    """SAC's actor sends a gradient through the critic's encoder after the critic's step."""
    kwargs = {"features_extractor_class": SwitchedOff, "net_arch": [16]}
    model = make_model("SAC", policy_kwargs=kwargs)
    callback = ContrastiveCallback("curl", batch_size=4, share_passes=share, every=every)
    model.learn(40, callback=callback)
    (injection,) = callback._injections
    assert injection.updates == model._n_updates == 16 and callback.heads["critic"].steps == 16 // every


def test_features_of_an_earlier_minibatch_are_not_taken_for_the_newest_ones():
    model = make_model("DQN")
    callback = ContrastiveCallback("curl", batch_size=4)
    seen = []

    class Look(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_end(self):
            shared = callback._injections[0].shared_pass
            if self.num_timesteps < 30:
                return
            model.replay_buffer.sample(8)
            rows = shared.minibatches.latest
            output = torch.zeros(rows.n_padded, 32)
            assert shared.batch(callback.heads["shared"], ("curl",), rows, output) is not None
            model.replay_buffer.sample(8)
            seen.append(shared.batch(callback.heads["shared"], ("curl",), rows, output))

    model.learn(32, callback=[callback, Look()])
    assert seen and all(batch is None for batch in seen)


class TwiceSAC(SAC):
    """Two steps of the critic on each minibatch."""

    def train(self, gradient_steps, batch_size=64):
        self.policy.set_training_mode(True)
        for _ in range(gradient_steps):
            data = self.replay_buffer.sample(batch_size)
            for _ in range(2):
                loss = sum(F.mse_loss(q, data.rewards) for q in self.critic(data.observations, data.actions))
                self.critic.optimizer.zero_grad()
                loss.backward()
                self.critic.optimizer.step()
        self._n_updates += gradient_steps


class Remembering(ReplayBuffer):
    def sample(self, *args, **kwargs):
        self.last = super().sample(*args, **kwargs)
        return self.last


class RegularisedSAC(SAC):
    """SAC's own update, and then a loss of the user's on the same minibatch."""

    def train(self, gradient_steps, batch_size=64):
        super().train(gradient_steps, batch_size)
        features = self.critic.features_extractor(self.replay_buffer.last.observations.float() / 255)
        self.critic.optimizer.zero_grad()
        features.square().mean().backward()
        self.critic.optimizer.step()


@pytest.mark.parametrize("cls", [TwiceSAC, RegularisedSAC])
def test_an_update_of_the_users_own_is_the_same_beside_a_head_without_say(cls, monkeypatch):
    models = []
    for callback in (None, ContrastiveCallback("curl", coef=0, batch_size=4)):
        models.append(model_of(monkeypatch, cls, replay_buffer_class=Remembering).learn(40, callback=callback))
    assert same_parameters(*models)


class ZeroingAdam(torch.optim.Adam):
    def zero_grad(self, set_to_none=False):
        super().zero_grad(set_to_none=False)


@pytest.mark.parametrize("name", ["PPO", "TD3"])
def test_gradients_that_are_filled_with_zeros_count_as_none(name):
    counts = []
    for optimizer in (torch.optim.Adam, ZeroingAdam):
        callback = ContrastiveCallback("curl", batch_size=4)
        make_model(name, policy_kwargs={"optimizer_class": optimizer}).learn(steps(name), callback=callback)
        (head,) = callback.heads.values()
        counts.append(head.steps)
    assert counts[0] == counts[1] >= 2


class Detached(CnnPolicy):
    """The head alone is to train the encoder."""

    def extract_features(self, obs, features_extractor=None):
        return super().extract_features(obs, features_extractor).detach()


def test_an_agent_that_sends_no_gradient_is_told():
    env = make_model("PPO").get_env()
    kwargs = {"features_extractor_class": NatureExtractor, "features_extractor_kwargs": {"features_dim": 32}}
    model = PPO(Detached, env, n_steps=32, batch_size=16, n_epochs=2, policy_kwargs=kwargs)
    with pytest.warns(UserWarning, match="a policy detaches its features: gradient='separate' trains"):
        model.learn(64, callback=ContrastiveCallback("curl", batch_size=4))
    callback = ContrastiveCallback("curl", batch_size=4, gradient="separate")
    model.learn(64, callback=callback)
    assert callback.heads["shared"].steps == 8
    with pytest.warns(UserWarning, match="for start is 1000, and from there to step 64"):
        make_model("PPO").learn(64, callback=ContrastiveCallback("curl", batch_size=4, start=1000))


class Between(BaseCallback):
    """Does something to the model when a rollout begins, once."""

    def __init__(self, step, action):
        super().__init__()
        self.step, self.action = step, action

    def _on_rollout_start(self):
        if self.num_timesteps == self.step:
            self.action(self.model)

    def _on_step(self):
        return True


def test_a_head_rests_once_its_encoder_is_frozen():
    callback = ContrastiveCallback("curl", batch_size=4)
    freeze = Between(32, lambda model: model.policy.features_extractor.requires_grad_(False))
    model = make_model("PPO").learn(96, callback=[callback, freeze])
    assert callback.heads["shared"].steps == 4 and model._n_updates == 6
    with pytest.raises(ValueError, match="all parameters of this one have requires_grad=False"):
        model.learn(32, callback=ContrastiveCallback("curl", batch_size=4))


def test_networks_that_are_made_anew_are_noticed():
    def reset(model):
        policy = model.policy
        policy.q_net = policy.make_q_net()
        policy.optimizer = policy.optimizer_class(policy.q_net.parameters(), lr=1e-4)
        model._create_aliases()

    with pytest.warns(UserWarning, match="optimisers of this model were made anew or replaced in the midst of learn"):
        make_model("DQN").learn(60, callback=[ContrastiveCallback("cpc", batch_size=4), Between(40, reset)])
