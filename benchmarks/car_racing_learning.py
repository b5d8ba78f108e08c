"""
What finished CarRacing runs reached: their report, a table run by run, and a clip of each arm's agent on one track.

    python train_agent.py --env CarRacing-v2 --objective none aug cpc aug+cpc --seeds 0 1 2 --jobs 2
    python -m benchmarks.car_racing_learning runs/CarRacing-v2 --out DIR

Committed runs (``benchmarks/results/car_racing/finished``) have no videos, and so are in no clip.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
from PIL import Image

from cpc_rl.evaluation.cells import table
from cpc_rl.evaluation.report import write_report
from cpc_rl.evaluation.table import Run, read_runs

CLIP_FPS, PANEL_WIDTH, LABEL_HEIGHT, COLOURS = 6.25, 150, 18, 32


def final_return(run: Run) -> float:
    """The mean of a finished run's last evaluation, on tracks of which no other evaluation and no training was."""
    return float(run.final["mean_return"])


def typical_runs(runs: Sequence[Run]) -> list[Run]:
    """Of each arm the run that ended in the middle, so that a clip shows neither luck nor misfortune."""
    arms = [sorted(arm, key=final_return) for _, arm in groupby(runs, key=lambda run: (run.algorithm, run.arm))]
    return [arm[(len(arm) - 1) // 2] for arm in arms]


def read_frames(video: Path, seconds: float) -> list[np.ndarray]:
    """The first seconds of a video at :data:`CLIP_FPS`, each frame (H, W, 3) uint8."""
    reader = imageio_ffmpeg.read_frames(str(video))
    meta = next(reader)
    width, height = meta["size"]
    stride = max(1, round(meta["fps"] / CLIP_FPS))
    frames = []
    for number, data in enumerate(reader):
        if number >= seconds * meta["fps"]:
            break
        if number % stride == 0:
            frames.append(np.frombuffer(data, np.uint8).reshape(height, width, 3))
    return frames


def panel(frame: np.ndarray, label: str) -> np.ndarray:
    """A frame made small, with a line of text above it."""
    height = round(frame.shape[0] * PANEL_WIDTH / frame.shape[1])
    small = cv2.resize(frame, (PANEL_WIDTH, height), interpolation=cv2.INTER_AREA)
    head = np.full((LABEL_HEIGHT, PANEL_WIDTH, 3), 255, np.uint8)
    cv2.putText(head, label, (4, LABEL_HEIGHT - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([head, small])


def cut_clip(runs: Sequence[Run], clip: Path, start: float, seconds: float) -> None:
    """All agents side by side on the one track that videos show, as a GIF; who is done earlier stays at its last picture."""
    arms = [(f"{run.arm}, seed {run.seed}", read_frames(run.folder / "video.mp4", start + seconds)) for run in runs]
    first, last = round(start * CLIP_FPS), max(len(frames) for _, frames in arms)
    rows = [
        np.concatenate([panel(frames[min(moment, len(frames) - 1)], label) for label, frames in arms], axis=1)
        for moment in range(first, last)
    ]
    pictures = [Image.fromarray(row).quantize(COLOURS, dither=Image.Dither.NONE) for row in rows]
    pictures[0].save(clip, save_all=True, append_images=pictures[1:], duration=round(1000 / CLIP_FPS), loop=0)


def row(run: Run) -> list[str]:
    """A finished run's line in the table; the oldest ones did not write down the return on each track."""
    returns = run.final.get("returns", [])
    tracks = [f"{min(returns):.0f}", f"{sum(value >= 900 for value in returns)} of {len(returns)}"] if returns else ["", ""]
    minutes = f"{run.rows[-1]['wall_seconds'] / 60:.0f}"
    return [f"`{run.arm}`", str(run.seed), minutes, f"{final_return(run):.0f}", f"{run.final['std_return']:.0f}", *tracks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="<log-dir>/CarRacing-v2")
    parser.add_argument("--out", type=Path, help="where report and clip go; without it the table alone is printed")
    parser.add_argument("--threshold", type=float, help="the return whose first reaching is compared")
    parser.add_argument("--clip-start", type=float, default=0.0, help="second of the video at which the clip begins")
    parser.add_argument("--clip-seconds", type=float, default=14.0)
    arguments = parser.parse_args()
    runs = [run for run in read_runs(arguments.folder) if run.status == "finished"]
    if not runs:
        raise SystemExit(f"{arguments.folder} holds no finished run: it should have folders such as ppo-none/seed-0.")
    if arguments.out:
        write_report(arguments.folder, arguments.out, threshold=arguments.threshold, compact=True)
        shown = typical_runs([run for run in runs if (run.folder / "video.mp4").exists()])
        if shown:
            cut_clip(shown, arguments.out / "arms.gif", arguments.clip_start, arguments.clip_seconds)
    print(
        table(["arm", "seed", "minutes of training", "mean return", "std", "worst", "tracks at 900 and above"], map(row, runs))
    )
    figures = {f"{run.arm} {run.seed}": round(final_return(run), 1) for run in runs}
    print(f"\n{json.dumps({'benchmark': 'car_racing_learning', 'final_mean_return': figures})}")


if __name__ == "__main__":
    main()
