"""Batch normalisation whose statistics are those of the rows of all processes, on CPUs as well as on GPUs."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cpc_rl.pretraining.distributed import SumWithGradient, world_size


class SynchronizedBatchNorm(_BatchNorm):
    """Takes the place of a ``BatchNorm1d``, ``2d`` or ``3d``, with the same parameters, buffers and results."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"Batch normalisation takes (N, C, ...), but got the shape {tuple(input.shape)}.")

    def forward(self, input: Tensor) -> Tensor:
        """
        :param input: shape ``(N, C, ...)``, the rows of this process; there may be none
        :return: the same shape
        """
        if world_size() == 1 or not (self.training or self.running_mean is None):
            return super().forward(input)
        self._check_input_dim(input)
        others = [0, *range(2, input.dim())]
        shape = [1, -1, *[1] * (input.dim() - 2)]
        value = input.float()
        sums = SumWithGradient.apply(torch.cat([value.sum(others), value.new_tensor([value.numel() / value.shape[1]])]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = value - mean.view(shape)
        # The variance after the mean, not from a sum of squares: that would cost digits.
        variance = SumWithGradient.apply(centred.square().sum(others)) / count
        self._follow(mean.detach(), variance.detach(), count)
        normalised = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics, as ``torch.nn.BatchNorm1d`` does: its variance is the unbiased one."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        step = 1 / self.num_batches_tracked.float() if self.momentum is None else self.momentum
        self.running_mean += step * (mean - self.running_mean)
        self.running_var += step * (variance * count / (count - 1).clamp(min=1) - self.running_var)


def synchronized(module: nn.Module) -> nn.Module:
    """The module with every batch normalisation in it synchronised; parameters and names stay what they are."""
    if isinstance(module, _BatchNorm) and not isinstance(module, SynchronizedBatchNorm):
        new = SynchronizedBatchNorm(
            module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
        )
        new._parameters, new._buffers, new.training = module._parameters, module._buffers, module.training
        return new
    for name, child in module.named_children():
        setattr(module, name, synchronized(child))
    return module
