"""Which machine, which code, which instruments: what decides whether two runs may be compared."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from harness.errors import UsageError

__all__ = ["Code", "Load", "code_of", "instruments", "load_now", "machine", "package_versions"]

_PACKAGES = (
    "boto3",
    "click",
    "crc32c",
    "fpdf2",
    "lancedb",
    "lmdb",
    "matplotlib",
    "moto",
    "numkong",
    "numpy",
    "pyarrow",
    "scipy",
    "titanstore",
    "zstandard",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """The code under test.

    Attributes
    ----------
    commit
        HEAD's full id, "none" outside a git checkout.
    content_digest
        BLAKE2b over the name and content of every file that git tracks or would add: two trees
        with the same digest are the same code, whatever their history.
    dirty
        True if the tree differs from HEAD.
    """

    commit: str
    content_digest: str
    dirty: bool


def project_root() -> Path:
    """The checkout that this harness runs from."""
    return Path(__file__).resolve().parent.parent


def code_of(root: Path) -> Code:
    """Identify the tree below `root`; reads every file of it once, about 0.1 s."""
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is None:
        names = sorted(
            str(path.relative_to(root))
            for folder in ("src", "harness", "suites", "fixtures")
            for path in (root / folder).rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        )
        return Code(commit="none", content_digest=_digest(root, names), dirty=True)
    names = sorted(name for name in listed.split("\0") if name)
    commit = (_git(root, "rev-parse", "HEAD") or "none").strip()
    status = _git(root, "status", "--porcelain")
    dirty = status is None or bool(status.strip())
    return Code(commit=commit, content_digest=_digest(root, names), dirty=dirty)


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None


def _digest(root: Path, names: list[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in names:
        path = root / name
        try:
            content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            continue  # deleted in the tree, or a submodule
        digest.update(f"{len(os.fsencode(name))}:{len(content)}:".encode())
        digest.update(os.fsencode(name) + content)
    return digest.hexdigest()


def machine() -> dict[str, Any]:
    """What must be equal for two runs to be of one machine."""
    return {
        "cpu_model": _cpu_model(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "libc": " ".join(platform.libc_ver()),
    }


def machine_id(facts: dict[str, Any]) -> str:
    """A short name for those facts."""
    text = "\n".join(f"{name}={facts[name]}" for name in sorted(facts))
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy the machine was: one-minute load, and seconds of CPU stolen since boot."""

    load: float
    steal_s: float


def load_now() -> Load:
    """Read both from the kernel."""
    steal = getattr(psutil.cpu_times(), "steal", 0.0)
    return Load(load=os.getloadavg()[0], steal_s=float(steal))


def instruments() -> dict[str, bool]:
    """Which instruments are on in this process; each makes timings or memory figures wrong."""
    return {
        "tracemalloc": tracemalloc.is_tracing(),
        "tracing": _is_traced(),
        "devmode": bool(sys.flags.dev_mode),
        "debug_malloc": os.environ.get("PYTHONMALLOC", "") not in ("", "pymalloc"),
        "slow_blas": bool(
            os.environ.get("OPENBLAS_CORETYPE") or os.environ.get("OPENBLAS_L2_SIZE")
        ),
    }


def _is_traced() -> bool:
    if sys.gettrace() is not None or sys.getprofile() is not None:
        return True
    monitoring = getattr(sys, "monitoring", None)  # Python 3.12 and newer
    return monitoring is not None and any(monitoring.get_tool(tool) for tool in range(6))


def package_versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def require_linux() -> None:
    """Raise UsageError where the harness cannot see what it must judge."""
    if not sys.platform.startswith("linux"):
        raise UsageError("the harness reads /proc and needs Linux; the store itself does not")
