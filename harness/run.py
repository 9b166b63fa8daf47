"""One run of the gates: prepare, measure, judge, report. Its files are its only result."""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fixtures.titan.recorded import RecordedSet, load_recorded
from harness import environment
from harness.beside import SEALED, lay_beside
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.evidence import (
    seal_files,
    seal_samples,
    verdicts_of_run,
    write_json,
    write_verdicts,
)
from harness.kept import point_latest
from harness.measurement import Measurement, write_measurement
from harness.measures import (
    client,
    disk,
    documentation,
    hits,
    hot,
    memory,
    procedures,
    quality,
    queries,
    rollback,
    saving,
    searching,
    sharing,
    startup,
    throughput,
    updates,
)
from harness.measures.base import SIZES, Context, Plan, Sizes
from harness.population import build_store
from harness.prepare import prepare
from harness.progress import Progress, StageTimes
from harness.prove.proof import Identity, gates_digest
from harness.recordings import Titan, age_of
from harness.report.write import write_report
from harness.soak.collect import collect_soak, copied_segments
from harness.subjects.reference import ReferenceSubject, effective_config
from harness.targets import load_targets
from harness.waivers import load_waivers
from harness.workload.git import git_replay

__all__ = ["MEASURES", "PLANS", "Options", "run_gates"]

Measure = Callable[[Context], list[Measurement]]

# In this order: what is timed comes while nothing else of the run is at work
MEASURES: Mapping[str, Measure] = {
    "latency.hot": hot.measure,
    "latency.disk": disk.measure,
    "hit_ratio.hot": hits.measure,
    "startup.time": startup.measure,
    "query.latency": queries.measure,
    "query.throughput": throughput.measure,
    "update.latency": updates.measure,
    "quality.api": client.measure,
    "memory.steady": memory.measure,
    "sharing.zero_copy": sharing.measure,
    "quality.bits": quality.measure,
    "quality.search": searching.measure,
    "compression.saving": saving.measure,
    "rollback.exact": rollback.measure,
    "ops.ready": procedures.measure,
    "docs.complete": documentation.measure,
}
# Of these, time plays no part in them: their workers run beside each other, the longest first
PLANS: Mapping[str, Callable[[Context], list[Plan]]] = {
    "compression.saving": saving.plan,
    "rollback.exact": rollback.plan,
    "docs.complete": documentation.plan,
    "quality.search": searching.plan,
    "quality.bits": quality.plan,
    "ops.ready": procedures.plan,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run is asked for.

    Attributes
    ----------
    reports
        Folder that gets one folder a run, and the link `latest`.
    only
        Gates to measure; empty for all. The others are NOT RUN, so such a run never says GO.
    corpus
        Folder of source files; None: the standard library of the running Python.
    recorded
        Folder of recorded vectors, None if there are none.
    titan
        "live" if this machine recorded them: their evidence tier then.
    anchor
        Folder or file of an anchor; None: the newest below `reports`, of this machine if one is.
    empty_body
        The mocked Titan answers `{}`, as plain moto does: for the proof that this is noticed.
    prepared
        Folder in which runs of one proof keep what they were measured on, so that it is made once.
    after_build
        Called with the folder of each store before anything is measured: for proofs that a
        damaged store does not pass.
    """

    profile: str
    reports: Path
    command: Sequence[str]
    seed: int = 20_261_124
    strict: bool = False
    only: tuple[str, ...] = ()
    config: Path | None = None
    corpus: Path | None = None
    recorded: Path | None = None
    titan: Titan = "recorded"
    git: Path | None = None
    waivers: Path | None = None
    anchor: Path | None = None
    keep: bool = False
    empty_body: bool = False
    prepared: Path | None = None
    sizes: Sizes | None = None
    after_build: Callable[[Path], None] = lambda _: None


def sizes_of(options: Options) -> Sizes:
    """How much a run measures: what its profile says, unless it was asked for other sizes."""
    return options.sizes or SIZES[options.profile]


def run_gates(options: Options, progress: Progress) -> Path:
    """Do a whole run and return its folder; verdicts.json in it has the decision.

    Raises
    ------
    UsageError
        An unknown gate, or a file of settings, targets or waivers that cannot be used.
    HarnessError
        Something could not be prepared. The folder is removed: a run without verdicts is no run.
    """
    environment.require_linux()
    started = datetime.datetime.now(datetime.UTC)
    root = environment.project_root()
    targets = load_targets()
    unknown = sorted(set(options.only) - {gate.id for gate in targets.gates})
    if unknown:
        known = ", ".join(gate.id for gate in targets.gates)
        raise UsageError(f"no gate {unknown[0]!r}; there are {known}")
    try:
        settings, config_digest = effective_config(options.config)
    except ReferenceSubject.errors as error:
        raise UsageError(str(error)) from error
    if options.git is not None:
        try:
            git_replay(options.git, reads_max=sizes_of(options).trace_reads)
        except ValueError as error:
            raise UsageError(f"--git: {error}") from error
    code = environment.code_of(root)
    waivers = load_waivers(
        options.waivers,
        gates=[gate.id for gate in targets.gates],
        commit=code.commit,
        root=root,
        today=started.date(),
    )
    machine = environment.machine()
    machine_id = environment.machine_id(machine)
    name = f"{started:%Y-%m-%dT%H%M%SZ}-{machine_id}-{code.commit[:10]}"
    run = options.reports / name
    latest = options.reports / "latest"
    if latest.exists() and not latest.is_symlink():
        raise UsageError(f"{latest} is to be the link to the newest run: move what is there away")
    try:
        run.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError(f"{run} is there: another run began in this second") from error
    except OSError as error:
        raise UsageError(f"a run cannot be kept in {options.reports}: {error}") from error
    stages = StageTimes(progress)
    try:
        before = environment.load_now()
        measurements, absent, fixtures = _measure(
            options, stages, run / "work", settings, config_digest, code, machine_id
        )
        if not options.only or "soak.day" in options.only:
            chain = {"machine": machine_id, "config_digest": config_digest}
            endured, absent["soak.day"] = collect_soak(options.reports, run, code=code, **chain)
            measurements += endured
        for measurement in measurements:
            write_measurement(run, measurement)
        # what was measured while the tree changed is of neither tree: then all rows are INVALID
        code = environment.code_of(root)
        digest = gates_digest(root)
        proof_fault = lay_beside(
            run,
            options.reports,
            anchor=options.anchor,
            wanted=Identity(
                commit=code.commit,
                content_digest=code.content_digest,
                gates_digest=digest,
                machine=machine_id,
            ),
            now=time.time(),
        )
        write_json(run / "targets.json", targets.document)
        write_json(run / "waivers.json", {"waivers": [asdict(waiver) for waiver in waivers]})
        manifest = {
            "schema_version": 1,
            "id": name,
            "profile": options.profile,
            "strict": options.strict,
            "command": list(options.command),
            "seeds": {"run": options.seed},
            "sizes": asdict(sizes_of(options)),
            **asdict(code),
            "config_digest": config_digest,
            "config": settings,
            "machine": {
                "id": machine_id,
                **machine,
                **_loads(before, environment.load_now()),
            },
            "packages": environment.package_versions(),
            "instrumentation": environment.instruments(),
            "fixtures": fixtures,
            "evidence": sorted({m.evidence for m in measurements}),
            "absent": absent,
            "stages_s": stages.seconds(),
            "started": started.isoformat(timespec="seconds"),
            "ended": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "ended_s": time.time(),
            "gates_digest": digest,
            "proof_fault": proof_fault,
            "samples": seal_samples(run),
            "sealed": seal_files(run, [*SEALED, *copied_segments(run)]),
        }
        _judge(run, manifest, progress)
    except BaseException:
        shutil.rmtree(run, ignore_errors=True)
        raise
    if not options.keep:
        shutil.rmtree(run / "work", ignore_errors=True)
    point_latest(run)
    return run


def _judge(run: Path, manifest: Mapping[str, Any], progress: Progress) -> None:
    progress.stage("judge and report", 0)
    write_json(run / "manifest.json", manifest)
    # from the files just written, as `harness verify` will: what is not in them does not count
    try:
        verdicts, faults = verdicts_of_run(run)
    except EvidenceError as error:  # here it is no verdict on the store: exit status 4, not 1
        raise HarnessError(f"the run's own files cannot be read: {error}") from error
    if faults:
        raise HarnessError(f"the run's own files do not agree: {faults[0]}")
    write_verdicts(run, verdicts)
    write_report(run)


def _loads(before: environment.Load, after: environment.Load) -> dict[str, float]:
    return {
        "load_before": before.load,
        "load_after": after.load,
        "steal_before_s": before.steal_s,
        "steal_after_s": after.steal_s,
    }


def _measure(
    options: Options,
    progress: Progress,
    work: Path,
    settings: dict[str, object],
    config_digest: str,
    code: environment.Code,
    machine_id: str,
) -> tuple[list[Measurement], dict[str, str], dict[str, str]]:
    """Measurements, why others are absent, and digests of the data used."""
    recorded = _recorded(options, progress)
    sizes = sizes_of(options)
    wanted = [gate for gate in MEASURES if not options.only or gate in options.only]
    made = prepare(
        work,
        sizes,
        wanted,
        corpus=options.corpus,
        seed=options.seed,
        empty_body=options.empty_body,
        progress=progress,
        kept=options.prepared,
    )
    stores = {}
    progress.stage("store the corpora", len(made.populations))
    for name, population in made.populations.items():
        stores[name] = work / "stores" / name
        build_store(population, stores[name], settings)
        options.after_build(stores[name])
        progress.step()
    context = Context(
        work=work,
        profile=options.profile,
        sizes=sizes,
        settings=settings,
        config_digest=config_digest,
        code=code,
        machine_id=machine_id,
        seed=options.seed,
        populations=made.populations,
        stores=stores,
        edits=made.edits,
        prepared=made.further,
        updated=made.updated,
        recorded=recorded,
        recorded_folder=options.recorded,
        recorded_tier="live" if options.titan == "live" else "recorded",
        git=options.git,
        step=progress.step,
    )
    measurements = _taken(context, wanted, progress)
    ids = [measurement.id for measurement in measurements]
    if len(set(ids)) < len(ids):
        raise HarnessError(f"two measurements of one name: {sorted(ids)}")
    digests = {name: p.corpus_digest for name, p in (made.populations | made.further).items()}
    digests |= {f"recorded {group.name}": group.digest for group in recorded}
    if options.titan == "live" and options.recorded is not None:
        digests["recorded live"] = age_of(options.recorded)
    return measurements, _absent(options, {m.id for m in measurements}, recorded), digests


def _taken(context: Context, wanted: Sequence[str], progress: Progress) -> list[Measurement]:
    """One gate after the other where time is measured, then all others beside each other."""
    measurements: list[Measurement] = []
    for gate in wanted:
        if gate not in PLANS:
            progress.stage(gate, 0)
            measurements += MEASURES[gate](context)
    together = [gate for gate in PLANS if gate in wanted]
    if together:
        progress.stage(", ".join(together), 0)
        measurements += context.together(
            [plan for gate in together for plan in PLANS[gate](context)]
        )
    return measurements


def _absent(options: Options, made: set[str], recorded: Sequence[RecordedSet]) -> dict[str, str]:
    """Why each measurement of the targets that was not made is missing."""
    reasons = {}
    for row in load_targets().rows().values():
        if row.measurement in made:
            continue
        if options.only and row.gate not in options.only:
            reason = "not asked for (--only)"
        elif row.gate not in MEASURES:
            reason = "this build of the harness has no measure for it yet"
        elif row.measurement.endswith("-git"):
            reason = "no repository given (--git PATH)"
        elif "recorded" in row.accepts and "emulated" not in row.accepts and not recorded:
            reason = "no recorded vectors (--recorded DIR)"
        elif row.measurement == "quality.api-recorded":
            reason = "no recorded bodies in the folder of recorded vectors"
        else:
            reason = f"not measured in the {options.profile} profile"
        reasons[row.measurement] = reason
    return reasons


def _recorded(options: Options, progress: Progress) -> list[RecordedSet]:
    if options.recorded is None:
        progress.note("no recorded vectors: rows that need them will be NOT RUN (--recorded DIR)")
        return []
    try:
        return load_recorded(options.recorded)
    except (OSError, ValueError) as error:
        raise UsageError(f"recorded vectors in {options.recorded}: {error}") from error
