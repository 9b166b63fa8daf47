"""Conditions that runbooks are for, made for real, in the folder where the page is carried out.

Each returns lines for the shell that carries it out. `python -m harness.procedures.drills NAME
FILE` does one in the present folder and writes the lines to FILE: for those that mount something,
which only that shell and its children may see.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.environment import project_root
from titanstore import EmbeddingStore, StoreConfig
from titanstore.keys import stored_key
from titanstore.migration import SourceOptions, migrate

__all__ = ["DRILLS", "MOUNTING"]

_STORE = Path("embeddings")
_DIMENSION = 256
_DISK_MIB = 8
_LOOK_S = 1.2  # the exporter answers all who ask within a second by one look
_IN_THE_BODY = 200  # bytes behind the beginning of a record
_FULL_FILE_KIB = 64  # where no mount is to be had: no file may grow beyond it


def _rows(count: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, _DIMENSION)).astype(np.float32)


def _keys(document: str, count: int) -> list[str]:
    return [f"{document}#{number}" for number in range(count)]


def _fill(path: Path, documents: int = 2, chunks: int = 10) -> None:
    with EmbeddingStore.open(path, StoreConfig(prefetch=False)) as store:
        for number in range(documents):
            name = f"doc{number}"
            store.put_many(_keys(name, chunks), _rows(chunks, number), name)


def store(folder: Path) -> str:
    """A store `embeddings` of 20 vectors in two documents."""
    _fill(folder / _STORE)
    return ""


def bad_import(folder: Path) -> str:
    """The same, tagged `good`; then an import that replaces, adds and removes vectors."""
    _fill(folder / _STORE)
    with EmbeddingStore.open(folder / _STORE, StoreConfig(prefetch=False)) as opened:
        opened.tag(opened.snapshot("before the import"), "good")
        opened.put_many(_keys("doc0", 3), _rows(3, 7), "doc0")
        opened.put_many(_keys("doc9", 2), _rows(2, 9), "doc9")
        opened.delete(_keys("doc1", 1))
    return ""


def new_release(folder: Path) -> str:
    """A wheel of this checkout, which pip finds instead of asking anybody else."""
    source, wheels = folder.absolute() / "source", folder.absolute() / "wheels"
    source.mkdir()
    root = project_root()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    for name in ("src/titanstore", "harness", "fixtures"):
        ignored = shutil.ignore_patterns("__pycache__", "formats", "*.npy")
        shutil.copytree(root / name, source / name, ignore=ignored)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--no-index", "--wheel-dir", wheels, source], check=True)
    # what it needs is here: this interpreter's own packages, all but the one to be installed
    packages = folder.absolute() / "packages"
    packages.mkdir()
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "titanstore" not in path.name:
            (packages / path.name).symlink_to(path)
    return _exports(
        {
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_FIND_LINKS": str(wheels),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTHONPATH": str(packages),
        }
    )


def full_disk(folder: Path) -> str:
    """A store on a small file system of its own, which somebody else's file fills to the brim.

    Where mounting is not allowed, the kernel lets no file grow instead (RLIMIT_FSIZE).
    """
    disk = folder / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={_DISK_MIB}m", "tmpfs", str(disk)]
    mounted = subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
    path = disk / _STORE
    _fill(path)
    with EmbeddingStore.open(path, StoreConfig(prefetch=False)) as opened:
        for seed in range(20, 24):  # dead space for `maintain`
            opened.put_many(_keys("doc0", 10), _rows(10, seed), "doc0")
    log = disk / "debug.log"
    if not mounted:
        log.write_bytes(b"x")
        return f"ulimit -S -f {_FULL_FILE_KIB}\n"
    with log.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:  # it is full now
            pass
    return ""


def room(_: Path) -> str:
    """Where no mount is to be had: the kernel lets files grow again."""
    return "ulimit -S -f unlimited\n"


def bad_disk(folder: Path) -> str:
    """Two records of a store with other bits: one that a version has a copy of, and one without."""
    _fill(folder / _STORE)
    keys, rows = _keys("doc0", 1), _rows(10, 0)[:1]
    with EmbeddingStore.open(folder / _STORE, StoreConfig(prefetch=False)) as opened:
        opened.snapshot("nightly")
        opened.put_many(keys, -rows, "doc0")
        opened.put_many(keys, rows, "doc0")  # a second record of the same bits
        opened.put_many(_keys("doc2", 1), _rows(1, 2), "doc2")
        places = [
            opened._catalog.lookup(stored_key(key).fingerprint())[0]  # noqa: SLF001
            for key in (*keys, "doc2#0")
        ]
    for place in places:
        segment = folder / _STORE / "segments" / f"{place.segment:05d}.seg"
        content = bytearray(segment.read_bytes())
        content[place.offset + _IN_THE_BODY] ^= 0xFF
        segment.write_bytes(content)
    time.sleep(_LOOK_S)  # nobody is to be told what the exporter saw before
    return ""


def break_store(folder: Path) -> str:
    """Every record of the store `embeddings` with other bits."""
    for segment in (folder / _STORE / "segments").glob("*.seg"):
        content = bytearray(segment.read_bytes())
        for place in _record_bodies(folder / _STORE):
            content[place] ^= 0xFF
        segment.write_bytes(content)
    return ""


def _record_bodies(path: Path) -> list[int]:
    """Where the vectors' own bytes lie in the one segment."""
    with (
        EmbeddingStore.open(path, StoreConfig(prefetch=False), read_only=True) as opened,
        opened._catalog.reading() as view,  # noqa: SLF001
    ):
        return [address.offset + _IN_THE_BODY for address in view.addresses()]


def killed_migration(folder: Path) -> str:
    """The page's migration, ended by kill -9 after its first batch of 1024 vectors."""
    command = [sys.executable, "-c", "from harness.procedures.drills import _die; _die()"]
    paths = os.pathsep.join([str(project_root()), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, check=False)
    if ended.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the migration was to be killed, and ended with {ended.returncode}")
    return ""


def _die() -> None:
    options = SourceOptions(keys_file=Path("keys.txt"))
    migrate("vectors.npy", _STORE, options, progress=_kill_after_the_first)


def _kill_after_the_first(done: int, _: int | None) -> None:
    if done:
        os.kill(os.getpid(), signal.SIGKILL)


def titan(_: Path) -> str:
    """A Titan of this project's own on a free port, which boto3 finds by its variables."""
    serve = f"PYTHONPATH={project_root()}:$PYTHONPATH {sys.executable} -m harness.procedures.titan"
    return (
        f"{serve} > titan.url &\n"
        "while kill -0 $! && [ ! -s titan.url ]; do sleep 0.1; done\n"
        'export AWS_ENDPOINT_URL_BEDROCK_RUNTIME="$(cat titan.url)"\n'
        + _exports(
            {
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
        )
        + "[ -s titan.url ]\n"  # without it, the real Titan would be called
    )


def _exports(values: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(text)}\n" for name, text in values.items())


DRILLS: Mapping[str, Callable[[Path], str]] = {
    "store": store,
    "bad-import": bad_import,
    "new-release": new_release,
    "full-disk": full_disk,
    "room": room,
    "bad-disk": bad_disk,
    "break-store": break_store,
    "killed-migration": killed_migration,
    "titan": titan,
}
MOUNTING = {"full-disk"}


def _main() -> None:
    name, exports = sys.argv[1:]
    Path(exports).write_text(DRILLS[name](Path()))


if __name__ == "__main__":
    _main()
