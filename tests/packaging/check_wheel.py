"""Build the wheel, install it in a fresh environment, and run it there; too slow for CI's tests, so no test file.

Run: ``python tests/packaging/check_wheel.py [torch | tensorflow]``, from anywhere, or ``make wheel-test``. Minutes,
most of them to install the framework; needs the package index.
"""

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPARE = ["compare", "--data", "digits", "--defences", "standard,clip", "--nb-epochs", "3", "--attack-samples", "50"]


def run(*command, cwd):
    print("$", *command, flush=True)
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, check=True, text=True, stdout=subprocess.PIPE).stdout


def build(folder):
    """The wheel; it holds every file of the package, templates too, and nothing else."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("artclip-*.whl")
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "artclip").rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = next(archive.read(n).decode() for n in archive.namelist() if n.endswith("METADATA"))
    assert packed == files, f"only in the wheel, or only in the clone: {sorted(packed ^ files)}"
    assert "Description-Content-Type: text/markdown" in metadata
    return wheel


def main(framework="torch"):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(folder)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        install = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt"]
        run(*install, wheel, cwd=folder)
        version = run(python, "-m", "artclip", "--version", cwd=folder)  # with no framework there
        assert version.strip() == f"artclip {wheel.name.split('-')[1]}", version
        assert "compare" in run(python, "-m", "artclip", "--help", cwd=folder)
        run(*install, f"artclip[{framework},report] @ {wheel.as_uri()}", cwd=folder)
        where = run(python, "-c", "import artclip; print(artclip.__file__)", cwd=folder)
        assert Path(where.strip()).is_relative_to(folder.resolve()), where
        table = run(python, "-m", "artclip", *COMPARE, "--html", "report.html", cwd=folder)
        print(table)
        assert "clip" in table
        assert "</html>" in (folder / "report.html").read_text(encoding="utf-8")
    print("the wheel installs and trains")


if __name__ == "__main__":
    main(*sys.argv[1:])
