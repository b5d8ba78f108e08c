"""Which keys count as negatives, against literal loops."""

import math

import numpy as np
import pytest
import torch

from cpc_rl.key_queue import KeyQueue
from cpc_rl.negatives import NEGATIVES, Negatives, Origin, fingerprints, joint_fingerprints, make_negatives


def origin(seed: int, n: int) -> Origin:
    rng = np.random.default_rng(seed)
    numbers = [torch.from_numpy(rng.integers(0, high, n)) for high in (4, 6, 3)]
    return Origin(numbers[0], numbers[1], torch.ones(n, dtype=torch.bool), numbers[2])


def loop_allowed(rules: Negatives, anchors: Origin, keys: Origin, target: int, i: int, j: int) -> bool:
    same = anchors.episode[i] == keys.episode[j]
    if rules.source == "same_trajectory" and not same:
        return False
    if rules.source == "other_trajectories" and same:
        return False
    with_positive = keys.episode[j] == keys.episode[target]
    if with_positive and abs(int(keys.step[j]) - int(keys.step[target])) <= rules.exclude_near:
        return False
    return not (rules.mask_duplicates and keys.fingerprint[j] == keys.fingerprint[target])


@pytest.mark.parametrize("source", ["batch", "queue", "same_trajectory", "other_trajectories"])
@pytest.mark.parametrize(("near", "duplicates"), [(0, False), (2, False), (0, True), (1, True)])
def test_allowed_negatives_equal_a_literal_loop(source, near, duplicates):
    rules = Negatives(source, exclude_near=near, mask_duplicates=duplicates)
    anchors, keys = origin(0, 12), origin(1, 30)
    targets = torch.from_numpy(np.random.default_rng(2).integers(0, 30, 12))
    allowed = rules.allowed(anchors, keys, targets)
    expected = [[loop_allowed(rules, anchors, keys, int(targets[i]), i, j) for j in range(30)] for i in range(12)]
    assert allowed.tolist() == expected
    assert rules.unrestricted == (source == "batch" and not near and not duplicates)


def test_the_positives_own_frame_is_no_negative_wherever_it_is_held_again():
    """PPO's epochs fill a queue with the same frames again and again."""
    keys = Origin(torch.tensor([0, 0, 0, 1]), torch.tensor([3, 3, 4, 3]), torch.ones(4, dtype=torch.bool), torch.zeros(4))
    for source, expected in [("queue", [[False, False, True, True]]), ("same_trajectory", [[False, False, True, False]])]:
        anchors = Origin(*(column[:1] for column in keys))
        assert Negatives(source).allowed(anchors, keys, torch.tensor([0])).tolist() == expected


def test_windows_of_a_trajectory_are_as_many_as_the_source_needs():
    assert Negatives("same_trajectory", exclude_near=1) == make_negatives({"source": "same_trajectory", "exclude_near": 1})
    assert [make_negatives({"source": source}).per_trajectory for source in ("same_trajectory", "batch", "queue")] == [8, 1, 1]
    assert make_negatives({"source": "same_trajectory", "per_trajectory": 1}).per_trajectory == 1
    assert make_negatives("same_trajectory") == make_negatives({"source": "same_trajectory"})


@pytest.mark.parametrize("mining", ["hard", "semi_hard"])
@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_mined_negatives_equal_a_literal_loop(mining, share):
    rng = np.random.default_rng(3)
    scores = torch.from_numpy(rng.permutation(15 * 20).reshape(15, 20).astype(np.float32))
    targets = torch.from_numpy(rng.integers(0, 20, 15))
    scores[0, targets[0]] = -1  # every negative scores above this positive
    negatives = torch.from_numpy(rng.random((15, 20)) < 0.7)
    negatives[torch.arange(15), targets] = False
    negatives[4] = False  # a row without any
    mined = Negatives(mining=mining, share=share).mined(scores, targets, negatives)
    for i in range(15):
        may = [j for j in range(20) if negatives[i, j]]
        if mining == "semi_hard" and may:
            below = [j for j in may if scores[i, j] < scores[i, targets[i]]]
            may = below or [min(may, key=lambda j: scores[i, j])]
        may.sort(key=lambda j: -scores[i, j])
        # in float32, as the module counts them
        kept = may[: math.ceil(np.float32(len(may)) * np.float32(share))]
        assert mined[i].nonzero().flatten().tolist() == sorted(kept)
    assert mined[0].any() and not mined[4].any()


def test_names_mappings_and_what_makes_no_sense():
    assert all(make_negatives(name) is rules for name, rules in NEGATIVES.items())
    assert make_negatives({"mining": "hard", "share": 0.5}) == Negatives(mining="hard", share=0.5)
    assert make_negatives("same_trajectory").per_trajectory == 8
    for bad, said in [
        ("bach", "same_trajectory"),
        ({"sauce": "batch"}, "its keywords are source"),
        ({"source": "moon"}, "one of batch"),
        ({"mining": "easy"}, "'semi_hard'"),
        ({"share": 0.0}, "above 0"),
        ({"exclude_near": -1}, "at least 0"),
        ({"queue_size": 0}, "at least 0, 1 and 1"),
    ]:
        with pytest.raises(ValueError, match=said):
            make_negatives(bad)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_fingerprints_are_equal_exactly_for_equal_images(dtype):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (300, 3, 5, 7), generator=generator, dtype=torch.uint8).to(dtype)
    images[1] = images[0]
    images[2] = images[0].flip(2)  # the same pixels elsewhere
    images[3] = images[0]
    images[3, 2, 4, 6] += 1  # one pixel differs, by one
    images[4:200] = 0
    images[5:200].flatten(1)[torch.arange(195), torch.arange(195) % 105] = 1  # blank but for one pixel
    prints = fingerprints(images).tolist()
    flat = [tuple(image.flatten().tolist()) for image in images]
    assert all((prints[i] == prints[j]) == (flat[i] == flat[j]) for i in range(300) for j in range(i))
    assert fingerprints(images[7:9]).tolist() == prints[7:9]


def test_joint_fingerprints_tell_which_entry_holds_which_image():
    left, right = torch.randint(0, 256, (2, 5, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    right[3] = left[3]
    both, swapped = joint_fingerprints([left, right]), joint_fingerprints([right, left])
    assert torch.equal(joint_fingerprints([left]), fingerprints(left))
    assert torch.equal(both, joint_fingerprints([left.clone(), right.clone()]))
    assert (both == swapped).tolist() == [False, False, False, True, False]


def test_the_queue_is_first_in_first_out_and_survives_save_and_load():
    queue = KeyQueue(5, 2)
    assert not queue.origin.valid.any()
    held: list[float] = []
    for number, size in enumerate((2, 2, 4, 7)):
        keys = torch.arange(size * 2, dtype=torch.float32).view(size, 2) + 100 * number
        place = torch.arange(size) + 1000 * number
        queue.enqueue(keys, Origin(place, place + 1, place % 2 == 0, place + 2))
        held = (held + place.tolist())[-5:]
        known = queue.episode[: min(5, len(held))].tolist()
        assert sorted(known) == sorted(held)
        row = queue.episode.tolist().index(place[-1])
        assert queue.keys[row].tolist() == keys[-1].tolist() and int(queue.step[row]) == int(place[-1]) + 1
        assert bool(queue.valid[row]) == (int(place[-1]) % 2 == 0) and int(queue.fingerprint[row]) == int(place[-1]) + 2
    again = KeyQueue(5, 2)
    again.load_state_dict(queue.state_dict())
    for one in (queue, again):
        one.enqueue(torch.full((3, 2), 9.0), Origin(*(torch.full((3,), n, dtype=t.dtype) for n, t in enumerate(one.origin))))
    assert all(torch.equal(a, b) for a, b in zip(queue.state_dict().values(), again.state_dict().values(), strict=True))
