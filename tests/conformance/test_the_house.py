"""The direction of imports is kept by import-linter; these tests keep import-linter honest."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {
    "storage/identifiers.py": "import auth.principal",
    "auth/names.py": "import storage.errors",
    "auth/errors.py": "import archive.errors",
    "archive/services/query.py": "import archive.dimse.status",
    "archive/upper_layer/framing.py": "import socket",
    "archive/enforcement/pep.py": "import sqlalchemy",
    "archive/services/store.py": "import pynetdicom",
    "storage/integrity/fsck/__init__.py": "import storage.repository",
}


def lint(folder):
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(folder)}
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path):
    for package in ("archive", "storage", "auth"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_house_stands(copy):
    code, said = lint(copy)
    assert code == 0, said


@pytest.mark.parametrize("module", FORBIDDEN)
def test_a_forbidden_import_is_seen(copy, module):
    path = copy / module
    text = path.read_text()
    path.write_text(f"{text}\n{FORBIDDEN[module]}\n")
    code, said = lint(copy)
    assert code == 1, said
