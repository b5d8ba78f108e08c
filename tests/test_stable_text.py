"""Settings are known again in another process, also where they hold functions and objects that lie elsewhere there."""

import functools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cpc_rl import ContrastiveCallback
from cpc_rl.negatives import Negatives
from cpc_rl.stable_text import stable_text
from tests.algorithms import ALGORITHMS, make_model


def mirrored(images, generator=None):
    return images.flip(3)


class Shift:
    """An augmentation whose ``repr`` is Python's own."""

    def __init__(self, by=1, inner=None):
        self.by, self.inner, self.mine = by, inner, self

    def __call__(self, images, generator=None):
        return images.roll(self.by, 3)

    def once(self, images, generator=None):
        return self(images)


def things():
    """Each made anew by every call, so that it lies elsewhere."""
    return [
        mirrored,
        lambda images, generator=None: images,
        Shift(),
        Shift(2, [mirrored, {"a": Shift(3)}]),
        Shift(4).once,
        functools.partial(mirrored, generator=Shift(5)),
        (Shift(6), {Shift(7), Shift(8)}),
        torch.flip,
        object(),
        np.random.default_rng(0),
    ]


def test_two_of_a_kind_have_one_text_and_others_have_others():
    kept = things(), things()
    first, second = ([stable_text(thing) for thing in made] for made in kept)
    assert first == second and len(set(first)) == len(first)
    assert not any(" at 0x" in text for text in first)


def test_another_process_gives_the_same_texts():
    code = "from tests.test_stable_text import *; print(json.dumps([stable_text(thing) for thing in things()]))"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [stable_text(thing) for thing in things()]


@pytest.mark.parametrize(
    "thing", [Negatives("queue"), np.zeros(2), torch.ones(2), torch.nn.ReLU(), Negatives, np.float32(1), math.inf, {3}, ()]
)
def test_what_has_a_text_without_an_address_keeps_it(thing):
    assert stable_text(thing) == repr(thing)


@pytest.mark.parametrize("augment", [lambda: mirrored, lambda: Shift(2, Shift(3))])
def test_a_head_with_an_augmentation_of_ones_own_goes_on_after_a_load(augment, tmp_path, recwarn):
    model, callback = make_model("PPO"), ContrastiveCallback("curl", {"augment": augment()}, batch_size=8)
    model.learn(32, callback=callback)
    model.save(tmp_path / "model.zip")
    loaded = ALGORITHMS["PPO"].load(tmp_path / "model.zip", env=model.get_env())
    again = ContrastiveCallback("curl", {"augment": augment()}, batch_size=8)
    loaded.learn(32, callback=again)
    assert again.heads["shared"].steps == 2 * callback.heads["shared"].steps > 0
    assert not [warning for warning in recwarn if "other settings" in str(warning.message)]
    with pytest.warns(UserWarning, match="other settings"):
        loaded.learn(32, callback=ContrastiveCallback("curl", {"augment": Shift(9)}, batch_size=8))
