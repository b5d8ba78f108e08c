"""The run's TensorBoard log: one event folder, continued without a seam."""

import time
from numbers import Real
from pathlib import Path

from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from torch.utils.tensorboard import SummaryWriter


class ContinuedTensorBoard(TensorBoardOutputFormat):
    """
    Stable-Baselines3's TensorBoard writer, which can go on where a checkpoint was made.

    :param folder: of the event files
    :param purge_step: what a TensorBoard that is watching has already read from this step on is to be forgotten
    """

    def __init__(self, folder: str, purge_step: int | None = None):
        self.writer = SummaryWriter(log_dir=folder, purge_step=purge_step)
        self._is_closed = False


def make_logger(folder: Path, purge_step: int | None = None) -> Logger:
    """A logger that writes to TensorBoard and nothing else: the terminal's one line is the progress bar's."""
    # TensorBoard reads a folder's files by name, and a name tells the second: the file that goes on has to come last.
    while any(file.name.split(".")[3] >= f"{int(time.time()):010d}" for file in folder.glob("events.out.tfevents*")):
        time.sleep(0.05)
    return Logger(str(folder), [ContinuedTensorBoard(str(folder), purge_step)])


def write_scalars(logger: Logger, scalars: dict[str, float], step: int) -> None:
    """Write values at once, and leave what the logger has gathered for its own next dump."""
    for output in logger.output_formats:
        if isinstance(output, TensorBoardOutputFormat):
            for tag, value in scalars.items():
                output.writer.add_scalar(tag, value, step)
            output.writer.flush()


def pending_scalars(logger: Logger) -> dict[str, float]:
    """Numbers that were recorded and not dumped yet."""
    return {tag: float(value) for tag, value in logger.name_to_value.items() if isinstance(value, Real)}


def restore_pending(logger: Logger, pending: dict[str, float]) -> None:
    """Record them again."""
    for tag, value in pending.items():
        logger.record(tag, value)
