"""The first-in-first-out queue of keys of MoCo (He et al. 2020, section 3.1), as buffers that are saved with the head."""

import torch
from torch import Tensor, nn

from cpc_rl.negatives import Origin


class KeyQueue(nn.Module):
    """
    The newest ``size`` keys, with where they come from. Places that were never filled are not valid.

    :param size: number of keys
    :param dim: length of a key
    """

    keys: Tensor
    episode: Tensor
    step: Tensor
    valid: Tensor
    fingerprint: Tensor
    next_place: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(size, dim))
        for name in ("episode", "step", "fingerprint"):
            self.register_buffer(name, torch.zeros(size, dtype=torch.int64))
        self.register_buffer("valid", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("next_place", torch.zeros((), dtype=torch.int64))

    @property
    def origin(self) -> Origin:
        """Where the keys come from."""
        return Origin(self.episode, self.step, self.valid, self.fingerprint)

    @torch.no_grad()
    def enqueue(self, keys: Tensor, origin: Origin) -> None:
        """
        Put keys in, over the oldest ones. Such as are not finite count as none.

        :param keys: shape ``(N, dim)``; of more than the queue holds, the last count
        :param origin: of these keys
        """
        size = len(self.keys)
        whole = torch.isfinite(keys).all(dim=1)  # others would be in the way until they have left
        keys, origin = torch.where(whole[:, None], keys, 0.0), origin._replace(valid=origin.valid & whole)
        places = (self.next_place + torch.arange(len(keys), device=keys.device))[-size:] % size
        self.keys[places] = keys[-size:].to(self.keys.dtype)
        for name in Origin._fields:
            getattr(self, name)[places] = getattr(origin, name)[-size:]
        self.next_place.add_(len(keys)).remainder_(size)
