"""benchmarks/atari_probes: the games and the encoder are those of the paper, and results are computed once."""

import json

import numpy as np
import pytest
import torch
from gymnasium import spaces

from benchmarks.atari_probes.curve import points
from benchmarks.atari_probes.environment import RawAtari
from benchmarks.atari_probes.extractor import AtariExtractor
from benchmarks.atari_probes.figure import draw_curve
from benchmarks.atari_probes.frames import Frames
from benchmarks.atari_probes.methods import Budget
from benchmarks.atari_probes.published import PUBLISHED
from benchmarks.atari_probes.scores import SCALES, Probing, result_file, scored
from benchmarks.atari_probes.supervised import supervised
from benchmarks.atari_probes.table import markdown, means
from cpc_rl.diagnostics.splits import split_episodes
from cpc_rl.encoder import IMAGE, Encoder

SPACE = spaces.Box(0, 255, (1, 210, 160), np.uint8)


def test_the_map_that_is_contrasted_is_that_of_the_third_convolution():
    encoder = Encoder({IMAGE: AtariExtractor(SPACE)}, SPACE)
    assert encoder.map_shapes() == {IMAGE: (128, 11, 8)}
    features, maps = encoder.with_maps(torch.randint(0, 256, (2, 1, 210, 160), dtype=torch.uint8))
    assert features.shape == (2, 256)
    assert float(maps[IMAGE].detach().min()) == 0.0  # after its rectifier


def test_an_episode_ends_with_a_life_and_the_game_goes_on():
    env = RawAtari("breakout")
    rng = np.random.default_rng(0)
    frame, _ = env.reset(seed=0)
    assert frame.shape == (210, 160, 1)
    lives = []
    while len(lives) < 6:
        _, _, terminated, truncated, _ = env.step(rng.integers(1, env.action_space.n))
        assert not truncated
        if terminated:
            lives.append(env.unwrapped.ale.lives())
            env.reset()
    assert lives == [4, 3, 2, 1, 0, 4]


def test_supervision_moves_the_encoder_and_leaves_the_test_episodes_alone(tmp_path):
    frames = Frames("seaquest", 10, 600, 0, tmp_path).probes
    encoders = [Encoder({IMAGE: AtariExtractor(SPACE)}, SPACE) for _ in range(2)]
    encoders[1].load_state_dict(encoders[0].state_dict())
    before = encoders[0].extractors[IMAGE].linear.weight.detach().clone()
    held_out = split_episodes(frames.episodes, min_length=64).test
    changed = frames.observations.copy()
    changed[held_out] = 0
    settings = {"steps": 2, "learning_rate": 1e-3, "batch_size": 8}
    supervised(encoders[0], frames, **settings)
    supervised(encoders[1], type(frames)(changed, frames.actions, frames.episodes, frames.labels), **settings)
    assert not torch.equal(before, encoders[0].extractors[IMAGE].linear.weight)
    for one, other in zip(encoders[0].parameters(), encoders[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_result_is_computed_once_and_only_for_its_settings(tmp_path):
    frames = Frames("seaquest", 10, 600, 0, tmp_path / "cache")
    budget = Budget(1, 3e-4, 8, "float32", 0)
    first = scored(frames, "random", budget, Probing(1, 1), tmp_path, "cpu")
    assert set(first["reports"]) == set(SCALES)
    assert result_file("seaquest", "random", budget, tmp_path).exists()
    assert not result_file("seaquest", "stdim", budget, tmp_path).exists()
    again = scored(Frames("seaquest", 10, 600, 0, tmp_path / "nothing"), "random", budget, Probing(1, 1), tmp_path, "cpu")
    assert again == first
    with pytest.raises(ValueError, match="give the same settings"):
        scored(frames, "random", budget, Probing(2, 1), tmp_path, "cpu")


def test_the_table_has_ours_and_theirs():
    def report(*scores):
        guesses = [{"baseline": 0.5, "majority": 0.1}, {"baseline": 0.3}]  # the second as in files of before there were both
        variables = [{"categories": [str(n)], **guesses[n]} for n in range(len(scores))]
        return {"mean": {"categorical": float(np.mean(scores))}, "variables": variables}

    found = {"pong": {"random": report(0.2, 0.4), "stdim": report(0.8, 0.9)}, "boxing": {"random": report(0.5, 0.5)}}
    assert means(found)["pong"] == pytest.approx({"majority": 0.2, "random": 0.3, "stdim": 0.85})
    lines = markdown(found, ["random", "stdim", "atc"]).splitlines()
    assert lines[0] == "| game | majority | random | stdim | atc |"
    assert lines[2] == "| pong | 0.20 (0.10) | 0.30 (0.17) | 0.85 (0.81) |  |"
    assert lines[4] == "| mean | 0.20 (0.06) | 0.40 (0.18) |  (0.70) |  |"  # no mean of ours over some of the games


def test_the_published_rows_are_in_order():
    for row in PUBLISHED.values():
        assert row["majority"] < row["random"] < row["stdim"]
        assert row["cpc"] <= row["stdim"] <= row["supervised"] + 0.01


def test_a_curve_begins_with_the_random_encoder(tmp_path):
    for name, steps, value in (("stdim", 300, 0.6), ("random", 0, 0.2), ("stdim", 20, 0.4)):
        reports = {scale: {"mean": {"categorical": value + n / 10}} for n, scale in enumerate(SCALES)}
        result = {"settings": {"budget": {"steps": steps}}, "reports": reports}
        (tmp_path / f"pong-{name}-{steps}-seed0.json").write_text(json.dumps(result))
    found = points(tmp_path, "pong", "stdim", 0)
    assert [(n, values["raw"], round(values["standardised"], 6)) for n, values in found] == [
        (0, 0.2, 0.3),
        (20, 0.4, 0.5),
        (300, 0.6, 0.7),
    ]
    draw_curve({"stdim": found}, "pong", tmp_path / "curve")
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
