import math

import numpy as np
import pytest
import torch

from cpc_rl import estimators
from cpc_rl.estimators import (
    ESTIMATORS,
    club,
    club_sampled,
    dv,
    infonce,
    infonce_known_conditional,
    interpolated,
    jsd,
    leave_one_out_upper,
    mine,
    nwj,
    smile,
)
from cpc_rl.losses import info_nce

NO_MEAN_YET = torch.tensor(-math.inf)


def lottery_generator():
    return torch.Generator().manual_seed(3)


BOUNDS = {
    **ESTIMATORS,
    "mine": lambda scores, positives=None, negatives=None: mine(scores, NO_MEAN_YET, positives, negatives)[0],
    "smile, clip 1": lambda scores, positives=None, negatives=None: smile(scores, positives, negatives, clip=1.0),
    "smile, no clip": lambda scores, positives=None, negatives=None: smile(scores, positives, negatives, clip=math.inf),
    "interpolated": lambda scores, positives=None, negatives=None: interpolated(scores, positives, negatives, alpha=0.3),
    "interpolated, 0": lambda scores, positives=None, negatives=None: interpolated(scores, positives, negatives, alpha=0),
    "interpolated, 1": lambda scores, positives=None, negatives=None: interpolated(scores, positives, negatives, alpha=1),
    "infonce_known_conditional": infonce_known_conditional,
    "leave_one_out_upper": leave_one_out_upper,
    "club": club,
    "club_sampled": lambda scores, positives=None, negatives=None: club_sampled(
        scores, lottery_generator(), positives, negatives
    ),
}


# The literal references: Python loops over lists of pairs.


def pairs(scores, mask):
    n, k = scores.shape
    return [scores[i, j] for i in range(n) for j in range(k) if mask[i, j]]


def mean(values):
    return sum(values) / len(values)


def loop_infonce(scores, positives, negatives):
    terms = []
    for row, joint, independent in zip(scores, positives, negatives, strict=True):
        others = [math.exp(s) for s, ok in zip(row, independent, strict=True) if ok]
        for score, ok in zip(row, joint, strict=True):
            if ok:
                cross_entropy = -math.log(math.exp(score) / (math.exp(score) + sum(others)))
                terms.append(math.log(1 + len(others)) - cross_entropy)
    return mean(terms)


def loop_nwj(scores, positives, negatives):
    return mean(pairs(scores, positives)) - mean([math.exp(s) for s in pairs(scores, negatives)]) / math.e


def loop_dv(scores, positives, negatives):
    return mean(pairs(scores, positives)) - math.log(mean([math.exp(s) for s in pairs(scores, negatives)]))


def loop_smile(scores, positives, negatives, clip):
    partition = mean([min(max(math.exp(s), math.exp(-clip)), math.exp(clip)) for s in pairs(scores, negatives)])
    return mean(pairs(scores, positives)) - math.log(partition)


def loop_interpolated(scores, positives, negatives, alpha):
    terms = []
    for row, joint, independent in zip(scores, positives, negatives, strict=True):
        others = [math.exp(s) for s, ok in zip(row, independent, strict=True) if ok]
        for score in [s for s, ok in zip(row, joint, strict=True) if ok and others]:
            but_one = [mean([math.exp(score), *others[:i], *others[i + 1 :]]) for i in range(len(others))]
            first = mean([score - math.log(alpha * m + (1 - alpha) * math.e) for m in but_one])
            terms.append(1 + first - mean(others) / (alpha * mean(others) + (1 - alpha) * math.e))
    return mean(terms)


def loop_leave_one_out(scores, positives, negatives):
    terms = []
    for j in range(scores.shape[1]):
        others = [math.exp(scores[i, j]) for i in range(len(scores)) if negatives[i, j]]
        terms += [scores[i, j] - math.log(mean(others)) for i in range(len(scores)) if positives[i, j] and others]
    return mean(terms)


def loop_club(scores, positives, negatives):
    return mean(pairs(scores, positives)) - mean(pairs(scores, negatives))


def loop_club_sampled(scores, positives, negatives):
    lottery = torch.rand(scores.shape, generator=lottery_generator()).numpy()
    drawn = []
    for i in range(len(scores)):
        tickets = [(lottery[i, j], scores[i, j]) for j in range(scores.shape[1]) if negatives[i, j]]
        if positives[i].any() and tickets:
            drawn.append(max(tickets)[1])
    return mean(pairs(scores, positives)) - mean(drawn)


LOOPS = {
    "infonce": loop_infonce,
    "nwj": loop_nwj,
    "dv": loop_dv,
    "jsd": lambda scores, *masks: loop_nwj(scores + 1, *masks),
    "smile": lambda *args: loop_smile(*args, clip=5.0),
    "mine": loop_dv,
    "smile, clip 1": lambda *args: loop_smile(*args, clip=1.0),
    "smile, no clip": loop_dv,
    "interpolated": lambda *args: loop_interpolated(*args, alpha=0.3),
    "interpolated, 0": lambda *args: loop_interpolated(*args, alpha=0.0),
    "interpolated, 1": lambda *args: loop_interpolated(*args, alpha=1.0),
    "infonce_known_conditional": lambda s, p, n: loop_infonce(s.T, p.T, n.T),
    "leave_one_out_upper": loop_leave_one_out,
    "club": loop_club,
    "club_sampled": loop_club_sampled,
}


def ragged(seed=0, n=9, k=12):
    """Scores, positives and negatives; row 0 counts for nothing, row 1 has no positive, row 2 no negative."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(scale=3, size=(n, k))
    positives = np.arange(k) == rng.permutation(k)[:n, None]
    negatives = ~positives & (rng.random((n, k)) < 0.5)
    positives[:2] = False
    negatives[[0, 2]] = False
    return scores, positives, negatives


@pytest.mark.parametrize("name", BOUNDS)
def test_estimates_equal_a_literal_double_loop(name):
    scores = 3 * np.random.default_rng(1).normal(size=(7, 7))
    diagonal = np.eye(7, dtype=bool)
    np.testing.assert_allclose(BOUNDS[name](torch.tensor(scores)), LOOPS[name](scores, diagonal, ~diagonal), rtol=1e-10)
    masked = ragged()
    np.testing.assert_allclose(BOUNDS[name](*map(torch.tensor, masked)), LOOPS[name](*masked), rtol=1e-10)


@pytest.mark.parametrize("name", [name for name in BOUNDS if not name.startswith("interpolated")])
def test_several_positives_in_a_row(name):
    rng = np.random.default_rng(2)
    scores, positives = rng.normal(size=(6, 8)), rng.random((6, 8)) < 0.4
    torch_positives = torch.tensor(positives)
    np.testing.assert_allclose(BOUNDS[name](torch.tensor(scores), torch_positives), LOOPS[name](scores, positives, ~positives))


def test_infonce_agrees_with_the_loss():
    scores, positives, negatives = (torch.tensor(a) for a in ragged())
    rows = positives.any(1)
    contrast = info_nce(scores[rows], positives[rows].int().argmax(1), (positives | negatives)[rows])
    torch.testing.assert_close(infonce(scores, positives, negatives), (contrast.ceiling - contrast.loss).mean())


def gradient(function, scores, *args):
    scores = scores.clone().requires_grad_()
    (result,) = torch.autograd.grad(function(scores, *args), scores)
    return result


@pytest.mark.parametrize("name", BOUNDS)
def test_what_no_mask_selects_has_no_influence(name):
    scores, positives, negatives = (torch.tensor(a) for a in ragged())
    unused = ~(positives | negatives)
    spoilt = scores.masked_fill(unused, math.nan)
    torch.testing.assert_close(BOUNDS[name](spoilt, positives, negatives), BOUNDS[name](scores, positives, negatives))
    moved = gradient(BOUNDS[name], spoilt, positives, negatives)
    assert torch.isfinite(moved).all() and (moved[unused] == 0).all() and (moved[positives] != 0).any()


@pytest.mark.parametrize("name", ["infonce", "nwj", "dv", "interpolated", "club", "leave_one_out_upper"])
def test_gradients_that_are_those_of_the_value(name):
    scores, positives, negatives = (torch.tensor(a) for a in ragged())
    assert torch.autograd.gradcheck(lambda s: BOUNDS[name](s, positives, negatives), scores.requires_grad_())


@pytest.mark.parametrize("name", ["jsd", "smile", "smile, clip 1", "smile, no clip"])
def test_jsd_and_smile_train_by_the_jensen_shannon_objective(name):
    def literal(scores, positives, negatives):
        probability = 1 / (1 + torch.exp(-scores))
        return probability[positives].log().mean() + (1 - probability[negatives]).log().mean()

    scores, positives, negatives = (torch.tensor(a) for a in ragged())
    torch.testing.assert_close(
        gradient(BOUNDS[name], scores, positives, negatives), gradient(literal, scores, positives, negatives)
    )


def test_mine_keeps_its_running_mean_and_divides_its_gradient_by_it():
    running, literal_mean = NO_MEAN_YET.double(), None
    for seed in range(4):
        scores, positives, negatives = (torch.tensor(a) for a in ragged(seed))
        batch = scores[negatives].exp().mean()
        literal_mean = batch if literal_mean is None else 0.7 * literal_mean + 0.3 * batch
        leaf = scores.clone().requires_grad_()
        value, running = mine(leaf, running, positives, negatives, decay=0.7)
        torch.testing.assert_close(running.exp(), literal_mean)
        assert not running.requires_grad
        expected = positives / positives.sum() - negatives * scores.exp() / negatives.sum() / literal_mean
        torch.testing.assert_close(torch.autograd.grad(value, leaf)[0], expected)
    nothing = torch.zeros_like(positives)
    value, unchanged = mine(leaf, running, positives, nothing)
    assert value == 0 and unchanged == running


@pytest.mark.parametrize("size", [1e4, -1e4, 80.0])
@pytest.mark.parametrize("name", BOUNDS)
def test_extreme_scores_stay_finite(name, size):
    positives, negatives = (torch.tensor(a) for a in ragged()[1:])
    one = torch.zeros(9, 12)
    one[3, 4] = size
    for scores in (torch.full((9, 12), size), size * torch.randn(9, 12, generator=lottery_generator()), one):
        for masks in ((positives, negatives), (negatives & (torch.arange(12) == 4), positives)):
            assert torch.isfinite(BOUNDS[name](scores, *masks))
            assert torch.isfinite(gradient(BOUNDS[name], scores, *masks)).all()


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("name", BOUNDS)
def test_empty_masks_give_zero_with_a_zero_gradient(name):
    scores, positives, negatives = (torch.tensor(a) for a in ragged())
    nothing = torch.zeros_like(positives)
    with torch.autograd.detect_anomaly(check_nan=True):
        for masks in ((positives, nothing), (nothing, negatives), (nothing, nothing)):
            for values in (scores, 1e4 * scores):
                assert BOUNDS[name](values, *masks) == 0
                assert (gradient(BOUNDS[name], values, *masks) == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", BOUNDS)
def test_half_precision_is_computed_in_float32(name, dtype):
    scores = (3 * torch.randn(6, 6, generator=lottery_generator())).to(dtype)
    assert BOUNDS[name](scores) == BOUNDS[name](scores.float()) and gradient(BOUNDS[name], scores).dtype == dtype


def gaussians(information, samples, dimensions=4, seed=0):
    """Log density ratio and log conditional density of each pair of samples of correlated Gaussians; float64."""
    correlation = math.sqrt(1 - math.exp(-2 * information / dimensions))
    noise = torch.randn(2, samples, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x, y = noise[0], correlation * noise[0] + math.sqrt(1 - correlation**2) * noise[1]
    variance = 1 - correlation**2
    log_p = -(((y[None] - correlation * x[:, None]) ** 2) / variance + math.log(2 * math.pi * variance)).sum(2) / 2
    log_marginal = -((y**2) + math.log(2 * math.pi)).sum(1) / 2
    return log_p - log_marginal, log_p


def test_with_the_best_critic_the_estimates_approach_the_truth():
    log_ratio, log_p = gaussians(2.0, 2000)
    best = {"nwj": log_ratio + 1}  # NWJ's best critic is not the others'
    estimates = {name: float(BOUNDS[name](best.get(name, log_ratio))) for name in (*ESTIMATORS, "mine", "smile, no clip")}
    assert estimates == pytest.approx(dict.fromkeys(estimates, 2.0), abs=0.1)
    assert float(interpolated(log_ratio + 1, alpha=0.01)) == pytest.approx(2.0, abs=0.1)
    assert float(infonce_known_conditional(log_p)) == pytest.approx(2.0, abs=0.1)
    assert float(leave_one_out_upper(log_p)) == pytest.approx(2.0, abs=0.1)


def test_clipping_underestimates_the_partition_function_and_so_overestimates():
    log_ratio, _ = gaussians(2.0, 2000)
    assert 2.3 < float(smile(log_ratio, clip=1.0)) < 4


def test_lower_bounds_lie_below_and_upper_bounds_above():
    truth, size, batches = 2.0, 16, 300
    drawn = [gaussians(truth, size, seed=seed) for seed in range(batches)]

    def average(function):
        return mean([float(function(scores)) for scores in drawn_scores])

    drawn_scores = [log_ratio for log_ratio, _ in drawn]
    assert average(infonce) < truth - 0.05 and average(infonce) < math.log(size)
    assert average(nwj) == pytest.approx(truth - 1 / math.e, abs=0.1)  # at a critic that is not its best
    assert average(lambda scores: nwj(scores + 1)) == pytest.approx(truth, abs=0.15)  # unbiased
    assert average(lambda scores: interpolated(scores + 1, alpha=0.1)) < truth + 0.05
    drawn_scores = [log_p for _, log_p in drawn]
    assert average(infonce_known_conditional) < truth - 0.05
    assert average(leave_one_out_upper) > truth + 0.02
    # For these Gaussians CLUB is d * rho^2 / (1 - rho^2).
    above = 4 * (math.exp(2 * truth / 4) - 1)
    assert average(club) == pytest.approx(above, abs=0.2) and above > truth
    generator = lottery_generator()
    assert average(lambda scores: club_sampled(scores, generator)) == pytest.approx(above, abs=0.3)


def test_infonce_respects_the_number_of_candidates():
    for size in (4, 16, 64):
        log_ratio, _ = gaussians(10.0, size)
        assert 0.9 * math.log(size) < float(infonce(log_ratio)) <= math.log(size)


@pytest.mark.parametrize("name", BOUNDS)
def test_shapes_that_do_not_belong_together_are_refused(name):
    mask = torch.ones(3, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"square.*\(3, 4\).*pass the mask `positives`"):
        BOUNDS[name](torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"`negatives`.*\(3, 4\), but got \(4, 3\)"):
        BOUNDS[name](torch.zeros(3, 4), mask, mask.T)
    with pytest.raises(ValueError, match=r"bool mask `positives`.*float32"):
        BOUNDS[name](torch.zeros(3, 4), mask.float(), mask)
    with pytest.raises(ValueError, match=r"floats.*int64"):
        BOUNDS[name](torch.zeros(3, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"\(N, K\).*\(3,\)"):
        BOUNDS[name](torch.zeros(3))


def test_arguments_out_of_range_are_refused():
    scores = torch.zeros(3, 3)
    for call, message in (
        (lambda: smile(scores, clip=0.0), "positive clip"),
        (lambda: interpolated(scores, alpha=1.5), "alpha in"),
        (lambda: interpolated(scores, log_baseline=torch.zeros(3, 1)), r"log_baseline \(3,\)"),
        (lambda: mine(scores, NO_MEAN_YET, decay=1.0), "decay in"),
        (lambda: mine(scores, torch.zeros(1)), "scalar log_running_mean"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_learnt_baseline_is_part_of_the_interpolated_bound():
    scores = torch.randn(5, 5, dtype=torch.float64, generator=lottery_generator())
    baseline = torch.randn(5, dtype=torch.float64, generator=lottery_generator())
    shifted = interpolated(scores + 3, alpha=0.2, log_baseline=baseline + 3)
    torch.testing.assert_close(interpolated(scores, alpha=0.2, log_baseline=baseline), shifted)
    assert interpolated(scores, alpha=0.2) != shifted


def test_the_names_and_the_public_place():
    assert list(ESTIMATORS) == ["infonce", "nwj", "dv", "jsd", "smile"]
    assert [ESTIMATORS[name] for name in ESTIMATORS] == [infonce, nwj, dv, jsd, smile]
    assert all(hasattr(estimators, name) for name in estimators.__all__)


@pytest.mark.parametrize("name", [name for name in BOUNDS if name != "club_sampled"])  # a generator needs a real device
def test_no_value_is_read_back_to_the_host(name):
    scores = torch.zeros(5, 5, device="meta", requires_grad=True)  # which has no values to read
    BOUNDS[name](scores).backward()
    assert scores.grad is not None and scores.grad.shape == (5, 5)
