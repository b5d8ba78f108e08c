"""A video of the trained agent."""

import warnings
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import imageio_ffmpeg
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env.dummy_vec_env import DummyVecEnv

from agents.evaluation import VIDEO_SEED, EpisodeSeeds, choose_actions
from agents.files import whole_file
from agents.randomness import undisturbed
from envs import make_env
from envs.stacking import stack_frames

MAX_BYTES = 1_000_000
MAX_STEPS = 2_000
QUALITIES = (26, 31, 36, 42)  # x264's constant rate factors: each next one takes about half the space


class NoPictures(ValueError):
    """An environment does not draw itself; the message is one sentence that says what it does instead."""


def record_episode(
    model: BaseAlgorithm, env_id: str, keywords: dict[str, Any], seed: int = VIDEO_SEED
) -> tuple[list[np.ndarray], float]:
    """
    Play one episode and draw it.

    :param model: the agent, who takes its most likely or mean actions
    :param keywords: of :func:`envs.make_vec_env`
    :param seed: of the episode
    :return: one picture (H, W, 3) uint8 per agent step, and the environment's own frames per second divided by its frame skip
    :raises NoPictures: if the environment has no pictures to give, or fails to make one
    """
    own = {name: value for name, value in keywords.items() if name != "frame_stack"}
    with undisturbed():
        env = EpisodeSeeds(_make_drawn(env_id, own))
        env.set_seeds([seed])
        vec_env = stack_frames(DummyVecEnv([lambda: env]), keywords["frame_stack"])
        try:
            observations: Any = vec_env.reset()
            state, starts = None, np.ones(1, dtype=bool)
            frames = [_picture(env)]
            while len(frames) < MAX_STEPS:
                actions, state = choose_actions(model, vec_env, observations, state, starts)
                observations, _, starts, _ = vec_env.step(actions)
                if starts[0]:
                    break
                frames.append(_picture(env))
            fps = float(env.metadata.get("render_fps") or 30) / max(1, own.get("frame_skip") or 1)
        finally:
            vec_env.close()
    return frames, fps


def write_video(file: Path, frames: list[np.ndarray], fps: float) -> None:
    """
    Write an H.264 video that every player and browser shows, below a megabyte if that can be had.

    :param file: ends in ``.mp4``
    :param frames: pictures (H, W, 3) uint8, all of one size
    :param fps: frames per second
    """
    for quality in QUALITIES:
        with whole_file(file) as temporary:
            height, width = (side - side % 2 for side in frames[0].shape[:2])  # the pixel format halves both
            writer = imageio_ffmpeg.write_frames(
                str(temporary),
                (width, height),
                fps=fps,
                codec="libx264",
                pix_fmt_in="rgb24",
                pix_fmt_out="yuv420p",
                macro_block_size=2,
                output_params=["-crf", str(quality), "-preset", "slow", "-movflags", "+faststart"],
                quality=None,
                ffmpeg_log_level="error",
            )
            writer.send(None)
            try:
                for frame in frames:
                    writer.send(np.ascontiguousarray(frame[:height, :width]))
            finally:
                writer.close()
        if file.stat().st_size <= MAX_BYTES:
            return


def _make_drawn(env_id: str, keywords: dict[str, Any]) -> gym.Env:
    """The environment that the agent was evaluated in, to be drawn."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Gymnasium warns of what is said by the exception
            return make_env(env_id, **keywords, render_mode="rgb_array")
    except ValueError as error:  # it was made without a render mode before, so that nothing else can be the reason
        raise NoPictures(" ".join(str(error).split())) from error


def _picture(env: EpisodeSeeds) -> np.ndarray:
    """The environment's picture, small ones enlarged so that something can be seen."""
    try:
        picture: Any = env.render()
    except Exception as error:  # anybody's code, after a training that may have taken hours
        what = " ".join(str(error).split())
        raise NoPictures(f"its render() raised {type(error).__name__}{': ' if what else ''}{what}") from error
    if picture is None:
        raise NoPictures("its render() gave nothing.")
    picture = np.asarray(picture, np.uint8)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    factor = max(1, round(240 / max(picture.shape[0], 1)))
    return picture if factor == 1 else cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
