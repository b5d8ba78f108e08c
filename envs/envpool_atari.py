"""
EnvPool's Atari games as ``ale_py`` has them, and as :mod:`envs.atari` plays them.

What EnvPool would add is off: its frame skip, its fire at the start, and its stack, which repeats the first frame. The game
is stepped frame by frame and shown whole, so that the preprocessing, the brighter of two frames included, is this project's
own. The random no-ops are EnvPool's: as many as Stable-Baselines3's wrapper takes, one at the least. What stays different:
without any being asked for, EnvPool takes that one, and its random numbers, which decide how many no-ops there are and where
an action sticks, come from other seeds.
"""

from typing import Any, NamedTuple

from envs.atari import OPTIONS

# What ALE/...-v5 is in Gymnasium, by its keywords there.
ALE_V5 = {"repeat_action_probability": 0.25, "full_action_space": False, "frameskip": 4, "max_num_frames_per_episode": 108_000}
LEAST_NOOPS = 1  # EnvPool's noop_max counts from one, and 0 fails there
NO_LIMIT = 2**31 - 1  # the largest number of steps that EnvPool can be told


class AtariGame(NamedTuple):
    """
    A game of ``ale_py``'s in EnvPool.

    :param options: EnvPool's, of the kind that a user may give too.
    :param own: EnvPool's further ones, which are decided here.
    :param frames: of one step of that environment.
    :param max_of_two: the brighter of the last two frames of an agent step is to be shown.
    """

    options: dict[str, Any]
    own: dict[str, Any]
    frames: int
    max_of_two: bool


def atari_game(env_id: str, keywords: dict[str, Any], grayscale: bool) -> AtariGame:
    """
    Find EnvPool's options for the keywords of an environment of ``ale_py``'s.

    :param env_id: for error messages.
    :param keywords: those that differ from ``ALE_V5``, and those of :mod:`envs.atari`; EnvPool's own options among them are
        handed through.
    :param grayscale: the agent sees one channel.
    :return: the options, and what is left to be done here.
    :raises ValueError: if the number of frames is random, the limit is given in steps, no picture is observed, or two frames
        of a game that skips frames itself should be compared.
    """
    options = {key: value for key, value in {**ALE_V5, **OPTIONS, **keywords}.items() if value is not None}
    options.pop("game", None)
    noop_max, max_of_two, frames = (options.pop(name) for name in ("noop_max", "max_of_two", "frameskip"))
    kind = options.pop("obs_type", "rgb")
    if kind not in ("rgb", "grayscale"):
        raise ValueError(f"EnvPool's Atari games show pictures: obs_type is 'rgb' or 'grayscale' there, and not {kind!r}.")
    if not isinstance(frames, int) or frames < 1:
        raise ValueError(
            f"EnvPool skips a fixed number of frames, 1 or more, and {env_id} skips {frames}; vec='dummy' has that."
        )
    if max_of_two and frames != 1:
        raise ValueError(f"max_of_two needs every frame of {env_id}, so frameskip must be 1 beside it, and is {frames}.")
    if "max_episode_steps" in options:
        raise ValueError("An Atari game's limit is max_num_frames_per_episode, not max_episode_steps.")
    limit = options.pop("max_num_frames_per_episode", NO_LIMIT)
    own = {
        "frame_skip": 1,
        "noop_max": max(noop_max, LEAST_NOOPS),
        "use_fire_reset": False,
        "img_height": 210,
        "img_width": 160,
        # Of two coloured frames the brighter is found channel by channel, as Stable-Baselines3's wrapper does.
        "gray_scale": kind == "grayscale" or (grayscale and not max_of_two),
    }
    return AtariGame({**options, "max_episode_steps": limit}, own, frames, bool(max_of_two))
