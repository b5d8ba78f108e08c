"""``cpc-rl look``: one page of pictures of what a run's features are like."""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cpc_rl.diagnostics.cli_frames import FrameSource
from cpc_rl.diagnostics.features import as_tensors, features_of, rows_of
from cpc_rl.diagnostics.html_page import Page
from cpc_rl.diagnostics.look_sections import figures, gradients, heads, neighbours
from cpc_rl.diagnostics.pictures import newest
from cpc_rl.diagnostics.projector import write_projector
from cpc_rl.diagnostics.recording import Recording
from cpc_rl.diagnostics.saved_heads import Heads, load_objectives
from cpc_rl.diagnostics.saved_run import Subject, load_subject, read_config

TOLD = ("env", "arm", "seed", "timesteps")  # of config.yaml


@dataclass
class LookArguments(FrameSource):
    """
    Write one self-contained HTML page about a run: its curve, figures of its features, nearest neighbours of frames, where in
    the image the features look, augmented pairs and the score matrix of its objectives; and the features with their frames
    for TensorBoard's projector.
    """

    frames: int = 1_000
    """Number of frames to record."""
    out: Path | None = None
    """Where the page goes; look.html beside the model without."""
    projector: bool = True
    """Write look-projector/ beside the page, for TensorBoard."""


def run(arguments: LookArguments) -> Path:
    """
    :return: the page that was written
    :raises ValueError: if something given makes no sense
    """
    subject = load_subject(arguments.run, arguments.algo, arguments.encoder)
    recording = arguments.frames_of(subject)
    out = arguments.out or arguments.folder / "look.html"
    page = page_of(subject, recording, arguments.folder, arguments.seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page.text(), encoding="utf-8")
    print(f"Page: {out}")
    if arguments.projector:
        place = write_projector_of(subject, recording, out.with_name(f"{out.stem}-projector"))
        print(f"Projector: tensorboard --logdir {place}", file=sys.stderr)
    return out


def page_of(subject: Subject, recording: Recording, folder: Path, seed: int = 0) -> Page:
    """
    :param subject: whose encoder is shown
    :param recording: frames as the environment gives them
    :param folder: of the run, for its configuration and evaluations, if it has them
    """
    encoder, model = subject
    observations = as_tensors(encoder, recording.observations)
    features = features_of(encoder, observations)
    images = next(iter(encoder.images(observations).values()))
    name = "an encoder" if model is None else type(model).__name__
    page = Page(f"Features of {name}, {folder.resolve().name}")
    configuration = read_config(folder)
    page.table(
        [
            *((name, str(configuration[name])) for name in TOLD if name in configuration),
            ("encoder", ", ".join(type(part).__name__ for part in encoder.extractors.values())),
            *([] if model is None else [("agent steps", f"{model.num_timesteps:,}")]),
            ("frames shown", f"{len(features):,} of {len(np.unique(recording.episodes)):,} episodes"),
        ]
    )
    _curve(page, folder / "evaluations.csv")
    figures(page, features)
    neighbours(page, features, images, recording.episodes)
    gradients(page, encoder, observations, images)
    objectives, left_out = Heads({}, {}) if model is None else load_objectives(model)
    for missing, why in left_out.items():
        page.section(f"The head {missing}", f"Its pairs and scores are not shown: {why}")
    heads(page, objectives, encoder, recording, observations, None if model is None else model.action_space, seed)
    return page


def write_projector_of(subject: Subject, recording: Recording, folder: Path, most: int = 1_000) -> Path:
    """At most so many frames, evenly taken."""
    encoder, model = subject
    rows = np.linspace(0, len(recording.episodes) - 1, min(most, len(recording.episodes))).astype(int)
    observations = as_tensors(encoder, rows_of(recording.observations, rows))
    images = next(iter(encoder.images(observations).values()))
    labels = {"episode": recording.episodes[rows], **{name: values[rows] for name, values in recording.labels.items()}}
    place, number = folder, 0
    while place.exists():  # TensorBoard's writer only adds to a folder
        number += 1
        place = folder.with_name(f"{folder.name}-{number}")
    step = 0 if model is None else model.num_timesteps
    return write_projector(place, features_of(encoder, observations), newest(images), labels, step=step)


def _curve(page: Page, file: Path) -> None:
    if not file.is_file():
        return
    with open(file, encoding="utf-8", newline="") as stream:
        rows = [(float(row["timesteps"]), float(row["mean_return"])) for row in csv.DictReader(stream)]
    if len(rows) > 1:
        steps, returns = zip(*rows, strict=True)
        page.section("Return", "Mean return of the evaluations during training.")
        page.curve(steps, returns, "agent steps", "mean return")
