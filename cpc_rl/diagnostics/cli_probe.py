"""``cpc-rl probe``: what of the state a model's features tell, offline."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from cpc_rl.diagnostics.atari_ram import ram_categories
from cpc_rl.diagnostics.cli_frames import FrameSource
from cpc_rl.diagnostics.features import encode_all, frame_fingerprints
from cpc_rl.diagnostics.probe import probe
from cpc_rl.diagnostics.probe_report import ProbeReport
from cpc_rl.diagnostics.saved_run import load_subject


@dataclass
class ProbeArguments(FrameSource):
    """
    Probe the encoder of a trained model for state variables: F1 of categorical ones, R2 of continuous ones.

    The labels come from the environment (``--labels``) or from a file of frames with labels. Frames are recorded with random
    actions, unless ``--policy model``. The report goes to standard output as Markdown, and with ``--out`` to a JSON file.
    """

    hidden: int | None = None
    """Size of a shallow probe's hidden layer; linear probes without."""
    raw: bool = False
    """Leave the features' scale as it is, as Anand et al. 2019 do, instead of standardising them."""
    epochs: int = 100
    """At most, of a categorical probe; they stop early."""
    min_entropy: float = 0.6
    """Nats; categorical variables with less are left out."""
    min_episode: int = 0
    """Only episodes of more frames than this take part."""
    out: Path | None = None
    """Where to write the report as JSON."""


def run(arguments: ProbeArguments) -> ProbeReport:
    """
    :return: what was printed
    :raises ValueError: if something given makes no sense
    """
    subject = load_subject(arguments.run, arguments.algo, arguments.encoder)
    recording = arguments.frames_of(subject)
    if not recording.labels:
        raise ValueError("The frames have no labels: name some (--labels), or give a file with arrays 'labels/NAME'.")
    report = probe(
        encode_all(subject.encoder, recording.observations),
        recording.labels,
        recording.episodes,
        categories={name: ram_categories(name) for name in recording.labels} if "ram" in arguments.labels else None,
        hidden_dim=arguments.hidden,
        standardise=not arguments.raw,
        min_entropy=arguments.min_entropy,
        min_episode_length=arguments.min_episode,
        fingerprints=frame_fingerprints(subject.encoder, recording.observations),
        epochs=arguments.epochs,
        seed=arguments.seed,
    )
    print(report.table())
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")
        print(f"Report: {arguments.out}", file=sys.stderr)
    return report
