"""Features that the algorithm's own update has already computed, for a head to use instead of passes of its own."""

from typing import NamedTuple

from torch import Tensor


class Shared(NamedTuple):
    """For a batch of ``B`` windows, in their order."""

    anchors: Tensor
    """``(B, F)`` features of frame 0 as the algorithm's loss got them; a gradient here becomes part of its backward pass."""
    next_keys: Tensor | None
    """``(B, F)`` features of frame 1 without gradient, from the target network (CrossQ: its own), or ``None``. Those of a
    window whose frame 1 lies beyond the trajectory mean nothing."""
