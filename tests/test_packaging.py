"""What is installed by whoever installs the package."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_wheel_holds_cpc_rl_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    folders = {name.partition("/")[0] for name in names}
    assert folders == {"cpc_rl", wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"}
    files = [file for file in (ROOT / "cpc_rl").rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert {file.suffix for file in files} <= {".py", ".typed", ".csv"}
    assert {name for name in names if name.startswith("cpc_rl/")} == {str(file.relative_to(ROOT)) for file in files}


def test_package_imports_nothing_of_the_checkout() -> None:
    """Neither agents, envs nor train_agent.py, nor what only they need."""
    script = "import sys, cpc_rl; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    output = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in ("agents", "envs", "train_agent", "tyro", "yaml", "imageio_ffmpeg", "sb3_contrib", "pygame"):
        assert f"'{name}'" not in output
