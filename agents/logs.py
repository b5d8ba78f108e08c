"""The run's TensorBoard log: one event folder, continued without a seam."""

import sys
import time
from numbers import Real
from pathlib import Path

from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from torch.utils.tensorboard import SummaryWriter

PATIENCE = 2.0  # seconds to wait for a name of its own, and no longer: clocks may differ by hours


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
    stamps = [stamp for file in folder.glob("events.out.tfevents.*") if (stamp := file.name.split(".")[3]).isdecimal()]
    behind = max(map(int, stamps), default=0) + 1 - time.time()
    if 0 < behind <= PATIENCE:
        time.sleep(behind)
    elif behind > 0:  # on another machine than before
        print(
            f"The clock of this machine is {behind:,.0f} seconds behind the one by which {folder} was written so far: "
            "TensorBoard may show what is logged from here on before it.",
            file=sys.stderr,
        )
    return Logger(str(folder), [ContinuedTensorBoard(str(folder), purge_step)])


def write_scalars(logger: Logger, scalars: dict[str, float], step: int) -> None:
    """Write values at once, and leave what the logger has gathered for its own next dump."""
    for output in logger.output_formats:
        if isinstance(output, TensorBoardOutputFormat):
            for tag, value in scalars.items():
                output.writer.add_scalar(tag, value, step)
            output.writer.flush()


def pending_scalars(logger: Logger) -> dict[str, float]:
    """Numbers that were recorded for TensorBoard and not dumped yet."""
    numbers = {tag: float(value) for tag, value in logger.name_to_value.items() if isinstance(value, Real)}
    return {tag: value for tag, value in numbers.items() if "tensorboard" not in (logger.name_to_excluded.get(tag) or ())}


def restore_pending(logger: Logger, pending: dict[str, float]) -> None:
    """Record them again."""
    for tag, value in pending.items():
        logger.record(tag, value)
