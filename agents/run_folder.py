"""A run's folder: what lies where, and who may write there."""

import csv
import fcntl
import json
import os
import shutil
import time
from pathlib import Path
from typing import IO, Any

import yaml

from agents.configuration import RunConfiguration
from agents.errors import Busy, UserError
from agents.files import WRITING, flush_to_disk, write_text

COLUMNS = ("timesteps", "mean_return", "std_return", "episodes", "wall_seconds")
EVENTS = "events.out.tfevents*"
LOCK = ".lock"


class RunFolder:
    """
    ``<log-dir>/<env>/<algo>-<arm>/seed-<n>/``.

    :param path: the folder, which need not exist
    """

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.yaml"
        self.evaluations = path / "evaluations.csv"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model.zip"
        self.encoder = path / "encoder.safetensors"
        self.video = path / "video.mp4"
        self.curve = path / "curve.png"
        self.results = path / "results.json"
        self.replaced = path.with_name(f".replaced-{path.name}")  # the run that was here before, until the new one has begun
        self._lock: IO[str] | None = None

    @staticmethod
    def of(log_dir: Path, configuration: RunConfiguration) -> "RunFolder":
        """The folder that a configuration's run has under ``log_dir``."""
        run = f"{configuration.recipe.algorithm}-{configuration.arm}"
        name = configuration.env.replace("/", "-").replace(":", "-")
        return RunFolder(log_dir / name / run / f"seed-{configuration.seed}")

    def is_there(self) -> bool:
        """
        Whether a run lies here.

        :raises UserError: something else does
        """
        if self.path.is_dir():
            if self.config.is_file():
                return True
            if all(item.name.startswith(".") for item in self.path.iterdir()):
                return False  # nothing, or what a run left that was killed before it began
        elif not self.path.exists():
            return False
        raise UserError(f"{self.path} is not a run folder: it has no config.yaml; move it away or choose another --log-dir.")

    def read_configuration(self) -> RunConfiguration:
        """
        The configuration of the run that lies here.

        :raises UserError: there is none, or it cannot be read
        """
        if not self.config.is_file():
            raise UserError(f"{self.path} is not a run folder: it has no config.yaml.")
        try:
            content = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError(f"{self.config} cannot be read: {' '.join(str(error).split())}.") from None
        return RunConfiguration.from_dict(content.get("run") if isinstance(content, dict) else None, str(self.config))

    def check_same(self, configuration: RunConfiguration) -> None:
        """
        See that the run that lies here is a configuration's.

        :raises UserError: it is another one's, or cannot be read
        """
        differences = configuration.differences(self.read_configuration())
        if differences:
            more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
            raise UserError(
                f"{self.path} holds a run with another configuration: {differences[0]}{more}; "
                "--overwrite replaces it, another --log-dir keeps both."
            )

    def check_replaceable(self) -> None:
        """
        See that what lies here is a run, even a damaged one or another version's.

        :raises UserError: it may as well be something else
        """
        try:
            self.read_configuration()
        except UserError as error:
            own = {file.name for file in self._files()} | {self.config.name, self.checkpoints.name, LOCK}
            foreign = sorted({item.name for item in self.path.iterdir() if not item.name.startswith(WRITING)} - own)
            if foreign:
                raise UserError(
                    f"{self.path} may be more than a run, for {foreign[0]} is no file of a run's and "
                    f"{str(error).rstrip('.')}; move it away and --overwrite replaces the rest."
                ) from None

    def read_results(self) -> dict[str, Any] | None:
        """What the finished run reached; ``None`` while it is not finished."""
        try:
            return json.loads(self.results.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UserError(f"{self.results} cannot be read: {error}; remove it and the run is finished again.") from None

    def lock(self, patience: float = 0.0) -> None:
        """
        Keep other processes out until this one ends, however it ends.

        :param patience: seconds to wait for another one's end
        :raises Busy: another one is at work here
        :raises UserError: the disk has no locks
        """
        if self._lock is not None:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        lock = open(self.path / LOCK, "w")  # the lock lasts as long as the file is open
        try:
            self._wait_for(lock, fcntl.LOCK_EX, patience)
        except UserError:
            lock.close()
            raise
        self._lock = lock

    def check_free(self, patience: float = 0.0) -> None:
        """
        See that no other process is at work here, without keeping any out or making anything.

        :param patience: seconds to wait for another one's end
        :raises Busy: one is
        :raises UserError: the disk has no locks
        """
        if self._lock is not None:
            return
        try:
            lock = open(self.path / LOCK)
        except FileNotFoundError:
            return
        with lock:
            self._wait_for(lock, fcntl.LOCK_SH, patience)

    def _wait_for(self, lock: IO[str], kind: int, patience: float) -> None:
        """Take the lock, of ``fcntl``'s kind, or say that another process has it."""
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= end:
                    problem = f"Another process is training in {self.path}; wait for it, or choose another --log-dir."
                    raise Busy(problem) from None
                time.sleep(0.2)
            except OSError as error:  # as on some network disks
                raise UserError(
                    f"{self.path} cannot be locked ({error.strerror}), so that two processes could train in it at once: "
                    "choose a --log-dir on a disk that has locks."
                ) from None

    def unlock(self) -> None:
        """Let others in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def start(self, content: dict[str, Any]) -> None:
        """
        Make this the folder of a run that begins, without anything of an earlier one.

        :param content: what ``config.yaml`` will hold, ``run`` and whatever else
        """
        self.sweep()
        write_text(self.config, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))
        for item in self._files():
            item.unlink(missing_ok=True)
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        self.checkpoints.mkdir()
        write_text(self.evaluations, ",".join(COLUMNS) + "\n")

    def _files(self) -> list[Path]:
        """What a run writes here besides its configuration and its checkpoints, there or not."""
        single = [self.evaluations, self.results, self.model, self.encoder, self.video, self.curve]
        return [*single, *self.path.glob(EVENTS)]

    def sweep(self) -> None:
        """Remove what was being written when the run was killed."""
        for folder in (self.path, self.checkpoints):
            for item in folder.glob(".*"):
                if item.is_dir():
                    shutil.rmtree(item)
                elif item.name != LOCK:
                    item.unlink()

    def move_aside(self) -> None:
        """Rename the run that lies here and lock the new, empty folder; who replaces the run removes it in the end."""
        aside = self.replaced
        if aside.exists():
            shutil.rmtree(aside)
        os.replace(self.path, aside)
        self.unlock()
        self.lock()

    def add_evaluation(self, row: dict[str, float]) -> None:
        """Append a row to ``evaluations.csv``."""
        with open(self.evaluations, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
        flush_to_disk(self.evaluations)

    def read_evaluations(self) -> list[dict[str, float]]:
        """All rows, oldest first."""
        with open(self.evaluations, encoding="utf-8", newline="") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]

    def log_lengths(self) -> dict[str, int]:
        """Length in bytes of ``evaluations.csv`` and of each event file."""
        return {file.name: file.stat().st_size for file in (self.evaluations, *sorted(self.path.glob(EVENTS)))}

    def cut_logs(self, lengths: dict[str, int]) -> None:
        """
        Take back what was logged after :meth:`log_lengths` gave these lengths.

        :raises UserError: a file is shorter than that, or missing
        """
        for name, length in lengths.items():
            file = self.path / name
            if not file.is_file() or file.stat().st_size < length:
                raise UserError(
                    f"{file} is shorter than at the newest checkpoint, so it cannot be resumed; --overwrite starts anew."
                )
        for file in self.path.glob(EVENTS):
            if file.name not in lengths:
                file.unlink()
        for name, length in lengths.items():
            os.truncate(self.path / name, length)
