"""What a pre-training says while it runs, and at its end."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cpc_rl.diagnostics.probe_report import merged
from cpc_rl.encoder import Encoder
from cpc_rl.pretraining.distributed import rank
from cpc_rl.pretraining.episodes import Episodes
from cpc_rl.pretraining.probing import labelled_episodes, probe_report
from cpc_rl.pretraining.training import Training

SHOWN = 3  # episodes named, of those that are not probed


def write_probe_report(
    encoders: Mapping[str, Encoder], data: Episodes, settings: Training, out: Path, verbose: int
) -> tuple[Path | None, list[str]]:
    """
    The probe report of some encoders, by their names, as ``probe.json`` and in words.

    In a process group all must call it, for each pass is divided among them; the first writes.

    :return: the file, ``None`` if there is none, as for data without labels; and which episodes lack the labels of the others,
        one text each, in every process
    """
    labelled, without = labelled_episodes(data)
    if without and verbose:
        more = "" if len(without) <= SHOWN else f"; and {len(without) - SHOWN} more"
        say(f"{len(without)} episodes were not probed: {'; '.join(without[:SHOWN])}{more}.")
    return (_written(encoders, data, labelled, settings, out, verbose) if labelled else None), without


def _written(
    encoders: Mapping[str, Encoder],
    data: Episodes,
    labelled: Sequence[int],
    settings: Training,
    out: Path,
    verbose: int,
) -> Path | None:
    frames, seed = settings.probe_frames, settings.seed
    try:
        reports = {name: probe_report(encoder, data, labelled, frames, seed) for name, encoder in encoders.items()}
    except ValueError as error:
        say(f"There is no probe report: {error}")
        return None
    if rank() != 0:
        return None
    file = out / "probe.json"
    file.write_text(
        json.dumps({name: report.as_dict() for name, report in reports.items()}, indent=1) + "\n", encoding="utf-8"
    )
    if verbose:
        print(merged(reports))
    return file


def progress_line(step: int, steps: int, values: Mapping[str, Any]) -> str:
    """:param values: by TensorBoard's tags"""
    shown = {name.removeprefix("contrastive/"): value for name, value in values.items() if isinstance(value, float | int)}
    wanted = ("/loss", "/accuracy", "/mi_lower_bound", "effective_rank", "windows_per_second")
    return f"{step}/{steps}  " + "  ".join(f"{name} {shown[name]:.4g}" for name in shown if name.endswith(wanted))


def say(text: str) -> None:
    """To standard error, from the first process alone."""
    if rank() == 0:
        print(text, file=sys.stderr, flush=True)
