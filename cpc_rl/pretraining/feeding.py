"""Batches of recorded windows on the way to a learner: read by all processes, whole in each."""

from collections.abc import Iterator

from torch import Tensor

from cpc_rl.pretraining.batches import Batch, EpisodeBatches, frame_by_frame
from cpc_rl.pretraining.distributed import gather_rows, rank, share, world_size
from cpc_rl.pretraining.episodes import Episodes
from cpc_rl.pretraining.opening import Data
from cpc_rl.pretraining.training import Learner
from cpc_rl.sampling import Windows


def batches(learner: Learner, data: Data, first: int) -> Iterator[Batch]:
    """The batches from number ``first`` on: of each, the rows that this process reads, or of a replay buffer all."""
    settings = learner.training
    if not isinstance(data, Episodes):
        return data.stream(
            first,
            settings.steps,
            batch_size=settings.batch_size,
            horizon=learner.horizon,
            per_trajectory=learner.per_trajectory,
            seed=settings.seed,
        )
    rows = share(settings.batch_size, rank(), world_size())
    batches = EpisodeBatches(data, settings.batch_size, learner.horizon, learner.per_trajectory, settings.seed, rows)
    return batches.stream(first, settings.steps, settings.workers, pin=learner.device.type == "cuda")


def check_windows(learner: Learner, data: Data) -> None:
    """
    To be asked before anything is read for another purpose, in fewer windows.

    :raises ValueError: if the data holds fewer windows than a batch of the training, or such a batch cannot be read
    """
    settings = learner.training
    if isinstance(data, Episodes):
        try:
            EpisodeBatches(data, settings.batch_size, learner.horizon, learner.per_trajectory, settings.seed)
        except ValueError as error:
            if not data.skipped:
                raise
            what = f"Skipped were {len(data.skipped)} files or episodes, the first: {data.skipped[0]}"
            raise ValueError(f"{error} {what}") from None
    else:
        next(batches(learner, data, settings.steps - 1))


def whole_batch(windows: Windows, learner: Learner, divided: bool) -> Windows:
    """
    The batch on the device, with the rows of all processes.

    :param divided: whether the windows are the rows of this process alone
    """

    def whole(part: Tensor) -> Tensor:
        moved = part.to(learner.device, non_blocking=True)
        return gather_rows(moved, learner.training.batch_size) if divided else moved

    images = windows.observations
    observations = {key: whole(part) for key, part in images.items()} if isinstance(images, dict) else whole(images)
    gathered = Windows(observations, *(whole(column) for column in windows[1:]))
    return frame_by_frame(gathered) if divided and world_size() > 1 else gathered
