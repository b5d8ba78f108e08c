"""The example on the slices of one scan runs, and learns in its first updates."""

import importlib.util
import re
from pathlib import Path

import torch

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "scan_slices.py"


def test_the_example_on_slices_of_one_scan(capsys, monkeypatch):
    spec = importlib.util.spec_from_file_location("scan_slices", EXAMPLE)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.setattr(example, "UPDATES", 150)
    threads = torch.get_num_threads()
    example.main()
    torch.set_num_threads(threads)
    rows = re.findall(
        r"^\| (\w+, [\w ]+?) \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$",
        capsys.readouterr().out,
        re.M,
    )
    assert [row[0] for row in rows] == [
        *("sagittal, trained on", "coronal, trained on", "coronal, held out", "axial, trained on", "axial, held out")
    ]
    chance, untrained, trained = (sum(float(row[i]) for row in rows) / len(rows) for i in (3, 5, 6))
    assert trained > 2 * untrained and trained > 2 * chance
