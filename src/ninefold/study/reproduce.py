"""Measure one claim of one paper over seeds, and say whether it shows.

Every finished run is kept, in a folder of its own: whatever stops the measurement, called again it
goes on. The checkpoint is chosen on the validation part; the test part is looked at once a run.
"""

import json
import logging
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import torch

from ninefold.core.errors import Failed, Refused
from ninefold.core.results import read_lines
from ninefold.engine.config import Run
from ninefold.engine.evaluate import versions
from ninefold.engine.progress import Observer
from ninefold.engine.train import train
from ninefold.report.claim_chart import claim_chart
from ninefold.report.claims import Claim, claim_named, papers
from ninefold.report.measured import CONFIDENCE, Measurement, Scale
from ninefold.report.statistics import summarise, verdict
from ninefold.study.experiments import EXPERIMENTS, Pair

log = logging.getLogger(__name__)

PROGRESS = "progress.json"
"""In the folder of a measurement: its plan, and the value of every finished run."""


def reproduce(
    claim_id: str,
    *,
    scale: Scale = "laptop",
    out: str | Path = "",
    seeds: int | None = None,
    data: str = "",
    observers: Sequence[Observer] = (),
) -> Measurement:
    """Run a claim's experiment and write `<paper>-<claim>-<scale>.json` and `.png` into `out`.

    Args:
        scale: `smoke` (seconds; shows that it runs and nothing else), `laptop` (an hour at the most
            on two cores) or `gpu`.
        out: Folder of all its runs; `runs/reproduce/<paper>-<claim>-<scale>` where none is named.
            Runs that stand there already are not repeated, so that more seeds can be added.
        seeds: Pairs of runs; the experiment's own number where none is given.
        data: Other data for the same models, as `Run.data` takes them.
        observers: Who is told of each run's progress.

    Raises:
        Refused: no such claim; none that is measured yet; a folder with runs of another plan.
        Failed: a run ended without the claim's metric on a test split.
    """
    claim = claim_named(claim_id)
    plan = _plan(claim, scale, data)
    count = plan.seeds if seeds is None else seeds
    if count < 1:
        raise Refused(f"reproduce: {count} seeds; 1 at the least, 2 for an interval")
    folder = Path(out or Path("runs") / "reproduce" / f"{claim_id.replace('/', '-')}-{scale}")
    progress = _begun(folder, plan)
    for seed in range(count):
        for arm, run in (("subject", plan.subject), ("against", plan.against)):
            if not any(r["arm"] == arm and r["seed"] == seed for r in progress["runs"]):
                done = _measure(folder, arm, run.changed(seed=seed), claim.metric, observers)
                progress["runs"].append(done)
                _write(folder / PROGRESS, progress)
    command = f"ninefold reproduce {claim_id} --scale {scale}"
    command += f" --seeds {seeds}" if seeds is not None else ""
    command += f" --data {data}" if data else ""
    found = _result(claim, scale, plan, progress["runs"], count, command)
    _write(folder / f"{found.name}.json", found.model_dump(mode="json"))
    claim_chart(found, folder / f"{found.name}.png")
    return found


def _plan(claim: Claim, scale: Scale, data: str) -> Pair:
    if not claim.experiment:
        measured = [c.id for p in papers().values() for c in p.claims if c.experiment]
        raise Refused(
            f"reproduce: nothing measures {claim.id!r} yet; what can be measured: "
            f"{', '.join(measured)}"
        )
    plan = EXPERIMENTS[claim.experiment](scale)
    if not data:
        return replace(plan, data=f"{plan.data} (`{plan.subject.data}`)")
    subject, against = plan.subject.changed(data=data), plan.against.changed(data=data)
    return replace(plan, subject=subject, against=against, data=f"`{data}`")


def _begun(folder: Path, plan: Pair) -> dict[str, Any]:
    """The plan and the finished runs of a folder; refuses one that holds runs of another plan."""
    values = {
        "subject": plan.subject.model_dump(mode="json"),
        "against": plan.against.model_dump(mode="json"),
        "versions": _versions(),
    }
    path = folder / PROGRESS
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, {"plan": values, "runs": []})
    progress = json.loads(path.read_text(encoding="utf-8"))
    differs = [key for key in values if progress["plan"].get(key) != values[key]]
    if differs:
        raise Refused(
            f"reproduce: {folder} holds runs of another plan (another {', '.join(differs)}); name "
            "another folder with --out"
        )
    return progress


def _write(path: Path, values: dict[str, Any]) -> None:
    """JSON in one move, so that a stop leaves the old file or the new one."""
    aside = path.with_suffix(".part")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _measure(
    folder: Path, arm: str, run: Run, metric: str, observers: Sequence[Observer]
) -> dict[str, Any]:
    """Train one run, or go on with it; its metric on the test part, looked at once."""
    place = folder / f"seed{run.seed}-{arm}"
    log.info("reproduce: seed %d, %s, in %s", run.seed, arm, place)
    start = time.perf_counter()
    train(run, out=place, resume=True, observers=observers)
    lines = [line for line in read_lines(place / "results.jsonl") if line["split"] == "test"]
    if not lines or lines[0].get(metric) is None:
        raise Failed(f"{place}: the run ended without {metric} on a test split")
    minutes = (time.perf_counter() - start) / 60
    return {"arm": arm, "seed": run.seed, metric: lines[0][metric], "minutes": round(minutes, 2)}


def _result(
    claim: Claim, scale: Scale, plan: Pair, runs: list[dict[str, Any]], count: int, command: str
) -> Measurement:
    runs = [run for run in runs if run["seed"] < count]
    value = {(run["arm"], run["seed"]): run[claim.metric] for run in runs}
    subject = tuple(value["subject", seed] for seed in range(count))
    against = tuple(value["against", seed] for seed in range(count))
    effects = tuple(claim.effect_of(a, b) for a, b in zip(subject, against, strict=True))
    summary = summarise(effects, confidence=CONFIDENCE)
    mine = plan.subject.model_dump(mode="json", exclude={"seed"})
    other = plan.against.model_dump(mode="json", exclude={"seed"})
    return Measurement(
        claim=claim.id,
        scale=scale,
        metric=claim.metric,
        smallest=claim.smallest,
        seeds=tuple(range(count)),
        subject=subject,
        against=against,
        effects=effects,
        effect=summary.mean,
        low=summary.low if count > 1 else None,
        high=summary.high if count > 1 else None,
        verdict=verdict(summary, claim.smallest),
        data=plan.data,
        command=command,
        hardware=_hardware(),
        versions=_versions(),
        minutes=round(sum(run["minutes"] for run in runs), 1),
        date=date.today().isoformat(),
        run=mine,
        differs={key: other[key] for key in other if other[key] != mine[key]},
    )


def _versions() -> str:
    told = {**versions(), "Python": platform.python_version()}
    return ", ".join(f"{name} {version}" for name, version in told.items())


def _hardware() -> str:
    """The GPU, or the processor's name with the threads that torch uses."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    told = Path("/proc/cpuinfo")
    if told.exists():
        models = [x for x in told.read_text().splitlines() if x.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{name}, {torch.get_num_threads()} of {os.cpu_count()} cores"
