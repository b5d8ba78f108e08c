"""
EnvPool's Atari games as ``ale_py`` has them.

What EnvPool would add is off: its frame skip, which shows the brighter of two frames, its random no-ops, its fire at the
start, and its stack, which repeats the first frame. The game is stepped frame by frame and the last frame shown, whole, so
that the preprocessing is this project's own. What stays different: EnvPool takes one no-op at the start of every episode,
and its emulator's random numbers, which decide where an action sticks, come from other seeds.
"""

from typing import Any

# What ALE/...-v5 is in Gymnasium, by its keywords there.
ALE_V5 = {"repeat_action_probability": 0.25, "full_action_space": False, "frameskip": 4, "max_num_frames_per_episode": 108_000}
START = {"frame_skip": 1, "noop_max": 1, "use_fire_reset": False}  # a noop_max of 1 is the least: it means one no-op
NO_LIMIT = 2**31 - 1  # the largest number of steps that EnvPool can be told
PICTURE = {"img_height": 210, "img_width": 160}


def atari_options(env_id: str, keywords: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """
    EnvPool's options for the keywords of an environment of ``ale_py``'s.

    :param env_id: for error messages.
    :param keywords: those that differ from ``ALE_V5``; EnvPool's own options among them are handed through.
    :return: the options, and the frames of one step of that environment.
    :raises ValueError: if its number of frames is random, or its limit is given in steps.
    """
    options = {key: value for key, value in {**ALE_V5, **keywords}.items() if value is not None}  # None: the game's own mode
    options.pop("game", None)
    if options.get("obs_type") == "rgb":
        options.pop("obs_type")
    frames = options.pop("frameskip")
    if not isinstance(frames, int) or frames < 1:
        raise ValueError(
            f"EnvPool skips a fixed number of frames, 1 or more, and {env_id} skips {frames}; vec='dummy' has that."
        )
    if "max_episode_steps" in options:
        raise ValueError("An Atari game's limit is max_num_frames_per_episode, not max_episode_steps.")
    limit = options.pop("max_num_frames_per_episode", NO_LIMIT)
    return {**options, "max_episode_steps": limit}, frames
