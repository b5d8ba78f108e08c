"""Where in a features extractor its feature map comes out."""

from collections import Counter
from itertools import pairwise

from torch import nn

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh)


def map_module(extractor: nn.Module) -> nn.Module:
    """
    The module whose output is the feature map: ``cnn`` of this package's extractors; in any other one the last convolution, or
    the activation that directly follows it (as in Stable-Baselines3's ``NatureCNN``).

    :raises ValueError: if there is no convolution
    """
    cnn = getattr(extractor, "cnn", None)
    if callable(getattr(extractor, "feature_map", None)) and isinstance(cnn, nn.Module):
        return cnn
    convolutions = [m for m in extractor.modules() if isinstance(m, nn.Conv2d)]
    if not convolutions:
        raise ValueError(
            f"{type(extractor).__name__} has no convolution, so it has no feature map; an objective that reads one needs a "
            "convolutional extractor."
        )
    last = convolutions[-1]
    uses = Counter(id(m) for _, m in extractor.named_modules(remove_duplicate=False))
    for parent in extractor.modules():
        children = list(parent.children()) if isinstance(parent, nn.Sequential) else []
        for module, following in pairwise(children):
            # An activation that is used in several places would be caught at the last of them.
            if module is last and isinstance(following, ACTIVATIONS) and uses[id(following)] == 1:
                return following
    return last
