"""Models of what an action does to a latent state, as SPR rolls them forward."""

import torch
from torch import Tensor, nn

from cpc_rl.nets import tempered


def renormalized(latents: Tensor) -> Tensor:
    """
    Each sample's latents moved and scaled to [0, 1], as Schrittwieser et al. 2020 (MuZero) do it.

    :param latents: shape ``(N, ...)``, float; a constant one becomes 0
    :return: the same shape
    """
    flat = latents.flatten(1)
    seen = flat.detach()
    flat = tempered(flat, seen.amax(dim=1, keepdim=True) - seen.amin(dim=1, keepdim=True))
    low, high = flat.amin(dim=1, keepdim=True), flat.amax(dim=1, keepdim=True)
    return ((flat - low) / (high - low).clamp(min=1e-5)).view_as(latents)


class MapTransition(nn.Module):
    """
    Two 3 x 3 convolutions over a feature map, with every entry of the action as a plane of its own.

    :param channels: of the feature map
    :param action_dim: number of entries of an action
    :param hidden_dim: channels between the convolutions; those of the map if ``None``
    """

    def __init__(self, channels: int, action_dim: int, hidden_dim: int | None = None) -> None:
        super().__init__()
        hidden = hidden_dim or channels
        self.layers = nn.Sequential(
            nn.Conv2d(channels + action_dim, hidden, 3, padding=1),
            nn.ReLU(),
            nn.GroupNorm(1, hidden),
            nn.Conv2d(hidden, channels, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """
        :param latents: shape ``(N, channels, h, w)``, in [0, 1]
        :param actions: shape ``(N, action_dim)``
        :return: the next latents, same shape, in [0, 1]
        """
        planes = actions[:, :, None, None].expand(-1, -1, *latents.shape[2:])  # (N, A, h, w)
        return renormalized(self.layers(torch.cat([latents, planes], dim=1)))


class VectorTransition(nn.Module):
    """
    The same with linear layers over a feature vector.

    :param dim: of the vector
    :param action_dim: number of entries of an action
    :param hidden_dim: of the hidden layer; that of the vector if ``None``
    """

    def __init__(self, dim: int, action_dim: int, hidden_dim: int | None = None) -> None:
        super().__init__()
        hidden = hidden_dim or dim
        self.layers = nn.Sequential(
            nn.Linear(dim + action_dim, hidden), nn.ReLU(), nn.LayerNorm(hidden), nn.Linear(hidden, dim), nn.ReLU()
        )

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """
        :param latents: shape ``(N, dim)``, in [0, 1]
        :param actions: shape ``(N, action_dim)``
        :return: the next latents, same shape, in [0, 1]
        """
        return renormalized(self.layers(torch.cat([latents, actions], dim=1)))
