"""Representations from recorded images, without a reward: data, the training loop, and several processes at it."""

from cpc_rl.pretraining.image_episodes import ImageEpisodes
from cpc_rl.pretraining.loop import Pretrained, pretrain
from cpc_rl.pretraining.minari_episodes import MinariEpisodes
from cpc_rl.pretraining.opening import open_dataset
from cpc_rl.pretraining.replay import ReplayData
from cpc_rl.pretraining.training import Training

__all__ = ["ImageEpisodes", "MinariEpisodes", "Pretrained", "ReplayData", "Training", "open_dataset", "pretrain"]
