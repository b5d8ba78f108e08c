"""``pretrain``: an encoder from recorded images alone, without a reward."""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import distributed

from cpc_rl.encoder import IMAGE
from cpc_rl.encoding import write_encoder
from cpc_rl.interrupts import interruptible
from cpc_rl.monitor import Monitors
from cpc_rl.pretraining.checkpoints import load_checkpoint, save_checkpoint
from cpc_rl.pretraining.distributed import any_process, processes, rank, world_size
from cpc_rl.pretraining.episodes import Episodes
from cpc_rl.pretraining.extractor_choice import extractor_class
from cpc_rl.pretraining.feeding import batches, check_windows, whole_batch
from cpc_rl.pretraining.opening import Data, open_dataset, stacked
from cpc_rl.pretraining.reporting import progress_line, say, write_probe_report
from cpc_rl.pretraining.sharded_encoder import ShardedEncoder
from cpc_rl.pretraining.signature import signature
from cpc_rl.pretraining.training import Learner, Training, stem
from cpc_rl.settings import Choice, HeadSettings
from cpc_rl.windows import shorten

STOPPING = "Stopping at the end of this step; Ctrl-C again stops at once."


class Pretrained(NamedTuple):
    """What a pre-training ends with."""

    encoder: Path
    """``encoder.safetensors``, for :func:`cpc_rl.load_encoder`."""
    skipped: list[str]
    """What of the data was damaged or, beginning with ``not probed:``, lacked the labels of the rest; one text each, in every
    process all of it."""
    report: Path | None
    """``probe.json``, if the data was recorded with labels; the first process has it."""


def pretrain(
    dataset: Data | str | os.PathLike,
    objective: Choice | Mapping[Choice, float] = "cpc",
    extractor: str | type[BaseFeaturesExtractor] = "nature",
    *,
    out: str | os.PathLike,
    frame_stack: int = 1,
    objective_kwargs: Mapping[str, Any] | None = None,
    extractor_kwargs: Mapping[str, Any] | None = None,
    device: torch.device | str = "auto",
    verbose: int = 1,
    **training: Any,
) -> Pretrained:
    """
    Train an encoder on recorded images, with the objectives, augmentations and windows that train beside an agent.

    Writes ``encoder.safetensors``, TensorBoard's events and ``checkpoint.pt`` into ``out``, and if the data has labels
    ``probe.json``, what linear probes read off the trained and the untrained encoder. A run that was interrupted goes on
    from its checkpoint when it is called again, in one process bit for bit; Ctrl-C lets it write one. Under ``torchrun`` all
    processes work at one training; its results are those of one process but for rounding, whatever their number (dropout in
    the extractor aside, which each process draws for its own rows).

    :param dataset: see :func:`cpc_rl.pretraining.open_dataset`
    :param objective: see :class:`cpc_rl.ContrastiveCallback`
    :param extractor: a name (``"nature"``, ``"data_efficient"``, ``"impala"``, ``"drq"``, ``"vit"``), or any class of features
        extractors of images. Dict observations get one for each image entry
    :param out: folder of the run
    :param frame_stack: recorded frames in an observation, as an agent with ``VecFrameStack`` sees them
    :param objective_kwargs: see :class:`cpc_rl.ContrastiveCallback`
    :param extractor_kwargs: of the extractor, besides the space
    :param device: ``"auto"``: a GPU, under torchrun the one of the process's local rank, if there is one
    :param verbose: 1 to print a line with each entry in TensorBoard, and how many episodes were skipped or not probed
    :param training: see :class:`cpc_rl.pretraining.Training`
    :raises ValueError: if a setting makes no sense, the data cannot be read or lacks what the objective needs
    :raises KeyboardInterrupt: after Ctrl-C, at the end of the step that it came in, with a checkpoint; a second one raises at
        once
    """
    _check_main()
    settings, out = Training(**training), Path(out)
    choice = HeadSettings(objective=objective, objective_kwargs=objective_kwargs)
    make, keywords = extractor_class(extractor), dict(extractor_kwargs or {})
    device = _device(device)
    if settings.precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ValueError("precision is 'bf16', but this GPU does not compute in bfloat16: use 'float32'.")
    data = stacked(open_dataset(dataset), frame_stack)
    with processes(device):
        encoder = _encoder(data.observation_space, make, keywords, settings, device)
        learner = Learner(encoder, choice, data.action_space, settings)
        check_windows(learner, data)
        identity = signature(choice, learner, make, keywords, data, frame_stack)
        out.mkdir(parents=True, exist_ok=True)
        state = load_checkpoint(out / "checkpoint.pt", identity)
        first = 0
        if state is not None:
            learner.load_state_dict(state["learner"])
            first = state["step"]
            if first == settings.steps and verbose:
                say(f"The training in {out} is finished already, and nothing of it is done again.")
        skipped = _train(learner, data, first, out, identity, verbose)
        file = out / "encoder.safetensors"
        if rank() == 0:
            write_encoder(stem(encoder), file, keywords=keywords, observation_space=data.observation_space)
        if world_size() > 1:
            distributed.barrier()
    report = None
    if world_size() > 1 or int(os.environ.get("RANK", "0")) == 0:  # all processes of a group that the caller goes on with
        if skipped and verbose:
            say(f"{len(skipped)} damaged files or episodes were skipped.")
        if settings.probe_frames > 0 and isinstance(data, Episodes):
            fresh = _encoder(data.observation_space, make, keywords, settings, device)
            report, without = write_probe_report({"trained": encoder, "untrained": fresh}, data, settings, out, verbose)
            skipped += [f"not probed: {text}" for text in without]
    return Pretrained(file, skipped, report)


def _check_main() -> None:
    """
    See that this is not one of the processes that read data, on its way through the user's script: it would train once more.

    :raises RuntimeError: it is
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as the standard library tells it
        raise RuntimeError(
            "A process that reads the data has come upon pretrain() in the script that started it, and would train once more. "
            'Let what the script does stand under if __name__ == "__main__":, or give pretrain() workers=0.'
        )


def _train(learner: Learner, data: Data, first: int, out: Path, identity: str, verbose: int) -> list[str]:
    settings = learner.training
    monitors = Monitors(list(learner.objectives)).by_name
    skipped = dict.fromkeys(data.skipped)
    for text in skipped:
        say(f"skipped: {text}")
    with _logger(out) as logger, interruptible(STOPPING) as request:
        since, at = time.perf_counter(), first
        for step, batch in enumerate(batches(learner, data, first), start=first):
            for text in batch.skipped:
                if text not in skipped:
                    print(f"skipped: {text}", file=sys.stderr, flush=True)  # whichever process came upon it
                skipped[text] = None
            windows = whole_batch(batch.windows, learner, isinstance(data, Episodes))
            metrics = learner.step(windows, step)
            for name, objective in learner.objectives.items():
                monitors[name].add(metrics[name], shorten(windows, objective.horizon))
            done = step + 1
            if done % settings.log_every == 0 or done == settings.steps:
                for name, monitor in monitors.items():
                    monitor.flush(logger, learner.encoder, learner.objectives[name], done)
                logger.record("pretrain/learning_rate", learner.optimizer.param_groups[0]["lr"])
                logger.record("pretrain/windows_per_second", (done - at) * settings.batch_size / (time.perf_counter() - since))
                since, at = time.perf_counter(), done
                if verbose:
                    say(progress_line(done, settings.steps, logger.name_to_value))
                logger.dump(done)
            stop = any_process(request.made, learner.device)
            if rank() == 0 and (done % settings.checkpoint_every == 0 or done == settings.steps or stop):
                state = {"signature": identity, "step": done, "learner": learner.state_dict()}
                save_checkpoint(state, out / "checkpoint.pt")
            if stop:
                if world_size() > 1:
                    distributed.barrier()  # a launcher may end all when one has ended, and the first one is still writing
                raise KeyboardInterrupt(f"stopped after step {done} of {settings.steps}")
        if any_process(request.made, learner.device):  # while the last checkpoint was written
            raise KeyboardInterrupt(f"stopped after step {settings.steps} of {settings.steps}")
    if world_size() > 1:
        everyone: list[Any] = [None] * world_size()
        distributed.all_gather_object(everyone, list(skipped))
        skipped = dict.fromkeys(text for own in everyone for text in own)
    return list(skipped)


def _encoder(
    space: spaces.Space,
    make: type[BaseFeaturesExtractor],
    keywords: Mapping[str, Any],
    training: Training,
    device: torch.device,
) -> ShardedEncoder:
    entries = dict(space.spaces) if isinstance(space, spaces.Dict) else {IMAGE: space}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        try:
            extractors = {key: make(entry, **keywords) for key, entry in entries.items()}
        except (TypeError, AssertionError, AttributeError, RuntimeError) as error:  # as the class has it
            told = str(error) or type(error).__name__
            raise ValueError(f"{make.__name__} cannot be made with {dict(keywords)} for images of {space}: {told}.") from error
    bf16 = training.precision == "bf16"
    encoder = ShardedEncoder(dict(extractors), space, pieces=training.accumulate, bf16=bf16).to(device)
    if device.type == "cpu":  # convolutions learn faster so there (benchmarks/channels_last.md)
        encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # typed for tensors alone
    return encoder


def _device(device: torch.device | str) -> torch.device:
    here = int(os.environ.get("LOCAL_RANK", "0"))
    if here >= torch.cuda.device_count():  # a launcher shows each process its own GPU alone
        here = 0
    if device != "auto":
        if str(device) == "cuda" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            device = torch.device("cuda", here)  # processes that name no GPU have one each
        try:
            torch.zeros(1, device=device).item()
        except (RuntimeError, AssertionError) as error:  # the latter from a PyTorch that was built without CUDA
            raise ValueError(
                f"device is {device!s}, but torch cannot compute there ({error}): auto takes what there is."
            ) from error
        return torch.device(device)
    return torch.device("cuda", here) if torch.cuda.is_available() else torch.device("cpu")


@contextmanager
def _logger(out: Path) -> Iterator[Logger]:
    """TensorBoard's in the first process, one that forgets everything in the others."""
    logger = Logger(os.fspath(out), [TensorBoardOutputFormat(os.fspath(out))] if rank() == 0 else [])
    try:
        yield logger
    finally:
        logger.close()
