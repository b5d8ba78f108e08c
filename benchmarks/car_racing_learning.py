"""
What finished CarRacing runs reached: copies their evaluations, draws the curves, cuts a short clip, prints the table.

    python train_agent.py --env CarRacing-v2 --seeds 0 1 2
    python -m benchmarks.car_racing_learning runs/CarRacing-v2/ppo-cpc
"""

import argparse
import json
import shutil
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

RESULTS = Path(__file__).parent / "results" / "car_racing"
CLIP_WIDTH, CLIP_SECONDS, CLIP_FPS = 240, 14, 6.25


def read_runs(folder: Path) -> dict[int, tuple[np.ndarray, dict]]:
    """By seed: the evaluations, a structured array with a field per column, and what ``results.json`` holds."""
    runs = {}
    for run in sorted(folder.glob("seed-*")):
        if (run / "results.json").exists():
            rows = np.atleast_1d(np.genfromtxt(run / "evaluations.csv", delimiter=",", names=True))
            runs[int(run.name.removeprefix("seed-"))] = rows, json.loads((run / "results.json").read_text())
    if not runs:
        raise SystemExit(f"{folder} holds no finished run: it should have folders seed-<n> with a results.json.")
    return runs


def draw(file: Path, runs: dict[int, tuple[np.ndarray, dict]], title: str) -> None:
    """One line per seed, and each run's final evaluation as a cross at its end."""
    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (seed, (rows, results)) in enumerate(runs.items()):
        final, color = results["final"], f"C{number}"
        axes.plot(rows["timesteps"], rows["mean_return"], marker="o", markersize=3, color=color, label=f"seed {seed}")
        axes.errorbar(rows["timesteps"][-1], final["mean_return"], final["std_return"], marker="x", capsize=3, color=color)
    axes.axhline(900, color="grey", linestyle=":", linewidth=1, label="solved (900)")
    axes.set(title=title, xlabel="agent steps (4 frames each)", ylabel="return on the stock picture", ylim=(-100, 1000))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")
    figure.savefig(file)


def cut_clip(video: Path, clip: Path) -> None:
    """The first seconds of a video, smaller and with fewer frames, as a GIF of well under a megabyte."""
    reader = imageio_ffmpeg.read_frames(str(video))
    meta = next(reader)
    width, height = meta["size"]
    size = (CLIP_WIDTH, round(height * CLIP_WIDTH / width))
    stride = max(1, round(meta["fps"] / CLIP_FPS))
    frames = []
    for number, data in enumerate(reader):
        if number >= CLIP_SECONDS * meta["fps"]:
            break
        if number % stride == 0:
            frame = np.frombuffer(data, np.uint8).reshape(height, width, 3)
            small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
            frames.append(Image.fromarray(small).quantize(32, dither=Image.Dither.NONE))
    frames[0].save(clip, save_all=True, append_images=frames[1:], duration=round(1000 * stride / meta["fps"]), loop=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="<log-dir>/<env>/<algo>-<arm>")
    parser.add_argument("--to", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="print the table, write nothing")
    arguments = parser.parse_args()
    runs = read_runs(arguments.folder)
    if not arguments.quick:
        arguments.to.mkdir(parents=True, exist_ok=True)
        name = arguments.folder.name
        draw(arguments.to / f"{name}.png", runs, f"{arguments.folder.parent.name}, {name}")
        for seed in runs:
            shutil.copy(arguments.folder / f"seed-{seed}" / "evaluations.csv", arguments.to / f"{name}-seed-{seed}.csv")
        best = max(runs, key=lambda seed: runs[seed][1]["final"]["mean_return"])
        cut_clip(arguments.folder / f"seed-{best}" / "video.mp4", arguments.to / f"{name}.gif")
    print("| seed | agent steps | minutes of training | mean return | std | worst | episodes |")
    print("|---|---|---|---|---|---|---|")
    figures = {}
    for seed, (_, results) in runs.items():
        final = results["final"]
        worst = min(final["returns"]) if "returns" in final else float("nan")
        print(
            f"| {seed} | {results['timesteps']:,} | {results['wall_seconds'] / 60:.0f} | {final['mean_return']:.0f} | "
            f"{final['std_return']:.0f} | {worst:.0f} | {final['episodes']} |"
        )
        figures[seed] = final["mean_return"]
    print(f"\nMean over {len(runs)} seeds: {np.mean(list(figures.values())):.0f}\n")
    print(json.dumps({"benchmark": "car_racing_learning", "final_mean_return": figures}))


if __name__ == "__main__":
    main()
