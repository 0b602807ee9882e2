"""Runs and readings by their content: what several claims need is done once.

Every run stands in a folder of its own, named by a hash of all that decides its weights, the
versions among them, and its seed. So whatever stops a measurement, called again it goes on; runs of
another version never mix with these; and two processes may measure at once, each waiting for the
run that the other one trains.
"""

import hashlib
import json
import logging
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from ninefold.core.errors import Failed
from ninefold.core.objects import find
from ninefold.core.results import read_lines, write_json
from ninefold.engine.config import Run
from ninefold.engine.folder import MODEL, RESULTS, Busy, Lock
from ninefold.engine.progress import Observer
from ninefold.engine.train import train
from ninefold.study.conditions import hardware, versions_told
from ninefold.study.plan import Timed, Trained, described

log = logging.getLogger(__name__)

DONE = "measured.json"
"""In the folder of a run that is finished: the minutes that it took."""


def run_folder(root: Path, arm: Trained, seed: int) -> Path:
    """Where the run of an arm stands."""
    told = {**_decided(arm), "data": arm.at(seed).data, "versions": versions_told()}
    model = arm.run.model.replace("/", "-").replace(":", "-")
    return root / f"{model}-{_digest(told)}-seed{seed}"


def _decided(arm: Trained) -> dict[str, Any]:
    """What was decided for a run. Defaults are left out, so that a new field with a default that
    changes nothing leaves the names of runs as they are."""
    told = arm.run.model_dump(mode="json", exclude={"seed"}, exclude_defaults=True)
    return {**told, "start": _decided(arm.start)} if arm.start is not None else told


def trained(root: Path, arm: Trained, seed: int, observers: Sequence[Observer]) -> Path:
    """The folder of an arm's run, once it is finished; trains what is missing.

    The checkpoint is chosen on the validation part; the test part is looked at once.
    """
    folder = run_folder(root, arm, seed)
    run = arm.at(seed)
    if arm.start is not None:
        start = trained(root, arm.start, seed, observers)
        run = run.changed(weights=str(start / MODEL))
    while not (folder / DONE).exists():
        try:
            _train(folder, run, observers)
        except Busy as error:
            log.info("reproduce: waits: %s", error)
            while not (folder / DONE).exists() and _is_busy(folder):
                time.sleep(2)
    return folder


def _train(folder: Path, run: Run, observers: Sequence[Observer]) -> None:
    if folder.exists():
        with Lock(folder):  # before the data are opened
            pass
    log.info("reproduce: seed %d, in %s", run.seed, folder)
    begun = time.perf_counter()
    train(run, out=folder, resume=True, observers=observers)
    minutes = (time.perf_counter() - begun) / 60
    write_json(folder / DONE, {"minutes": round(minutes, 2)})


def _is_busy(folder: Path) -> bool:
    try:
        with Lock(folder):
            return False
    except Busy:
        return True


def tested_value(folder: Path, metric: str) -> float:
    """The metric of a finished run on the test part.

    Raises:
        Failed: it has none.
    """
    lines = [line for line in read_lines(folder / RESULTS) if line["split"] == "test"]
    if not lines or lines[0].get(metric) is None:
        raise Failed(f"{folder}: the run ended without {metric} on a test split")
    return lines[0][metric]


def validated_value(folder: Path, metric: str) -> tuple[float, float]:
    """The best metric of a finished run on the validation part; of equals, the lower loss first.

    Raises:
        Failed: it has none.
    """
    lines = [line for line in read_lines(folder / RESULTS) if line["split"] == "val"]
    if not lines or lines[0].get(metric) is None:
        raise Failed(f"{folder}: the run ended without {metric} on a val split")
    return max((line[metric], -line["loss"]) for line in lines)


def minutes_of(folder: Path) -> float:
    """Minutes that a finished run took, in the process that ended it."""
    return json.loads((folder / DONE).read_text(encoding="utf-8"))["minutes"]


def reading_file(root: Path, arm: Timed, seed: int) -> Path:
    """Where the readings of a measuring function stand, for all arms that it reads."""
    told = {**described(arm), "versions": versions_told(), "hardware": hardware()}
    del told["reading"]
    return root / f"{arm.function.partition(':')[2]}-{_digest(told)}-seed{seed}.json"


def readings(root: Path, arm: Timed, seed: int) -> dict[str, float]:
    """All readings of a measuring function, by name, and its `minutes`; measures once."""
    file = reading_file(root, arm, seed)
    if not file.exists():
        log.info("reproduce: seed %d, into %s", seed, file)
        root.mkdir(parents=True, exist_ok=True)
        begun = time.perf_counter()
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            found = process.submit(_measure, arm.function, arm.options, seed).result()
        found["minutes"] = round((time.perf_counter() - begun) / 60, 2)
        write_json(file, found)
    return json.loads(file.read_text(encoding="utf-8"))


def _measure(function: str, options: dict[str, Any], seed: int) -> dict[str, float]:
    return find(function)(**options, seed=seed)


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
