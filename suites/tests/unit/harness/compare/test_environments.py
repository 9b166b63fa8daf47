"""Risk: a side runs with other packages than its commit pins, or nobody is told."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import subprocess
import zipfile
from pathlib import Path

import pytest

from harness.compare.environments import (
    differing_pins,
    environment_for,
    parse_lock,
    running_environment,
)
from harness.environment import project_root
from harness.errors import HarnessError, UsageError
from suites.tests.unit.harness.compare.tiny import write

LOCK = """# made by a tool
click==8.1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:cc
Num_Py==2.1 ; python_full_version < '3.12' \\
    --hash=sha256:dd
num-py==2.2 ; python_full_version >= '3.12' \\
    --hash=sha256:ee
"""
PROJECT = """
[project]
dependencies = ["click>=8", "num.py"]

[project.optional-dependencies]
lance = ["lancedb>=1"]
harness = ["rich"]
"""


def test_a_lock_file_is_read_with_its_hashes() -> None:
    found = parse_lock(LOCK)
    assert found.keys() == {"click", "colorama", "num-py"}
    assert found["click"][0] == "8.1.0"
    assert found["click"][1].count("--hash") == 2
    assert found["num-py"][0] == "2.1 2.2"
    assert found["num-py"][1].count("\n") == 3


def test_the_projects_own_lock_file_pins_what_the_store_needs() -> None:
    pins = parse_lock((project_root() / "requirements.lock").read_text())
    assert {"numpy", "lmdb", "zstandard", "lancedb"} <= pins.keys()
    project = (project_root() / "pyproject.toml").read_text()
    assert differing_pins(project, pins, pins) == {}


def test_only_what_the_store_needs_counts() -> None:
    pins = parse_lock("click==1\nlancedb==3\nrich==9\nnum-py==2\n")
    running = parse_lock("click==1\nlancedb==2\nrich==8\n")
    found = differing_pins(PROJECT, pins, running)
    assert found == {"lancedb": "lancedb==3", "num-py": "num-py==2"}


def test_what_a_requirement_needs_counts_too() -> None:
    """jinja2 needs markupsafe, as the installed package tells."""
    project = '[project]\ndependencies = ["jinja2"]\n'
    pins, running = parse_lock("jinja2==3\nmarkupsafe==3\n"), parse_lock("jinja2==3\n")
    assert differing_pins(project, pins, running) == {"markupsafe": "markupsafe==3"}


def test_a_lock_file_that_was_changed_but_not_installed(tmp_path: Path) -> None:
    """HEAD's new pin is not what runs here; BASE's old one is."""
    here = importlib.metadata.version("jinja2")
    project = '[project]\ndependencies = ["jinja2"]\n'
    write(tmp_path, {"requirements.lock": "jinja2==999.0\ncolorama==1.0\n"})
    running = running_environment(tmp_path).pins
    assert differing_pins(project, parse_lock("jinja2==999.0\n"), running).keys() == {"jinja2"}
    assert differing_pins(project, parse_lock(f"jinja2=={here}\n"), running) == {}


def test_a_project_file_that_is_no_toml() -> None:
    with pytest.raises(UsageError, match=r"pyproject\.toml"):
        differing_pins("[", {}, {})


# ---------------------------------------------------------------- one that is really installed

INFO = "tinydep-{version}.dist-info"


def make_wheel(folder: Path, version: str) -> str:
    """A wheel of one module that knows its version; its SHA-256."""
    info = f"tinydep-{version}.dist-info"
    files = {
        "tinydep.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tinydep\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={_record(text)},{len(text)}\n" for name, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    path = folder / f"tinydep-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _record(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def make_tree(folder: Path, version: str, digest: str) -> Path:
    lock = f"tinydep=={version} \\\n    --hash=sha256:{digest}\n"
    project = '[project]\ndependencies = ["tinydep"]\n'
    write(folder, {"requirements.lock": lock, "pyproject.toml": project})
    return folder


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


def test_another_pin_gets_an_environment_with_the_harness_behind_it(
    tmp_path: Path, offline: Path
) -> None:
    checkout = make_tree(tmp_path / "checkout", "1.0", "00")
    other = make_tree(tmp_path / "other", "2.0", make_wheel(offline, "2.0"))
    running, cache = running_environment(checkout), tmp_path / "cache"
    assert environment_for(checkout, cache, running) == running
    found = environment_for(other, cache, running)
    assert found.told == "an environment of its own with tinydep 2.0"
    code = "import tinydep, numpy, asv_runner; print(tinydep.version)"
    done = subprocess.run(
        [str(found.python), "-P", "-c", code], capture_output=True, check=True, text=True
    )
    assert done.stdout == "2.0\n"
    (offline / "tinydep-2.0-py3-none-any.whl").unlink()  # a second one would fail: it is cached
    assert environment_for(other, cache, running) == found


def test_a_package_that_cannot_be_installed_is_named(tmp_path: Path, offline: Path) -> None:
    checkout = make_tree(tmp_path / "checkout", "1.0", "00")
    make_wheel(offline, "2.0")
    for version, digest in (("3.0", "00"), ("2.0", "0" * 64)):  # not there; another file
        other = make_tree(tmp_path / version, version, digest)
        with pytest.raises(HarnessError, match=f"tinydep {version}"):
            environment_for(other, tmp_path / "cache", running_environment(checkout))
    assert list((tmp_path / "cache" / "environments").iterdir()) == []
