"""What probes are made of, against loops, and against plain PyTorch."""

import numpy as np
import pytest
import torch
from torch import nn

from cpc_rl.diagnostics.probe_bank import ProbeBank, cross_entropies, fit, predict, squared_errors
from cpc_rl.diagnostics.ridge import ridge
from cpc_rl.diagnostics.scores import f1_scores, r2_score, uninformed_f1
from cpc_rl.diagnostics.splits import label_entropy, split_episodes, without_duplicates


def literal_f1(labels, predictions):
    """By counting, class by class."""
    f1, support = {}, {}
    for c in sorted({*labels, *predictions}):
        hits = sum(a == c and b == c for a, b in zip(labels, predictions, strict=True))
        wrong = sum(a != c and b == c for a, b in zip(labels, predictions, strict=True))
        missed = sum(a == c and b != c for a, b in zip(labels, predictions, strict=True))
        precision = hits / (hits + wrong) if hits + wrong else 0.0
        recall = hits / (hits + missed) if hits + missed else 0.0
        f1[c] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        support[c] = hits + missed
    return sum(f1[c] * support[c] for c in f1) / len(labels), sum(f1.values()) / len(f1)


def test_f1_equals_counting_also_where_a_class_is_never_or_only_guessed():
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels, guesses = rng.integers(0, 5, 30), rng.integers(-2, 4, 30)
        assert f1_scores(labels, guesses) == pytest.approx(literal_f1(labels.tolist(), guesses.tolist()))
    assert f1_scores(labels, labels) == (1.0, 1.0)
    with pytest.raises(ValueError, match="as many predictions"):
        f1_scores(labels, guesses[:3])


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.7, 0.2, 0.1), (0.05, 0.95)])
def test_draws_score_as_is_said_and_more_than_the_commonest_class_where_there_is_no_common_one(shares):
    rng = np.random.default_rng(0)
    train, test = rng.choice(len(shares), 500, p=shares), rng.choice(len(shares) + 1, 400, p=[*np.multiply(shares, 0.9), 0.1])
    commonest, drawn = uninformed_f1(train, test)
    assert commonest == f1_scores(test, np.full(400, np.bincount(train).argmax()))[0]
    draws = [f1_scores(test, rng.choice(train, 400))[0] for _ in range(200)]
    assert drawn == pytest.approx(np.mean(draws), abs=0.005)
    assert (drawn > commonest) == (shares == (0.5, 0.5))


def test_r2_equals_its_definition():
    labels, guesses = np.array([1.0, 2.0, 6.0]), np.array([1.5, 2.0, 5.0])
    assert r2_score(labels, guesses) == pytest.approx(1 - (0.25 + 0 + 1) / (4 + 1 + 9))
    assert r2_score(labels, np.full(3, 3.0)) == 0
    with pytest.raises(ValueError, match="all the same"):
        r2_score(np.ones(3), guesses)


def test_split_takes_whole_episodes_in_the_papers_shares():
    episodes = np.repeat(np.arange(20) * 3, np.arange(1, 21))
    split = split_episodes(episodes, seed=1)
    sides = [set(episodes[mask]) for mask in split]
    assert [len(side) for side in sides] == [14, 2, 4]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert (np.sum(split, axis=0) == 1).all()
    other = split_episodes(episodes, seed=2)
    assert not np.array_equal(split.test, other.test)
    long = split_episodes(episodes, min_length=10)
    assert set(episodes[np.any(long, axis=0)]) == {3 * n for n in range(10, 20)}  # those of 11 frames and more
    assert [len(set(np.arange(3)[mask])) for mask in split_episodes(np.arange(3))] == [1, 1, 1]
    with pytest.raises(ValueError, match="at least 3 episodes"):
        split_episodes(np.array([0, 0, 1, 1]))


def test_test_frames_that_training_or_validation_holds_are_left_out():
    episodes = np.repeat(np.arange(5), 2)
    split = split_episodes(episodes)
    prints = np.arange(10)
    train, validation, test = (np.flatnonzero(mask) for mask in split)
    prints[test[0]] = prints[train[0]]
    prints[test[1]] = prints[validation[0]]
    kept = without_duplicates(split, prints)
    assert np.flatnonzero(kept.test).tolist() == test[2:].tolist()
    assert (kept.train == split.train).all() and (kept.validation == split.validation).all()


def test_entropy_in_nats():
    assert label_entropy(np.array([3, 3, 9, 9])) == pytest.approx(np.log(2))
    assert label_entropy(np.array([1, 1, 1, 5])) == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert label_entropy(np.zeros(4)) == 0


def clusters(n, seed, classes=(3, 5), features=6):
    """Features with noise, and labels that are linear in them to different degrees."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features)).astype(np.float32)
    y = [np.argmax(x[:, :k] + rng.normal(size=(n, k)) * noise, axis=1) for k, noise in zip(classes, (0.2, 1.5), strict=True)]
    return torch.from_numpy(x), torch.from_numpy(np.stack(y, axis=1))


def test_linear_probes_equal_single_layers_trained_one_by_one_with_early_stopping():
    train, validation = clusters(120, 0), clusters(60, 1)
    bank = ProbeBank(6, [3, 5])
    generator = torch.Generator().manual_seed(3)
    settings = {"epochs": 40, "patience": 2, "learning_rate": 0.05, "batch_size": 32}
    best = fit(bank, cross_entropies, train, validation, generator=generator, **settings)
    for v, classes in enumerate((3, 5)):
        layer = nn.Linear(6, classes)
        nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.05, eps=1e-5)
        generator = torch.Generator().manual_seed(3)
        top, since, kept, epoch_of = -1.0, 0, None, 0
        for epoch in range(1, 41):
            order = torch.randperm(120, generator=generator)
            for i in range(0, 120, 32):
                rows = order[i : i + 32]
                optimizer.zero_grad()
                nn.functional.cross_entropy(layer(train[0][rows]), train[1][rows, v]).backward()
                optimizer.step()
            accuracy = float((layer(validation[0]).argmax(1) == validation[1][:, v]).float().mean())
            since += 1
            if accuracy > top:
                top, since, epoch_of, kept = accuracy, 0, epoch, layer.weight.detach().clone()
            if since == 2:
                break
        assert int(best[v]) == epoch_of < 38
        assert torch.allclose(bank.weight[v, :classes], kept, atol=1e-5)
    assert int(best[0]) != int(best[1])  # each has stopped by itself


@pytest.mark.parametrize("hidden", [None, 16])
def test_a_probe_does_not_depend_on_what_stands_beside_it(hidden):
    train, validation = clusters(120, 0), clusters(60, 1)
    settings = {"epochs": 12, "patience": 3, "learning_rate": 0.02}
    together = ProbeBank(6, [3, 5], hidden, torch.Generator().manual_seed(0))
    fit(together, cross_entropies, train, validation, generator=torch.Generator().manual_seed(1), **settings)
    alone = ProbeBank(6, [3], hidden, torch.Generator().manual_seed(0))
    sides = [(x, y[:, :1]) for x, y in (train, validation)]
    fit(alone, cross_entropies, *sides, generator=torch.Generator().manual_seed(1), **settings)
    assert torch.allclose(together.weight[:1, :3], alone.weight, atol=1e-5)
    guesses = predict(together, validation[0], classes=True)
    assert guesses.shape == (60, 2) and int(guesses[:, 0].max()) < 3  # a class that a variable has not is never guessed
    assert float((guesses[:, 0] == validation[1][:, 0]).float().mean()) > 0.6


def test_a_shallow_probe_reads_what_a_linear_one_cannot():
    def xor(n, seed):
        x = torch.rand(n, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        return x, ((x[:, 0] > 0) ^ (x[:, 1] > 0)).long()[:, None]

    settings = {"epochs": 60, "patience": 20, "learning_rate": 0.01}
    accuracy = {}
    for hidden in (None, 32):
        bank = ProbeBank(2, [2], hidden, torch.Generator().manual_seed(0))
        fit(bank, cross_entropies, xor(400, 0), xor(200, 1), generator=torch.Generator().manual_seed(0), **settings)
        x, y = xor(500, 2)
        accuracy[hidden] = float((predict(bank, x, classes=True) == y).float().mean())
    assert accuracy[None] < 0.75 and accuracy[32] > 0.93
    x = torch.rand(400, 2, generator=torch.Generator().manual_seed(5)) * 2 - 1
    product = x[:, :1] * x[:, 1:] * 3
    bank = ProbeBank(2, [1], 32, torch.Generator().manual_seed(0))
    fit(bank, squared_errors, (x[:300], product[:300]), (x[300:], product[300:]), **settings)
    assert float((predict(bank, x, classes=False) - product).square().mean() / product.square().mean()) < 0.1


def test_ridge_equals_the_normal_equations_with_the_penalty_that_validates_best():
    rng = np.random.default_rng(0)
    x, held = rng.normal(size=(40, 7)), rng.normal(size=(20, 7))
    truth = rng.normal(size=(7, 2)) * [1.0, 0.05]
    y, wanted = x @ truth + rng.normal(size=(40, 2)) + 3, held @ truth + rng.normal(size=(20, 2)) + 3
    penalties = (1e-3, 0.1, 1.0, 10.0, 1e3)
    tensors = [torch.from_numpy(array) for array in (x, y, held, wanted)]
    weights, intercepts, chosen = ridge((tensors[0], tensors[1]), (tensors[2], tensors[3]), penalties)
    for v in range(2):
        found = {}
        for penalty in penalties:
            centred = x - x.mean(0)
            w = np.linalg.solve(centred.T @ centred + penalty * len(x) * np.eye(7), centred.T @ (y[:, v] - y[:, v].mean()))
            b = y[:, v].mean() - x.mean(0) @ w
            found[penalty] = ((held @ w + b - wanted[:, v]) ** 2).mean(), w, b
        best = min(penalties, key=lambda p: found[p][0])
        assert float(chosen[v]) == best
        np.testing.assert_allclose(weights[:, v], found[best][1], atol=1e-9)
        assert float(intercepts[v]) == pytest.approx(found[best][2])
    assert float(chosen[0]) < float(chosen[1])
