import threading

import pytest
import torch
from torch import nn

from cpc_rl.momentum import momentum_copy, momentum_update


def test_the_copy_moves_exactly_as_its_formula_says():
    torch.manual_seed(0)
    online = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    target = momentum_copy(online)
    before = [p.clone() for p in target.parameters()]
    assert not any(p.requires_grad for p in target.parameters())
    for p in online.parameters():
        p.data += torch.randn_like(p)
    online(torch.randn(5, 3))
    for _ in range(2):  # a second update moves again: nothing is used up by the first
        momentum_update(target, online, 0.05)
        before = [0.95 * old + 0.05 * p.detach() for old, p in zip(before, online.parameters(), strict=True)]
        torch.testing.assert_close(list(target.parameters()), before)
    assert torch.equal(target[1].running_mean, online[1].running_mean)


@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_a_part_that_cannot_be_copied_is_named_and_the_new_kind_of_it_can():
    layer = torch.nn.utils.weight_norm(nn.Linear(3, 4))
    layer(torch.rand(2, 3))
    with pytest.raises(ValueError, match=r"Sequential keeps tensors .*parametrizations.weight_norm"):
        momentum_copy(nn.Sequential(layer))
    online = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)))
    target = momentum_copy(online)
    images = torch.rand(2, 3)
    torch.testing.assert_close(target(images), online(images))


def test_other_structures_are_refused():
    with pytest.raises(ValueError, match="structure"):
        momentum_update(nn.Linear(2, 2), nn.Linear(2, 3), 0.1)


def test_the_copy_leaves_forward_hooks_behind_and_keeps_what_makes_the_weights():
    class Watch:
        def __init__(self):
            self.seen, self.lock = 0, threading.Lock()  # which no copy can take along

        def on_forward(self, module, inputs, output):
            self.seen += 1

    watch = Watch()
    module = nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 2)), nn.ReLU())
    for part in module.modules():
        part.register_forward_hook(watch.on_forward)
    copied = momentum_copy(module)
    torch.testing.assert_close(copied.eval()(torch.ones(1, 3)), module.eval()(torch.ones(1, 3)))
    assert watch.seen == 3
    copied[0].register_forward_hook(lambda *given: None)
    assert len(module[0]._forward_hooks) == 1 and len(copied[1]._forward_hooks) == 0


def test_the_copy_takes_over_the_mode():
    online = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    target = momentum_copy(online.eval())
    online.train()
    momentum_update(target, online, 0.5)
    assert all(part.training for part in target.modules())
    online[1].eval()
    momentum_update(target, online, 0.5)
    assert [part.training for part in target.modules()] == [True, True, False]
