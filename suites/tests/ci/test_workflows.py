"""Risk: CI runs a command that is not there, or turns a verdict into green."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from asv.config import Config

import harness.cli

ROOT = Path(__file__).parents[3]
ACTION = ROOT / ".github" / "actions" / "harness" / "action.yml"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
PLAIN = {"sudo"}  # what a step may run beside make; the scripts of the action are tested below


def _document(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def _steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in _document(path)["jobs"].values():
        yield from job["steps"]


def _lines(path: Path) -> Iterator[str]:
    for step in _steps(path):
        for line in str(step.get("run", "")).splitlines():
            yield from filter(None, (part.strip() for part in line.split("&&")))


def _commands(path: Path) -> list[str]:
    """What each step gives to the action; an expression of the workflow stands for a commit."""
    given = [step["with"]["command"] for step in _steps(path) if "actions/harness" in _uses(step)]
    return [re.sub(r"\$\{\{.*?\}\}", "c0ffee", command) for command in given]


def _uses(step: dict[str, Any]) -> str:
    return str(step.get("uses", ""))


def _parse(command: str) -> None:
    """Raise click's UsageError unless the command line would run; nothing is run."""
    name, *words = shlex.split(command)
    group = harness.cli.main
    found = group.get_command(click.Context(group), name)
    if found is None:
        raise click.UsageError(f"no command {name}")
    found.make_context(name, words)


def test_there_are_workflows_for_push_pull_request_and_night() -> None:
    # YAML 1.1 reads the key `on` as true
    events = {event for path in WORKFLOWS for event in _document(path)[True]}  # type: ignore[index]
    assert events >= {"push", "pull_request", "schedule"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_command_of_a_workflow_exists(path: Path) -> None:
    commands = _commands(path)
    for command in commands:
        _parse(command)
    lines = list(_lines(path))
    assert commands or lines
    for line in lines:
        program, *words = shlex.split(line)
        if program == "make":
            assert [word for word in words if not _is_target(word)] == [], line
        else:
            assert program in PLAIN, line


def test_a_push_is_checked_tested_and_its_documentation_built() -> None:
    assert {"make lint", "make test", "make docs"} <= {*_lines(WORKFLOWS[0].with_name("gate.yml"))}


def test_a_pull_request_that_changes_only_packages_or_benchmarks_is_compared() -> None:
    for command in _commands(WORKFLOWS[0].with_name("compare.yml")):
        words = shlex.split(command)
        paths = {word for before, word in pairwise(words) if before == "--paths"}
        assert paths == {"src", "suites/timings", "pyproject.toml", "requirements.lock"}


def test_a_gate_that_needs_a_proof_comes_after_one_in_the_same_job() -> None:
    """Another job has another machine and an empty folder reports: its verdict would be HOLD."""
    seen = set()
    for path in WORKFLOWS:
        for job in _document(path)["jobs"].values():
            told = [str(step.get("with", {}).get("command", "")) for step in job["steps"]]
            for place, command in enumerate(told):
                words = command.split()
                if words[:1] == ["gate"] and words[words.index("--profile") + 1] != "ci":
                    seen.add(words[words.index("--profile") + 1])
                    assert any(one.split()[0] == "prove" for one in told[:place] if one), path.name
                    # the night's figures are wanted even if a fault was missed
                    assert job["steps"][place]["if"] == "${{ !cancelled() }}"
    assert seen == {"nightly", "release"}


def test_only_a_release_that_passed_becomes_an_anchor_and_the_night_sees_it() -> None:
    steps = list(_steps(WORKFLOWS[0].with_name("release.yml")))
    commands = [str(step.get("with", {}).get("command", "")).split()[:1] for step in steps]
    assert commands[-2:] == [["gate"], ["anchor"]]
    assert "if" not in steps[-1]  # so not after a gate that did not end with 0
    for name in ("nightly.yml", "release.yml"):
        kept = [
            step["with"]["path"]
            for step in _steps(WORKFLOWS[0].with_name(name))
            if _uses(step).startswith("actions/cache")
        ]
        assert "reports/anchors" in kept, name


def test_the_snippet_for_other_repositories_runs() -> None:
    page = (ROOT / "docs" / "how-to" / "continuous-integration.md").read_text()
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    inputs = _document(ACTION)["inputs"]
    used = 0
    for job in yaml.safe_load(text)["jobs"].values():
        for step in job["steps"]:
            if _uses(step).startswith("./"):
                assert (ROOT / _uses(step) / "action.yml").is_file()
                assert set(step["with"]) <= set(inputs)
                _parse(re.sub(r"\$\{\{.*?\}\}", "c0ffee", step["with"]["command"]))
                used += 1
    assert used == 2
    told = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", page, re.MULTILINE)
    assert told == list(inputs)


@pytest.mark.parametrize("command", ["gaet", "gate --profil ci", "gate --profile daily", "bench"])
def test_a_command_that_is_not_there_is_noticed(command: str) -> None:
    with pytest.raises(click.UsageError):
        _parse(command)


def _is_target(word: str) -> bool:
    return re.search(rf"^{re.escape(word)}:", MAKEFILE, re.MULTILINE) is not None


def test_every_command_of_the_makefile_exists() -> None:
    commands = re.findall(r"\$\(BIN\)/harness (\S+)", MAKEFILE)
    assert {"gate", "bench", "trend", "rivals", "scale"} <= set(
        commands
    )  # one command each from a fresh clone
    for name in commands:
        assert name in harness.cli.main.commands
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert [name for name in phony.split() if not _is_target(name)] == []


def test_no_verdict_goes_through_make() -> None:
    """make turns every failure into 2; HOLD would look like wrong use."""
    lines = [line for path in WORKFLOWS for line in _lines(path)]
    assert lines
    assert not [line for line in lines if re.search(r"\bmake\s+gate\b|continue-on-error", line)]
    assert "continue-on-error" not in "".join(path.read_text() for path in [*WORKFLOWS, ACTION])


def test_every_artifact_of_a_workflow_has_a_name_of_its_own() -> None:
    for path in WORKFLOWS:
        names = [
            step["with"].get("artifact", "reports")
            for step in _steps(path)
            if "actions/harness" in _uses(step)
        ]
        assert len(names) == len(set(names)), path.name


def _script(name: str) -> str:
    for step in _document(ACTION)["runs"]["steps"]:
        if str(step.get("name", "")).startswith(name):
            return str(step["run"])
    raise AssertionError(f"the action has no step {name!r}")


def _bash(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """As a runner does it: `bash --noprofile --norc -eo pipefail`."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("status", "hold", "wanted"),
    [
        (0, "fail", 0),
        (1, "warn", 1),
        (2, "warn", 2),
        (3, "fail", 3),
        (3, "warn", 0),
        (4, "warn", 4),
    ],
)
def test_the_action_ends_as_the_harness_does(
    tmp_path: Path, status: int, hold: str, wanted: int
) -> None:
    program = tmp_path / ".venv" / "bin" / "harness"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\necho "$@" > words\nexit {status}\n')
    program.chmod(0o755)
    done = _bash(_script("harness "), tmp_path, COMMAND="gate --profile ci", HOLD=hold)
    assert done.returncode == wanted, done.stderr
    assert (tmp_path / "words").read_text() == "gate --profile ci\n"
    assert ("::warning::" in done.stdout) is (status == 3 and hold == "warn")


def test_the_newest_summary_becomes_that_of_the_job(tmp_path: Path) -> None:
    for age, name in enumerate(["new", "old"]):
        folder = tmp_path / "reports" / name
        folder.mkdir(parents=True)
        (folder / "summary.md").write_text(f"{name}\n")
        os.utime(folder / "summary.md", (1_000 - age, 1_000 - age))
    target = tmp_path / "summary"
    assert _bash(_script("Job"), tmp_path, GITHUB_STEP_SUMMARY=str(target)).returncode == 0
    assert target.read_text() == "new\n"


def test_a_run_that_wrote_nothing_has_no_summary_and_no_second_failure(tmp_path: Path) -> None:
    done = _bash(_script("Job"), tmp_path, GITHUB_STEP_SUMMARY=str(tmp_path / "summary"))
    assert done.returncode == 0
    assert not (tmp_path / "summary").exists()


# ---------------------------------------------------------------- what is installed


def test_an_installed_package_has_every_file_that_it_reads() -> None:
    """Two pages and a schema were left out: of `harness scale`, `limits` and `prove`."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for name, patterns in tools["package-data"].items():
        package = next(place / name for place in (ROOT / "src", ROOT) if (place / name).is_dir())
        found = {path for path in package.rglob("*") if path.is_file()}
        read = {path for path in found if path.suffix not in (".py", ".pyc")}
        given = {path for pattern in patterns for path in package.glob(pattern)}
        assert {str(path.relative_to(package)) for path in read - given} == set(), name
        assert [pattern for pattern in patterns if not any(package.glob(pattern))] == [], name


# ---------------------------------------------------------------- asv


@pytest.fixture
def conf() -> Config:
    """Read by asv itself."""
    return Config.load(str(ROOT / "asv.conf.json"))


def test_asv_installs_what_the_store_needs_in_versions_of_the_lock_file(conf: Config) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]} | {"setuptools"}
    locked: dict[str, set[str]] = {}
    lock = (ROOT / "requirements.lock").read_text()
    for name, version in re.findall(r"^([a-z0-9_.-]+)==([^\s\\;]+)", lock, re.MULTILINE):
        locked.setdefault(name, set()).add(version)
    pinned = conf.matrix["req"]
    assert set(pinned) == wanted
    for name, (version,) in pinned.items():
        assert version in locked[name], f"{name}: asv {version}, lock file {locked[name]}"


def test_asv_keeps_everything_below_one_ignored_folder(conf: Config) -> None:
    assert Path(conf.benchmark_dir) == ROOT / "suites" / "timings" or (
        ROOT / conf.benchmark_dir == ROOT / "suites" / "timings"
    )
    for folder in (conf.env_dir, conf.results_dir, conf.html_dir):
        assert Path(folder).parts[0] == ".asv"
    assert ".asv/" in (ROOT / ".gitignore").read_text().splitlines()
    assert "pythons" not in (ROOT / "asv.conf.json").read_text().replace('No "pythons"', "")
