"""What all objectives with negatives share, on CURL and CPC: negatives, queue, estimators."""

import math

import pytest
import torch

from cpc_rl.estimators import ESTIMATORS, mine
from cpc_rl.negatives import NEGATIVES, Negatives
from cpc_rl.objectives import CPC, CURL, SimCLR
from tests.objectives.head_checks import as_read
from tests.synthetic import ACTIONS, held_out, make_encoder, rolling_patterns, train


def windows_of_few_trajectories(batch_size: int, length: int, seed: int = 0):
    """Three trajectories, places that lie near each other, and one window twice."""
    windows = rolling_patterns(batch_size, length, seed)
    episode = torch.arange(batch_size) % 3
    step = torch.arange(batch_size) // 3 * 2
    windows.observations[1] = windows.observations[0]
    return windows._replace(episode=episode, step=step)


def loop_curl(curl: CURL, encoder, windows, rules: Negatives) -> tuple[float, float]:
    """Loss with the negatives chosen, and InfoNCE's bound over the whole batch."""
    images = windows.observations[:, 0]
    z, keys = ([as_read(row, curl.feature_length) for row in f(images)] for f in (encoder, curl.key_encoder))
    losses, bounds = [], []
    for i in range(len(images)):
        scores = [float(z[i] @ curl.W @ key) for key in keys]
        negatives = []
        for j in range(len(images)):
            same = windows.episode[i] == windows.episode[j]
            near = rules.exclude_near and same and abs(windows.step[i] - windows.step[j]) <= rules.exclude_near
            twin = rules.mask_duplicates and torch.equal(images[i], images[j])
            wrong_side = (rules.source == "same_trajectory" and not same) or (rules.source == "other_trajectories" and same)
            if j != i and not near and not twin and not wrong_side:
                negatives.append(scores[j])
        if rules.mining == "hard":
            negatives = sorted(negatives, reverse=True)[: math.ceil(len(negatives) * rules.share)]
        if negatives:
            losses.append(math.log(sum(map(math.exp, [scores[i], *negatives]))) - scores[i])
        bounds.append(math.log(len(images)) - (math.log(sum(map(math.exp, scores))) - scores[i]))
    return sum(losses) / len(losses), sum(bounds) / len(bounds)


@pytest.mark.parametrize(
    "rules",
    [
        *(NEGATIVES[name] for name in ("batch", "same_trajectory", "other_trajectories", "hard")),
        Negatives(exclude_near=2),
        Negatives(mask_duplicates=True),
        Negatives("other_trajectories", mining="hard", share=0.5, mask_duplicates=True),
    ],
)
@torch.no_grad()
def test_loss_has_the_negatives_chosen_and_the_bound_always_the_whole_batch(rules):
    encoder = make_encoder(16)
    curl = CURL(encoder, negatives=rules, augment=None)
    windows = windows_of_few_trajectories(10, 1)
    metrics = curl(encoder, windows)[1]
    loss, bound = loop_curl(curl, encoder, windows, rules)
    assert float(metrics["loss"]) == pytest.approx(loss, rel=1e-4, abs=1e-5)
    assert float(metrics["mi_lower_bound"]) == pytest.approx(bound, rel=1e-3, abs=1e-4)
    assert float(metrics["mi_ceiling"]) == pytest.approx(math.log(10))
    assert curl.per_trajectory == rules.per_trajectory


def test_a_queue_holds_earlier_batches_keys_and_is_told_apart_from_alone():
    encoder = make_encoder(16)
    curl = CURL(encoder, negatives={"source": "queue", "queue_size": 12}, augment=None)
    batches = [rolling_patterns(8, 1, seed) for seed in range(3)]
    first = curl(encoder, batches[0])[0]
    assert float(first.detach()) == 0.0 and torch.isfinite(torch.autograd.grad(first, curl.W)[0]).all()  # an empty queue
    entered = []
    for windows in batches[:2]:
        curl(encoder, windows)
        entered.append(curl.read(curl.key_encoder(windows.observations[:, 0])))
        curl.after_step(encoder)
    queued = torch.cat(entered)[-12:]
    with torch.no_grad():
        curl(encoder, batches[0])  # looking on does not fill the queue
    curl.after_step(encoder)
    loss, metrics = curl(encoder, batches[2])
    images = batches[2].observations[:, 0]
    anchors, keys = curl.read(encoder(images)), curl.read(curl.key_encoder(images))
    expected = 0.0
    for anchor, key in zip(anchors, keys, strict=True):
        scores = [float((anchor @ curl.W @ other).detach()) for other in (key, *queued)]
        expected += (math.log(sum(map(math.exp, scores))) - scores[0]) / 8
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    assert float(metrics["mi_ceiling"]) == pytest.approx(math.log(8))  # reported is the batch's own
    within = [math.log(8) - math.log(sum(math.exp(s) for s in row)) for row in (anchors @ curl.W @ keys.T).tolist()]
    bound = sum(w + float((a @ curl.W @ k).detach()) for w, a, k in zip(within, anchors, keys, strict=True)) / 8
    assert float(metrics["mi_lower_bound"]) == pytest.approx(bound, rel=1e-3, abs=1e-4)
    again = CURL(encoder, negatives={"source": "queue", "queue_size": 12}, augment=None)
    again.load_state_dict(curl.state_dict())
    assert float(again(encoder, batches[2])[0].detach()) == float(loss.detach())


@pytest.mark.parametrize("estimator", [*ESTIMATORS, "mine"])
def test_every_estimator_takes_the_place_of_infonce_in_cpc_with_its_masks(estimator):
    encoder = make_encoder(16)
    cpc = CPC(encoder, ACTIONS, estimator=estimator, feature_length=None, augment=None)
    windows = rolling_patterns(6, 2, 3)
    windows.mask[2, 1] = False
    loss, metrics = cpc(encoder, windows)
    z = encoder(windows.observations.flatten(0, 1))
    anchors = cpc.W[0](cpc.context(z.unflatten(0, (6, 2)), windows.actions)[:, 0])
    valid = windows.mask.flatten()
    positives = torch.zeros(6, 12, dtype=torch.bool)
    for b in range(6):
        positives[b, 2 * b + 1] = b != 2
    negatives = valid & ~positives & torch.tensor([b != 2 for b in range(6)])[:, None]
    scores = anchors @ z.T
    if estimator in ("nwj", "jsd", "smile"):  # less the logarithm of the negatives' mean, which the first batch sets
        scores = scores - scores.detach()[negatives].exp().mean().log() + (estimator == "nwj")
    if estimator == "mine":
        expected, mean = mine(scores, torch.tensor(-torch.inf), positives, negatives)
        assert float(cpc.bound.log_means[0, 0]) == pytest.approx(float(mean), rel=1e-5)
    else:
        expected = ESTIMATORS[estimator](scores, positives, negatives)
    constant = math.log(11) if estimator == "infonce" else 0.0
    assert float(loss.detach()) == pytest.approx(constant - float(expected.detach()), rel=1e-4, abs=1e-5)
    if estimator != "infonce":
        assert float(metrics[f"mi_{estimator}"]) == pytest.approx(float(expected.detach()), rel=1e-4, abs=1e-5)
    grads = torch.autograd.grad(loss, [*cpc.W.parameters(), *encoder.parameters()])
    wanted = torch.autograd.grad(-expected, [*cpc.W.parameters(), *encoder.parameters()])
    for got, want in zip(grads, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("estimator", ["nwj", "dv", "jsd", "smile", "mine"])
def test_every_estimator_trains_curl(estimator):
    results = {}
    for shuffled in (False, True):
        encoder = make_encoder()
        curl = CURL(encoder, estimator=estimator, temperature=8.0, augment=None, shuffled=shuffled)
        train(curl, encoder, 80, batch_size=32)
        results[shuffled] = held_out(curl, encoder)
    assert results[False]["accuracy"] > 0.3 and results[True]["accuracy"] < 0.1  # chance is 1/64


@pytest.mark.parametrize("estimator", ["nwj", "jsd", "smile"])
def test_scores_far_from_a_log_ratio_are_brought_to_its_scale(estimator):
    encoder = make_encoder()
    simclr = SimCLR(encoder, temperature=0.05, estimator=estimator)
    windows = [rolling_patterns(64, 1, seed) for seed in range(2)]
    values = [float(simclr(encoder, batch)[1][f"mi_{estimator}"]) for batch in windows]
    assert all(abs(value) < 4.2 for value in values)  # log 64: what an untrained head may show, and not twenty nats
    state = float(simclr.bound.log_means[0, 0])
    with torch.no_grad():
        simclr(encoder, windows[0])
    assert float(simclr.bound.log_means[0, 0]) == state and 5 < state <= 20


@pytest.mark.parametrize("negatives", [*NEGATIVES, {"mask_duplicates": True, "exclude_near": 3}])
def test_every_choice_of_negatives_trains_curl(negatives):
    encoder = make_encoder()
    curl = CURL(encoder, negatives=negatives)
    curl.generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam([*encoder.parameters(), curl.W], lr=1e-3)
    for update in range(80):
        windows = rolling_patterns(64, 1, 1000 + update)._replace(episode=torch.arange(64) // 8, step=torch.arange(64) % 8 * 5)
        loss = curl(encoder, windows)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curl.after_step(encoder)
    plain = CURL(encoder)
    plain.load_state_dict(curl.state_dict(), strict=False)  # without the queue, so that all are measured alike
    assert held_out(plain, encoder)["accuracy"] > 0.3  # chance is 1/64


def test_windows_without_any_negative_give_no_loss_and_no_nan():
    encoder = make_encoder(16)
    curl = CURL(encoder, negatives="same_trajectory", augment=None)
    loss = curl(encoder, rolling_patterns(6, 1, 0))[0]  # each window from another trajectory
    gradients = torch.autograd.grad(loss, [curl.W, *encoder.parameters()])
    assert float(loss.detach()) == 0 and all((g == 0).all() for g in gradients)


def test_settings_that_make_no_sense_are_refused():
    encoder = make_encoder(16)
    for keywords, said in [
        ({"temperature": 0}, "above 0"),
        ({"estimator": "guess"}, "infonce, nwj, dv, jsd, smile, mine"),
        ({"negatives": "none"}, "same_trajectory"),
        ({"horizon": -1}, "fewer than 0"),
    ]:
        with pytest.raises(ValueError, match=said):
            CURL(encoder, **keywords)


def test_wrong_positives_are_not_told_by_their_trajectory():
    """A head that knows trajectories alone: among negatives of its own, a wrong positive of another would stand out."""
    encoder = make_encoder()
    curl = CURL(encoder, negatives=Negatives("same_trajectory"), temperature=1.0, shuffled=True)
    curl.generator = torch.Generator().manual_seed(0)
    windows = rolling_patterns(64, 1, 0)._replace(episode=torch.arange(64) % 8, step=torch.arange(64) // 8)
    at = curl.origin(windows)
    elsewhere = 20.0 * (windows.episode[:, None] != windows.episode)
    part = curl.contrast_scores(elsewhere, at, at, torch.arange(64))
    assert part.rows.all() and float(part.loss) == pytest.approx(math.log(8))


def test_wrong_positives_are_not_told_by_being_of_the_anchors_own_trajectory():
    """Where negatives are of others."""
    encoder = make_encoder()
    curl = CURL(encoder, negatives="other_trajectories", temperature=1.0, shuffled=True)
    curl.generator = torch.Generator().manual_seed(0)
    windows = rolling_patterns(64, 1, 0)._replace(episode=torch.arange(64) % 8, step=torch.arange(64) // 8)
    at = curl.origin(windows)
    own = 20.0 * (windows.episode[:, None] == windows.episode)
    part = curl.contrast_scores(own, at, at, torch.arange(64))
    assert part.rows.all() and float(part.loss) == pytest.approx(math.log(56))  # keys of seven other trajectories


@pytest.mark.parametrize("sizes", [(3, 3, 2), (1, 2, 1, 3), (4, 2, 2), (1,), (3,)])
def test_across_trajectories_every_counting_positive_is_given_once_more(sizes):
    curl = CURL(make_encoder(), shuffled=True)
    curl.generator = torch.Generator().manual_seed(3)
    groups = torch.cat([torch.full((size,), 7 * number) for number, size in enumerate(sizes)])
    groups = torch.cat([groups, torch.tensor([0])])  # one that does not count
    n = len(groups)
    rows = torch.arange(n) < n - 1
    drawn = torch.stack([curl.positives(10 * torch.arange(n), rows, across=groups) for _ in range(100)]) // 10
    assert torch.equal(drawn.sort(dim=1).values, torch.arange(n).expand(100, n)) and (drawn[:, -1] == n - 1).all()
    if max(sizes) <= sum(sizes) / 2:
        assert (groups[drawn] != groups)[:, :-1].all()
    if max(sizes) < sum(sizes) / 2:  # one of half of all is exchanged with each of the others alone
        for anchor in range(n - 1):  # any other trajectory's
            assert drawn[:, anchor].unique().tolist() == [i for i in range(n - 1) if groups[i] != groups[anchor]]


def test_across_one_trajectory_alone_nothing_is_lost():
    curl = CURL(make_encoder(), shuffled=True)
    nobody = torch.zeros(4, dtype=torch.bool)
    curl.generator = torch.Generator().manual_seed(0)
    assert not torch.equal(curl.positives(torch.arange(40), across=torch.zeros(40)), torch.arange(40))  # as within it
    assert torch.equal(curl.positives(torch.arange(4), nobody, across=torch.zeros(4)), torch.arange(4))


def test_within_trajectories_every_counting_positive_is_given_once_more():
    encoder = make_encoder()
    curl = CURL(encoder, shuffled=True)
    curl.generator = torch.Generator().manual_seed(3)
    groups = torch.tensor([5, 2, 5, 2, 5, 9, 2, 5])
    rows = torch.tensor([True, True, True, True, False, True, True, True])
    drawn = torch.stack([curl.positives(10 * torch.arange(8), rows, groups) for _ in range(50)]) // 10
    assert torch.equal(drawn.sort(dim=1).values, torch.arange(8).expand(50, 8))
    assert torch.equal(groups[drawn], groups.expand(50, 8)) and (drawn[:, 4] == 4).all()
    assert drawn[:, 0].unique().tolist() == [0, 2, 7]
