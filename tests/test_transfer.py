"""An encoder that was loaded is frozen, thaws and is slowed down, in every algorithm."""

import copy
import inspect
import re
import runpy
from pathlib import Path

import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from cpc_rl import ContrastiveCallback, NatureExtractor, encode, load_encoder, save_encoder
from cpc_rl.attachment import choose_sites, find_sites, outermost_extractors
from cpc_rl.transfer import TransferCallback
from cpc_rl.transfer_hooks import ScaledSteps
from tests.algorithms import ALGORITHMS, ON_POLICY, hooks_left, make_model, same_parameters, steps


class Noisy(BaseFeaturesExtractor):
    """All that training could change without a gradient: batch statistics, and dropout's draws."""

    def __init__(self, observation_space, features_dim=16):
        super().__init__(observation_space, features_dim)
        self.cnn = nn.Sequential(nn.Conv2d(3, 4, 8, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.linear = nn.Sequential(nn.Linear(4 * 8 * 8, features_dim), nn.Dropout(0.5))

    def forward(self, images):
        return self.linear(self.cnn(images))


def noisy_model(name, **keywords):
    policy_kwargs = {"features_extractor_class": Noisy, "features_extractor_kwargs": {"features_dim": 16}}
    return make_model(name, policy_kwargs={**policy_kwargs, **keywords.pop("policy_kwargs", {})}, **keywords)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return save_encoder(make_model("A2C", seed=5), tmp_path_factory.mktemp("stock") / "encoder.safetensors")


@pytest.fixture(scope="module")
def noisy_file(tmp_path_factory):
    model = noisy_model("A2C", seed=5).learn(20)  # batch statistics that are not the initial ones
    return save_encoder(model, tmp_path_factory.mktemp("noisy") / "encoder.safetensors")


def encoders(model):
    """Every tensor of every features extractor, target networks included."""
    found = outermost_extractors(model.policy).items()
    return {f"{path}.{name}": value.clone() for path, module in found for name, value in module.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def encoder_parameters(model):
    return [p for site in find_sites(model) for p in site.extractor.parameters()]


class Watch(BaseCallback):
    """The encoders at every end of a rollout, with the step; and what the optimisers know of them."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        known = sum(
            p in o.state for site in find_sites(self.model) for o in site.optimizers for p in encoder_parameters(self.model)
        )
        self.seen.append((self.num_timesteps, encoders(self.model), known))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_frozen_encoder_stays_the_same_to_the_bit_with_a_head_beside_it(name, noisy_file):
    model = noisy_model(name)
    callback = load_encoder(model, noisy_file, train="frozen")
    before, others = encoders(model), copy.deepcopy(model.policy.state_dict())
    gradients = []
    handles = [p.register_hook(gradients.append) for p in encoder_parameters(model)]
    model.learn(steps(name), callback=[ContrastiveCallback("curl", batch_size=4), callback])
    for handle in handles:
        handle.remove()
    assert model._n_updates >= 2 and equal(before, encoders(model))
    assert not gradients, "the backward pass was to be spared"
    changed = [key for key, value in model.policy.state_dict().items() if not torch.equal(value, others[key])]
    assert changed and not any("features_extractor" in key for key in changed)
    assert not any(p in o.state for site in find_sites(model) for o in site.optimizers for p in encoder_parameters(model))
    assert hooks_left(model) == 0 and all(p.requires_grad for p in encoder_parameters(model))


def test_the_target_of_a_model_that_has_trained_is_left_as_it_was():
    """Frozen then, it lags behind the encoder that it follows, and its head fits its own features."""
    model = make_model("DQN", target_update_interval=10**6).learn(60)
    before = encoders(model)
    assert not torch.equal(
        before["q_net.features_extractor.linear.0.weight"], before["q_net_target.features_extractor.linear.0.weight"]
    )
    model.learn(24, callback=TransferCallback("frozen"), reset_num_timesteps=False)
    assert equal(before, encoders(model))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("PPO", {"gradient": "separate"}),
        ("SAC", {"gradient": "separate", "encoder": "both"}),
        ("SAC", {"encoder": "tied"}),
        ("CrossQ", {"encoder": "tied"}),
        ("DQN", {"objective": "stdim"}),
        ("DQN", {"objective": "moco", "gradient": "separate"}),
    ],
)
def test_no_kind_of_head_moves_a_frozen_encoder(name, settings, noisy_file):
    model = noisy_model(name)
    callback = load_encoder(model, noisy_file, train="frozen")
    before = encoders(model)
    head = ContrastiveCallback(**{"objective": "curl", "batch_size": 4, **settings})
    model.learn(steps(name), callback=[callback, head])
    assert equal(before, encoders(model)) and hooks_left(model) == 0
    trained = [h.steps > 1 for h in head.heads.values()]
    assert trained == [settings.get("gradient") == "separate"] * len(head.heads)


def test_neither_weight_decay_nor_shared_extractors_nor_dicts_move_it(tmp_path):
    decay = {"optimizer_class": torch.optim.AdamW, "optimizer_kwargs": {"weight_decay": 0.5}}
    for name, dict_obs, policy_kwargs in (
        ("DQN", False, decay),
        ("PPO", True, {"share_features_extractor": False}),
        ("TD3", False, {"share_features_extractor": True}),
        ("SAC", True, decay | {"share_features_extractor": True}),
    ):
        model = make_model(name, dict_obs=dict_obs, policy_kwargs=policy_kwargs)
        callback = load_encoder(model, save_encoder(model, tmp_path / "own.safetensors"), train="frozen")
        before = encoders(model)
        model.learn(steps(name), callback=[ContrastiveCallback("curl", gradient="separate", batch_size=4), callback])
        assert equal(before, encoders(model)), name


def test_the_augmentation_of_the_agents_batch_goes_on():
    extractor = {"features_extractor_class": NatureExtractor}
    models = []
    for keywords in ({"augment": "random_shift"}, {}):
        policy_kwargs = {**extractor, "features_extractor_kwargs": {"features_dim": 32, **keywords}}
        models.append(make_model("SAC", policy_kwargs=policy_kwargs))
        callback = TransferCallback("frozen")
        models[-1].learn(steps("SAC"), callback=[ContrastiveCallback("curl", coef=0, batch_size=4), callback])
    assert equal(*(encoders(model) for model in models))
    assert not same_parameters(*models)


@pytest.mark.parametrize(("name", "unfreeze_at"), [("PPO", 64), ("TRPO", 64), ("DQN", 32), ("SAC", 30), ("TD3", 30)])
def test_it_thaws_at_the_step_that_was_asked_for(name, unfreeze_at, file):
    model = make_model(name)
    callback = load_encoder(model, file, train="frozen", unfreeze_at=unfreeze_at)
    before, watch = encoders(model), Watch()
    model.learn(96 if name in ON_POLICY else 40, callback=[callback, watch])
    for step, tensors, known in watch.seen:
        if step <= unfreeze_at:  # the update of this step has not been made yet
            assert equal(before, tensors) and known == 0
    assert watch.seen[-1][0] > unfreeze_at and not equal(before, encoders(model))
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder_parameters(model))


def test_from_then_on_it_moves_as_under_a_new_optimiser(file):
    """Adam's first step is as long as the learning rate: no moments from the frozen time, of zero gradients, shorten it."""
    model = make_model("DQN")
    callback = load_encoder(model, file, train="frozen", unfreeze_at=40)
    before = encoders(model)
    model.learn(40, callback=callback)
    largest = max((before[name] - value).abs().max() for name, value in encoders(model).items() if name.startswith("q_net."))
    assert 0.9e-4 < largest < 1.1e-4
    assert {int(model.policy.optimizer.state[p]["step"]) for p in encoder_parameters(model)} == {1}
    assert int(model.policy.optimizer.state[next(model.q_net.q_net.parameters())]["step"]) == 4


@pytest.mark.parametrize("name", ["PPO", "SAC"])
def test_a_run_goes_on_in_the_middle_of_the_frozen_time(name, noisy_file, tmp_path):
    model = noisy_model(name)
    callback = load_encoder(model, noisy_file, train="frozen", unfreeze_at=100)
    before = encoders(model)
    model.learn(steps(name), callback=callback)
    model.save(tmp_path / "model.zip")
    again = ALGORITHMS[name].load(tmp_path / "model.zip", env=model.get_env())
    watch = Watch()
    again.learn(80, callback=[TransferCallback("frozen", unfreeze_at=100), watch], reset_num_timesteps=False)
    assert all(equal(before, tensors) for step, tensors, _ in watch.seen if step <= 100)
    assert len(watch.seen) > 1 and not equal(before, encoders(again))


def test_an_interrupted_update_leaves_nothing_that_lasts(file):
    model = make_model("PPO")

    def stop(*_):
        raise KeyboardInterrupt

    handle = model.policy.optimizer.register_step_pre_hook(stop)
    callback = load_encoder(model, file, train="frozen", lr_scale=0.1)
    with pytest.raises(KeyboardInterrupt):
        model.learn(32, callback=callback)
    handle.remove()
    before = encoders(model)
    assert hooks_left(model) > 0
    model.learn(32, callback=callback)
    assert equal(before, encoders(model)) and hooks_left(model) == 0
    handle = model.policy.optimizer.register_step_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        model.learn(32, callback=callback)
    handle.remove()
    model.learn(32)
    assert not equal(before, encoders(model)) and hooks_left(model) == 0


OPTIMIZERS = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.3}),
    "rmsprop": (torch.optim.RMSprop, {"momentum": 0.9, "weight_decay": 0.1}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_scaled_steps_are_those_of_a_smaller_learning_rate(name):
    make, keywords = OPTIMIZERS[name]
    start = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    (scaled, other), (slow, fast) = ([nn.Parameter(start.clone()) for _ in range(2)] for _ in range(2))
    optimizer = make([scaled, other], lr=0.02, **keywords)
    steps_of = ScaledSteps(optimizer, [scaled], 0.25, lambda: True)
    steps_of.attach()
    reference = make([{"params": [slow], "lr": 0.005}, {"params": [fast]}], lr=0.02, **keywords)
    for number in range(6):
        gradient = torch.randn(3, 5, generator=torch.Generator().manual_seed(number))
        for p in (scaled, other, slow, fast):
            p.grad = gradient.clone()
        optimizer.step()
        reference.step()
    torch.testing.assert_close(scaled.detach(), slow.detach(), rtol=1e-6, atol=1e-7)
    assert torch.equal(other, fast) and not torch.equal(scaled, other)


def one_update(name, file, lr_scale):
    """The critic's (or the only) encoder before and after the first update, and the model."""
    settings = {"learning_starts": 24}
    if name in ON_POLICY:
        settings = {"n_steps": 32} if name == "A2C" else {"n_steps": 32, "batch_size": 32}
        settings |= {"A2C": {}, "TRPO": {"n_critic_updates": 1}}.get(name, {"n_epochs": 1})
    model = make_model(name, **settings)
    callback = load_encoder(model, file, lr_scale=lr_scale)
    extractor = choose_sites(find_sites(model), "critic")[0].extractor
    before = [p.detach().clone() for p in extractor.parameters()]
    model.learn(32 if name in ON_POLICY else 28 if "DQN" in name else 25, callback=callback)
    assert model._n_updates == 1 and hooks_left(model) == 0
    return [p.detach() - q for p, q in zip(extractor.parameters(), before, strict=True)], model


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_encoders_steps_are_scaled_in_every_algorithm(name, file):
    whole, plain = one_update(name, file, 1.0)
    part, model = one_update(name, file, 0.1)
    assert max(step.abs().max() for step in whole) > 4e-5
    # Parameters are of the order of 1, and so their differences are known to about 1e-7.
    torch.testing.assert_close(part, [0.1 * step for step in whole], rtol=1e-3, atol=1.2e-7)
    heads = {"DQN": "q_net.q_net", "QRDQN": "quantile_net.quantile_net"}.get(
        name, "action_net" if name in ON_POLICY else "critic.qf"
    )
    pairs = zip(model.policy.named_parameters(), plain.policy.parameters(), strict=True)
    rest = [torch.equal(a, b) for (path, a), b in pairs if path.startswith(heads)]
    assert rest and all(rest), "only the encoder is slowed down"


def test_trpo_checks_the_scaled_step_against_its_trust_region(file):
    model = make_model("TRPO", n_steps=32, batch_size=32)
    callback = load_encoder(model, file, lr_scale=0.3)
    logged = []
    original, before = model.train, copy.deepcopy(model.policy)

    def train():
        original()
        logged.append(model.logger.name_to_value["train/kl_divergence_loss"])

    model.train = train
    model.learn(32, callback=callback)
    observations = torch.as_tensor(model.rollout_buffer.observations).view(-1, 3, 36, 36)
    with torch.no_grad():
        old, new = (policy.get_distribution(observations).distribution for policy in (before, model.policy))
    kl = torch.distributions.kl_divergence(new, old).mean()
    assert 1e-5 < float(kl) < model.target_kl and float(kl) == pytest.approx(logged[0], rel=1e-2)


def slow_group(model, scale):
    """The reference: the encoder in a parameter group of its own, whose rate is set before every step, after SB3 has."""
    optimizer = model.policy.optimizer
    (group,) = optimizer.param_groups
    mine = set(encoder_parameters(model))
    slow = [p for p in group["params"] if p in mine]
    group["params"] = [p for p in group["params"] if p not in mine]
    optimizer.add_param_group({**group, "params": slow})

    def slow_down(*_):
        optimizer.param_groups[1]["lr"] = scale * optimizer.param_groups[0]["lr"]

    optimizer.register_step_pre_hook(slow_down)


def test_over_many_updates_and_with_clipping_it_is_a_parameter_group_with_a_smaller_rate(file):
    final = {}
    for kind in ("scaled", "reference", "plain"):
        model = make_model("PPO", 2, max_grad_norm=0.1)
        callback = load_encoder(model, file, lr_scale=0.2 if kind == "scaled" else 1.0)
        if kind == "reference":
            slow_group(model, 0.2)
        final[kind] = model.learn(192, callback=callback).policy.state_dict()
    torch.testing.assert_close(final["scaled"], final["reference"], rtol=1e-4, atol=2e-6)
    assert max((final["plain"][name] - value).abs().max() for name, value in final["reference"].items()) > 1e-3


def test_the_steps_of_a_separate_head_are_scaled_too(file):
    def moved(lr_scale, wrap):
        model = make_model("PPO", n_steps=32, batch_size=32, n_epochs=1, learning_rate=0.0)  # the head alone moves the encoder
        callback = load_encoder(model, file, lr_scale=lr_scale)
        before = encoders(model)
        model.learn(32, callback=wrap(ContrastiveCallback("curl", gradient="separate", batch_size=4), callback))
        return {name: value - before[name] for name, value in encoders(model).items()}

    whole = moved(1.0, lambda head, own: [head, own])
    assert max(value.abs().max() for value in whole.values()) > 0.5e-3
    for wrap in (lambda head, own: [head, own], lambda head, own: [own, CallbackList([head])]):
        part = moved(0.1, wrap)
        torch.testing.assert_close(part, {name: 0.1 * value for name, value in whole.items()}, rtol=1e-3, atol=1.2e-7)


@pytest.mark.parametrize("name", ["SAC", "CrossQ"])
def test_a_tied_encoder_is_slowed_down_once(name, file):
    def moved(lr_scale):
        model = make_model(name, learning_starts=24)
        callback = load_encoder(model, file, lr_scale=lr_scale)
        before = encoders(model)
        model.learn(25, callback=[callback, ContrastiveCallback("curl", encoder="tied", batch_size=4)])
        return {path: value - before[path] for path, value in encoders(model).items() if "_target" not in path}

    whole, part = moved(1.0), moved(0.1)
    torch.testing.assert_close(part, {path: 0.1 * value for path, value in whole.items()}, rtol=1e-3, atol=1.2e-7)
    rest = [path.removeprefix("actor.") for path in part if path.startswith("actor.")]
    assert rest and all(torch.equal(part[f"actor.{path}"], part[f"critic.{path}"]) for path in rest)
    assert max(value.abs().max() for value in part.values()) > 2e-5


def test_loading_forgets_what_the_optimiser_knew_of_the_old_weights(file):
    model = make_model("SAC").learn(steps("SAC"))
    rest = next(model.critic.qf0.parameters())
    assert all(p in model.critic.optimizer.state for p in model.critic.features_extractor.parameters())
    load_encoder(model, file)
    assert not any(p in o.state for site in find_sites(model) for o in site.optimizers for p in encoder_parameters(model))
    assert rest in model.critic.optimizer.state
    model.learn(8, reset_num_timesteps=False)


def test_without_settings_the_callback_does_nothing_and_may_be_left_out(file, recwarn):
    models = []
    for given in (True, False):
        models.append(make_model("DQN"))
        callback = load_encoder(models[-1], file)
        models[-1].learn(steps("DQN"), callback=callback if given else None)
        del callback
    assert same_parameters(*models)
    assert not [w for w in recwarn if "load_encoder" in str(w.message)]


def test_a_callback_that_is_needed_and_thrown_away_says_so(file):
    with pytest.warns(UserWarning, match=r"load_encoder\(..., train='frozen', lr_scale=1.0\) was never given to learn"):
        load_encoder(make_model("PPO"), file, train="frozen")
    with pytest.warns(UserWarning, match="lr_scale=0.1"):
        load_encoder(make_model("PPO"), file, lr_scale=0.1)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"train": "freeze"}, "takes 'fine-tune' or 'frozen'"),
        ({"unfreeze_at": 5}, "only an encoder with train='frozen' can be unfrozen"),
        ({"train": "frozen", "unfreeze_at": -1}, "of at least 0"),
        ({"lr_scale": 0.0}, "to stop the encoder pass train='frozen'"),
        ({"lr_scale": float("inf")}, "but it must be a finite number of at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_changed(keywords, said, file):
    model = make_model("PPO")
    before = encoders(model)
    with pytest.raises(ValueError, match=said):
        load_encoder(model, file, **keywords)
    assert equal(before, encoders(model))


def test_it_says_when_it_thaws_once(file, capsys):
    model = make_model("PPO")
    load_encoder(model, file)
    model.learn(128, callback=TransferCallback("frozen", unfreeze_at=64, verbose=1))
    assert capsys.readouterr().out == "TransferCallback: from step 64 on the encoder is fine-tuned.\n"


def test_the_documents_plain_pytorch_reads_the_file(tmp_path, monkeypatch):
    text = (Path(__file__).parents[1] / "docs" / "transfer.md").read_text()
    (code,) = re.findall(r"```python\n(# Plain PyTorch.*?)```", text, re.DOTALL)
    assert "cpc_rl" not in code and len([line for line in code.splitlines() if line]) == 1 + 8
    model = make_model("PPO", 3, policy_kwargs={"features_extractor_kwargs": {"features_dim": 512}})
    images = torch.as_tensor(model.get_env().reset())
    save_encoder(model, tmp_path / "encoder.safetensors")
    (tmp_path / "plain.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    features = runpy.run_path("plain.py", init_globals={"images": images})["features"]
    torch.testing.assert_close(features.detach(), encode(model, images.numpy()))


def test_the_documents_table_has_the_keywords_and_their_defaults():
    text = (Path(__file__).parents[1] / "docs" / "transfer.md").read_text()
    table = re.findall(r"^\| `(\w+)` \| (?:`(\S+)`|(\S+)) \| ", text, re.MULTILINE)
    for function in (load_encoder, TransferCallback):
        parameters = list(inspect.signature(function).parameters.values())
        defaults = [(p.name, "never" if p.default is None else repr(p.default).replace("'", '"')) for p in parameters]
        assert [(name, code or word) for name, code, word in table] == [
            d for d in defaults if d[0] not in ("model", "file", "verbose")
        ]


@pytest.mark.parametrize("name", ["TD3", "DDPG"])
def test_the_targets_of_a_tied_and_frozen_actor_follow_the_encoder_that_it_has(name):
    """A random encoder that nobody loaded: tied, the actor has another than it was made with."""
    model = make_model(name)
    made_with = copy.deepcopy(model.actor.features_extractor.state_dict())
    model.learn(
        steps(name), callback=[ContrastiveCallback("curl", encoder="tied", coef=0, batch_size=4), TransferCallback("frozen")]
    )
    actor, target, critic = (part.features_extractor.state_dict() for part in (model.actor, model.actor_target, model.critic))
    assert equal(actor, critic) and equal(target, actor) and not equal(actor, made_with)
