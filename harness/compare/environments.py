"""Packages of a side: those of the running interpreter, unless its lock file pins other ones.

Where a commit pins other versions of what the store needs at run time, exactly those packages are
installed, by their hashes, into an environment of its own; everything else, the harness above all,
comes from the running one. So both sides are driven by the same harness.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, UsageError

__all__ = ["Environment", "differing_pins", "environment_for", "parse_lock", "running_environment"]

_LOCK = "requirements.lock"
_EXTRAS = ("lance",)  # what the store itself may import; harness and dev tools are the checkout's
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")
_SAID = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An interpreter with packages, and in words where these come from."""

    python: Path
    told: str
    pins: Mapping[str, tuple[str, str]]


def running_environment(root: Path) -> Environment:
    """The interpreter that runs the harness, with the pins of the checkout's lock file that hold.

    A pin of another version than is installed is left out: the lock file was changed and nothing
    installed since, so that no side that wants it has it here. What is not installed at all may be
    for other platforms; a side that needs it cannot be imported, which is no pass either.
    """
    lock = root / _LOCK
    pins = parse_lock(lock.read_text(encoding="utf-8")) if lock.is_file() else {}
    return Environment(
        python=Path(sys.executable),
        told="the running interpreter",
        pins={name: pin for name, pin in pins.items() if _installed(name) in ("", *pin[0].split())},
    )


def _installed(name: str) -> str:
    """Version of a package in the running interpreter; "" without it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def parse_lock(text: str) -> dict[str, tuple[str, str]]:
    """Version and whole entry, hashes included, of each package of a requirements file.

    A package that has another version on another Python has all of them, joined.
    """
    found: dict[str, tuple[str, str]] = {}
    for entry in text.replace("\\\n", "\0").splitlines():
        pin = _PIN.match(entry)
        if pin:
            whole = entry.replace("\0", "\\\n")
            versions, entries = found.get(_plain(pin[1]), ("", ""))
            found[_plain(pin[1])] = (f"{versions} {pin[2]}".strip(), f"{entries}\n{whole}".strip())
    return found


def differing_pins(
    pyproject: str, pins: Mapping[str, tuple[str, str]], running: Mapping[str, tuple[str, str]]
) -> dict[str, str]:
    """Entries of the lock file that the store needs and the running environment has otherwise.

    Parameters
    ----------
    pyproject
        Text of the commit's pyproject.toml; its dependencies and their own ones count, those
        of tools do not.
    pins, running
        From `parse_lock`: of the commit, and of the checkout.

    Raises
    ------
    UsageError
        The commit's pyproject.toml is not TOML.
    """
    try:
        project = tomllib.loads(pyproject).get("project", {})
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"pyproject.toml of the commit: {error}") from error
    direct = list(project.get("dependencies", ()))
    for extra in _EXTRAS:
        direct += project.get("optional-dependencies", {}).get(extra, ())
    return {
        name: pins[name][1]
        for name in sorted(_closure(direct))
        if name in pins and pins[name][0] not in (running.get(name, ("", ""))[0], _installed(name))
    }


def _closure(direct: Iterable[str]) -> set[str]:
    """Names of requirements and of theirs, as far as installed packages tell."""
    waiting = [_plain(found[1]) for one in direct if (found := _NAME.match(one))]
    names: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in names:
            continue
        names.add(name)
        try:
            further = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [
            _plain(found[1])
            for one in further
            if "extra ==" not in one and (found := _NAME.match(one))
        ]
    return names


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def environment_for(tree: Path, cache: Path, running: Environment) -> Environment:
    """The environment that a tree's lock file asks for, made if it is not there yet.

    Raises
    ------
    HarnessError
        Its packages cannot be installed; the message has the installer's last words.
    """
    lock, project = tree / _LOCK, tree / "pyproject.toml"
    if not lock.is_file() or not project.is_file():
        return running
    pins = parse_lock(lock.read_text(encoding="utf-8"))
    other = differing_pins(project.read_text(encoding="utf-8"), pins, running.pins)
    if not other:
        return running
    names = ", ".join(f"{name} {pins[name][0]}" for name in other)
    text = "\n".join(other.values()) + "\n"
    key = hashlib.blake2b(f"{sys.version}\n{text}".encode(), digest_size=16).hexdigest()
    folder = cache / "environments" / key
    if folder.is_dir():
        os.utime(folder)  # used now: it is not the next to be pruned
    else:
        _install(folder, text, names)
    return Environment(
        python=folder / "bin" / "python", told=f"an environment of its own with {names}", pins=pins
    )


def _install(folder: Path, requirements: str, names: str) -> None:
    """A virtual environment with these, and behind them the packages of the running one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="making-", suffix=".unfinished", dir=folder.parent))
    try:
        python = sys.executable
        _run([python, "-m", "venv", "--without-pip", str(made)], names)
        listed = made / "requirements.txt"
        listed.write_text(requirements, encoding="utf-8")
        hashed = ["--require-hashes"] if "--hash=" in requirements else []
        pip = [python, "-m", "pip", "--python", str(made / "bin" / "python"), "install"]
        _run([*pip, "--quiet", "--no-deps", *hashed, "-r", str(listed)], names)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        shared = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        path = made / "lib" / version / "site-packages" / "of_the_harness.pth"
        path.write_text("\n".join(sorted(shared)) + "\n", encoding="utf-8")
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _run(command: list[str], names: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-_SAID:]
        raise HarnessError(
            f"cannot install what the commit pins ({names}): {said}\n"
            "compare with a commit that pins the checkout's versions, or mend the installer"
        )
