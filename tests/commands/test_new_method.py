"""`clicklab new-method`: what it writes trains and passes the contract tests as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clicklab.commands.main import main

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = (
    "src", "data_modules", "experiments/_base",
    "tests/conftest.py", "tests/helpers", "tests/methods/test_contract.py",
)  # fmt: skip


@pytest.fixture
def repository(tmp_path) -> Path:
    """A copy with all that a method's files and tests need."""
    for name in (*NEEDED, "pyproject.toml"):
        source, target = REPOSITORY / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, ignore=ignored) if source.is_dir() else shutil.copy(source, target)
    return tmp_path


def run(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{repository / 'src'}{os.pathsep}{repository}"}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=repository, env=environment, capture_output=True, text=True
    )


def test_a_new_method_passes_the_contract_tests_and_is_well_formed(repository):
    options = ["--official", "--class-name", "CLICKY"]
    assert run(repository, "clicklab", "new-method", "my_click", *options).returncode == 0
    tests = run(
        repository, "pytest", "-q", "-p", "no:cacheprovider", "tests/methods/test_contract.py", "-k", "my_click"
    )
    assert tests.returncode == 0, tests.stdout
    files = ["src/clicklab/methods/my_click", "src/clicklab/methods/__init__.py"]
    for check in (["check"], ["format", "--check"]):
        done = run(repository, "ruff", *check, *files)
        assert done.returncode == 0, done.stdout


def test_official_is_written_on_demand(repository):
    assert main(["new-method", "plain", "--root", str(repository)]) == 0
    assert main(["new-method", "released", "--official", "--root", str(repository)]) == 0
    methods = repository / "src/clicklab/methods"
    assert not (methods / "plain/official.py").exists() and (methods / "released/official.py").exists()
    assert "official" not in (methods / "plain/__init__.py").read_text()
    written = [*(methods / "released").iterdir(), *(repository / "experiments/released").iterdir()]
    assert not [path for path in written if "@NAME@" in path.read_text() or "@CLASS@" in path.read_text()]


@pytest.mark.parametrize(
    ("name", "said"), [("ritm", "exists"), ("My Click", "no method name"), ("2click", "no method")]
)
def test_names_that_are_taken_or_impossible(repository, name, said, capsys):
    (repository / "experiments/ritm").mkdir()
    before = (repository / "src/clicklab/methods/__init__.py").read_text()
    assert main(["new-method", name, "--root", str(repository)]) == 2
    assert said in capsys.readouterr().err
    assert (repository / "src/clicklab/methods/__init__.py").read_text() == before


def test_outside_of_the_repository(tmp_path, capsys):
    assert main(["new-method", "my_click", "--root", str(tmp_path)]) == 2
    assert "--root" in capsys.readouterr().err
