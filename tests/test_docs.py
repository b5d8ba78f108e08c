"""The documents keep to the code: keywords, defaults and counts are the code's, and the guide's objective works as printed."""

import dataclasses
import importlib.util
import inspect
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from gymnasium import spaces

from cpc_rl import OBJECTIVES, ContrastiveCallback
from cpc_rl.diagnostics.probe_report import ProbeReport, VariableScore, merged
from cpc_rl.encoder import Encoder
from cpc_rl.negatives import NEGATIVES, Negatives
from cpc_rl.objectives.bound import ESTIMATOR_NAMES
from tests.algorithms import make_model
from tests.synthetic import ACTIONS, SPACE, make_encoder, rolling_patterns

DOCS = Path(__file__).parents[1] / "docs"
MODULE = "cpc_rl.objectives.discounted_future"


def load(code: str, name: str, folder: Path) -> ModuleType:
    file = folder / f"{name.rpartition('.')[2]}.py"
    file.write_text(code)
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def guide(tmp_path, monkeypatch):
    """The class of the guide, in place of the file that the guide tells one to write; the guide's test; its use."""
    objective, test, use = re.findall(r"```python\n(.*?)```", (DOCS / "own_objective.md").read_text(), re.DOTALL)
    module = load(objective, MODULE, tmp_path)
    monkeypatch.setitem(sys.modules, MODULE, module)
    (tmp_path / "test_discounted_future.py").write_text(test)
    (tmp_path / "use.py").write_text(use)
    return module.DiscountedFuture, tmp_path


def test_the_guides_test_passes_on_the_guides_objective(guide):
    _, folder = guide
    # In this process, where the module stands in for the file; its own configuration, not the repository's.
    arguments = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", "/dev/null", "--rootdir", str(folder)]
    assert pytest.main([*arguments, str(folder / "test_discounted_future.py")]) == pytest.ExitCode.OK


def test_the_guides_objective_trains_in_dqn_by_class_by_name_and_beside_another(guide, monkeypatch):
    objective, folder = guide
    model = make_model("DQN")
    runpy.run_path(str(folder / "use.py"), init_globals={"model": model, objective.__name__: objective})
    monkeypatch.setitem(OBJECTIVES, "discounted_future", objective)
    callback = ContrastiveCallback("discounted_future", {"horizon": 3, "negatives": "queue"}, batch_size=4)
    model = make_model("DQN")
    model.learn(0, callback=callback)
    (head,) = callback.heads.values()
    before = [p.detach().clone() for p in head.parameters]
    again = ContrastiveCallback("discounted_future", {"horizon": 3, "negatives": "queue"}, batch_size=4)
    model.learn(60, callback=again)
    (head,) = again.heads.values()
    assert head.steps > 5
    assert all(not torch.equal(p, old) for p, old in zip(head.parameters, before, strict=True))


OBJECTIVES_MD = (DOCS / "objectives.md").read_text()
SECTIONS = dict(re.findall(r"^## `(\w+)`[^\n]*\n(.*?)(?=^## |\Z)", OBJECTIVES_MD, re.DOTALL | re.MULTILINE))


def test_every_objective_has_a_section_and_every_section_an_objective():
    assert set(SECTIONS) == set(OBJECTIVES)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_a_section_has_equation_picture_and_every_keyword_with_its_default(name):
    section = SECTIONS[name]
    for part in ("```math", "```text", "**Bounds**", "**When**", "**Cost**", "**Paper"):
        assert part in section
    table = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| \S", section, re.MULTILINE)
    parameters = [p for p in inspect.signature(OBJECTIVES[name]).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert table == [(p.name, repr(p.default).replace("'", '"')) for p in parameters]


def passes(name: str, batch_size: int = 128) -> tuple[int, float, float, str]:
    """
    Frames that a window holds, images that the encoder (or a copy) sees per window with and without gradient, and whether
    the objective can take the agent's own.
    """
    encoder = make_encoder()
    if name == "multiview":
        views = {key: make_encoder().extractors["image"] for key in ("front", "side")}
        encoder = Encoder(views, spaces.Dict(dict.fromkeys(views, SPACE)))
    objective = OBJECTIVES[name].build(encoder, spaces.Discrete(ACTIONS))
    windows = rolling_patterns(batch_size, objective.horizon + 1, 0)
    if name == "multiview":
        windows = windows._replace(observations=dict.fromkeys(encoder.extractors, windows.observations))
    seen = {True: 0, False: 0}

    def count(module, inputs):
        seen[torch.is_grad_enabled()] += len(inputs[0])

    for owner in [encoder, *objective.modules()]:
        if isinstance(owner, Encoder):
            for extractor in owner.extractors.values():
                extractor.register_forward_pre_hook(count)
    objective(encoder, windows)
    images = batch_size * len(encoder.extractors)
    shares = "yes" if objective.can_share else "no"
    return objective.horizon + 1, seen[True] / images, seen[False] / images, shares


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_the_cost_of_each_objective(name):
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \| (yes|no) \|$", OBJECTIVES_MD, re.MULTILINE)
    ((_, frames, with_gradient, without, shares),) = [row for row in rows if row[0] == name]
    assert (int(frames), int(with_gradient), int(without), shares) == passes(name)


def test_every_name_and_keyword_of_negatives_and_estimators_is_explained():
    for title, names in (("Negatives", [*NEGATIVES]), ("Estimators", [*ESTIMATOR_NAMES])):
        section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", OBJECTIVES_MD, re.DOTALL | re.MULTILINE)[1]
        assert set(re.findall(r'^\| `"(\w+)"` \|', section, re.MULTILINE)) == set(names)
    keywords = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", OBJECTIVES_MD.partition("## Negatives")[2], re.MULTILINE)
    fields = dataclasses.fields(Negatives)
    assert keywords == [(field.name, repr(field.default).replace("'", '"')) for field in fields]


def test_the_table_at_the_end_of_a_pre_training_is_described_as_it_is_printed():
    score = VariableScore("x", "continuous", (), 0.5, 0.1)
    report = ProbeReport([score], {"y": "its entropy is 0.1"}, {})
    table = merged({"trained": report, "untrained": report})
    text = (DOCS / "pretraining.md").read_text()
    columns = [column.strip() for column in table.splitlines()[0].strip("|").split("|")[1:]]
    assert columns == ["trained", "untrained", "without features", "measure"] and "Left out:" in table
    assert all(f"`{told}`" in text for told in (*columns, "Left out"))
