"""Arms as they are typed."""

import pytest

from agents.arms import Arm, parse_arm
from agents.errors import UserError


@pytest.mark.parametrize(
    ("text", "arm"),
    [
        ("none", Arm("none")),
        ("aug", Arm("aug", augment_rl=True)),
        ("compute", Arm("compute", compute=True, matched=("curl",))),
        ("compute+curl", Arm("compute", compute=True, matched=("curl",))),
        ("compute+curl=2", Arm("compute", compute=True, matched=("curl",))),
        ("compute+spr", Arm("compute+spr", compute=True, matched=("spr",))),
        ("compute+cpc,spr=2", Arm("compute+cpc,spr", compute=True, matched=("cpc", "spr"))),
        ("aug+compute", Arm("aug+compute", augment_rl=True, compute=True, matched=("curl",))),
        ("compute+aug+SPR", Arm("aug+compute+spr", augment_rl=True, compute=True, matched=("spr",))),
        ("cpc", Arm("cpc", (("cpc", 1.0),))),
        ("CURL", Arm("curl", (("curl", 1.0),))),
        ("cpc=1", Arm("cpc", (("cpc", 1.0),))),
        ("cpc=0.50", Arm("cpc=0.5", (("cpc", 0.5),))),
        ("cpc=1e-5", Arm("cpc=1e-05", (("cpc", 1e-5),))),
        ("cpc=100000", Arm("cpc=100000", (("cpc", 1e5),))),
        ("cpc=1000000", Arm("cpc=1000000", (("cpc", 1e6),))),
        ("cpc=1e+06", Arm("cpc=1000000", (("cpc", 1e6),))),
        ("aug+cpc=1E+20", Arm("aug+cpc=1e20", (("cpc", 1e20),), augment_rl=True)),
        ("cpc=0.12345678", Arm("cpc=0.12345678", (("cpc", 0.12345678),))),
        ("cpc=1,curl=2", Arm("cpc=1,curl=2", (("cpc", 1.0), ("curl", 2.0)))),
        ("cpc,curl", Arm("cpc=1,curl=1", (("cpc", 1.0), ("curl", 1.0)))),
        ("aug+cpc", Arm("aug+cpc", (("cpc", 1.0),), augment_rl=True)),
        ("shuffled+cpc", Arm("shuffled+cpc", (("cpc", 1.0),), shuffled=True)),
        ("shuffled", Arm("shuffled+curl", (("curl", 1.0),), shuffled=True)),
        ("aug+shuffled", Arm("aug+shuffled+curl", (("curl", 1.0),), augment_rl=True, shuffled=True)),
        ("shuffled+aug+cpc", Arm("aug+shuffled+cpc", (("cpc", 1.0),), augment_rl=True, shuffled=True)),
    ],
)
def test_arm(text: str, arm: Arm) -> None:
    assert parse_arm(text, default_objective="curl") == arm
    assert parse_arm(arm.name, default_objective="curl") == arm  # the folder's name is an arm too


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "unknown objective ''"),
        ("aug+", "unknown objective ''"),
        ("cpd", "unknown objective 'cpd'"),
        ("cpc+curl", "'cpc' before a '+'"),
        ("aug+aug+cpc", "'aug' before a '+'"),
        ("aug+none", "stands alone"),
        ("compute+none", "stands alone"),
        ("shuffled+compute", "no head to shuffle"),
        ("compute+shuffled+cpc", "no head to shuffle"),
        ("compute+compute", "'compute' before a '+'"),
        ("compute+dreams", "unknown objective 'dreams'"),
        ("cpc=0", "weight above zero"),
        ("cpc=-1", "weight above zero"),
        ("cpc=nan", "weight above zero"),
        ("cpc=inf", "weight above zero"),
        ("cpc=x", "weight above zero"),
        ("cpc=1,cpc=2", "named once"),
        ("cpc=1,", "unknown objective ''"),
    ],
)
def test_no_arm(text: str, said: str) -> None:
    with pytest.raises(UserError, match="arm") as error:
        parse_arm(text, default_objective="curl")
    assert said in str(error.value)
