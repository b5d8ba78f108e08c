"""Reference scores: the shipped tables, whose rows an environment's id finds, and a user's own."""

from pathlib import Path

import numpy as np
import pytest

from cpc_rl.evaluation.references import Reference, choose_references, load_references


def test_atari_is_normalised_by_random_and_human() -> None:
    atari = load_references("atari")
    assert len(atari.rows) == 26
    for env_id in ("ALE/Pong-v5", "PongNoFrameskip-v4", "PongDeterministic-v4", "Pong-v5"):
        assert atari.find(env_id) == Reference("Pong", -20.7, 14.6)
    assert atari.find("ALE/MsPacman-v5") == Reference("MsPacman", 307.3, 6951.6)
    assert atari.find("ALE/Tetris-v5") is None
    pong = Reference("Pong", -20.7, 14.6)
    np.testing.assert_allclose(pong.normalised(np.array([[-20.7, 14.6], [-3.05, 32.25]])), [[0, 1], [0.5, 1.5]])
    assert pong.raw(0.5) == pytest.approx(-3.05)


def test_variants_of_a_task_have_its_row() -> None:
    control = load_references("control")
    for env_id in ("PixelCartPole-v0", "PixelCartPoleNoise-v0", "PixelCartPoleBackground-v0"):
        found = control.find(env_id)
        assert found and (found.low, found.high) == (22.2, 500)
    assert control.find("CartPole-v1") is None


def test_both_shipped_tables_together_or_the_one_that_is_named(tmp_path: Path) -> None:
    both = choose_references(["ALE/Pong-v5", "PixelCatch-v0"])
    assert both.name == "atari, control" and both.find("ALE/Pong-v5") and both.find("PixelCatch-v0")
    with pytest.raises(ValueError, match="no reference scores for PixelCatch-v0 in atari; give --normalise a CSV"):
        choose_references(["PixelCatch-v0"], "atari")
    assert choose_references(["ALE/Pong-v5", "PixelCatch-v0"], "atari").find("PixelCatch-v0") is None
    file = tmp_path / "mine.csv"
    file.write_text("task,low,high\nToy-v0,-1,3\nToy*,0,1\n")
    mine = choose_references(["Toy-v0", "ToyNoise-v0"], str(file))
    assert mine.find("Toy-v0") == Reference("Toy-v0", -1, 3) and mine.find("ToyNoise-v0") == Reference("Toy*", 0, 1)


def test_tables_that_make_no_sense(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    wrong = {
        "task,low,high\nToy-v0,low,3\n": r"Line 2 of .* should hold task, low, high, the latter two numbers",
        "task,random\nToy-v0,0\n": r"Line 2 of .* should hold task, low, high",
        "task,low,high\nA,0,1\nToy-v0,3,3\n": r"Line 3 of .* finite low below its finite high, and has 3 and 3",
        "task,low,high\nToy-v0,0,inf\n": "finite low below",
    }
    for text, message in wrong.items():
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            load_references(str(file))
    with pytest.raises(ValueError, match=r"atari, control or a CSV file; 'atarri' cannot be read"):
        load_references("atarri")
