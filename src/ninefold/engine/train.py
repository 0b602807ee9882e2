"""`ninefold.train`: from a run to a trained, evaluated model in a folder."""

# torch and Fabric leave some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import hashlib
import json
import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from ninefold.core.batch import Batch
from ninefold.core.errors import Failed, Refused, printable
from ninefold.core.results import Result, append_line, read_lines
from ninefold.core.weights import write_weights
from ninefold.data.loader import evaluation_batches
from ninefold.engine import checkpoint, failure
from ninefold.engine.build import (
    Parts,
    build,
    check_data_same,
    data_record,
    metadata,
    refuse_among_classes,
    set_up,
)  # fmt: skip
from ninefold.engine.co_train import AGENT_OPTIMIZER, update_of
from ninefold.engine.config import Run, require_run
from ninefold.engine.device import agree, describe_device, gather, launch, share_buffers
from ninefold.engine.evaluate import evaluate, versions
from ninefold.engine.feed import preparation, training_batches
from ninefold.engine.figures import draw_batch, draw_log, draw_result
from ninefold.engine.folder import (
    CHECKPOINTS,
    HARMLESS,
    LOG,
    MODEL,
    RESULTS,
    RUN,
    RUNS,
    Lock,
    check_claim,
    claim,
    cut_logs,
)  # fmt: skip
from ninefold.engine.hooks import Abandoned, FiniteWatch, Logger, Saver, Validator
from ninefold.engine.loop import Hook, fit, seed_noise
from ninefold.engine.opened import Opened, open_run
from ninefold.engine.prepare import Prepare
from ninefold.engine.progress import Observer, Observers, Plan
from ninefold.engine.room import as_recorded, fewest_parts
from ninefold.engine.signals import SAVE, Signals
from ninefold.engine.sinks import sinks
from ninefold.engine.stages import Course
from ninefold.engine.update import NotFinite, State
from ninefold.optim.sam import SAM
from ninefold.optim.schedule import factor

log = logging.getLogger(__name__)


def train(
    run: Run,
    *,
    out: str | Path = "",
    resume: bool = False,
    device: str = "auto",
    observers: Sequence[Observer] = (),
    test: bool = True,
) -> Opened:
    """Train, choose the best weights on the validation part, and touch the test part once.

    Args:
        out: The run's folder; without it `runs/NNNN`, the next free number.
        resume: Go on with the run in `out`, bit for bit as if it had never stopped; or start there
            if there is none. `folder.HARMLESS` names what may have changed meanwhile.
        device: Where it computes: `cpu`, `cuda` or `mps`; `auto` takes the best. No part of the
            run: another device gives the same up to rounding.
        observers: Who is told of the progress, on rank 0.
        test: Whether the test part is touched at all: not by a run among several of which the
            validation part chooses one. Resumed with it, a finished run is only tested.

    Returns:
        The best model, as `open_run` gives it.

    Raises:
        Refused: something does not fit, before any work.
        Failed: a loss that is not finite, no memory, no disk.
        Stopped: a signal; all is saved.
    """
    require_run(run, "train")
    if resume and not out:
        raise Refused("train: resume needs `out`, the folder of the run to go on with")
    fabric, precision, notes = launch(run.precision, device)
    agree(fabric, "configuration", fingerprint(run))
    if out:
        run = as_recorded(run, Path(out), RUN) if resume else run
        check_claim(run, Path(out), resume=resume)
    refuse_among_classes(run, Path(out or RUNS))
    parts = build(run, fabric.world_size)
    parts.notes[:0] = notes
    if not run.accumulate:
        count, note = fewest_parts(parts, fabric)
        run, parts.run = run.changed(accumulate=count), parts.run.changed(accumulate=count)
        parts.notes.append(note)
    folder = _place(fabric, out)
    with ExitStack() as stack:
        if fabric.global_rank == 0:
            stack.enter_context(Lock(folder))
        training = _Training(run, parts, fabric, precision, folder, observers)
        try:
            training.go()
            return training.finish(test)
        except BaseException:
            training.observer.finished([])
            raise


def fingerprint(run: Run) -> str:
    """A hash of all that decides the weights."""
    values = run.model_dump(mode="json", exclude=set(HARMLESS))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _place(fabric: Fabric, out: str | Path) -> Path:
    """The run's folder, made by rank 0 when all ranks have come this far."""
    folder = ""
    gather(None)
    if fabric.global_rank == 0:
        folder = str(claim(out))
    return Path(gather(folder)[0])


class _Training:
    """One run on its way: what `fit` is given, and what happens before and after it."""

    def __init__(
        self,
        run: Run,
        parts: Parts,
        fabric: Fabric,
        precision: str,
        folder: Path,
        observers: Iterable[Observer],
    ) -> None:
        self.asked, self.run = run, parts.run
        self.parts, self.fabric, self.folder = parts, fabric, folder
        self.precision, self.course = precision, Course(parts.run, parts.stop)
        self.first_rank = fabric.global_rank == 0
        own = [*sinks(folder), *observers] if self.first_rank else []
        self.signals = Signals()
        self.observer = Observers(own, self.signals)
        self.made_by = {
            **versions(),
            "precision": precision,
            "device": describe_device(fabric),
        }
        self.record = {
            "run": fingerprint(run),
            "data": data_record(parts.data),
            "made_by": self.made_by,
        }
        self.state = set_up(run, parts, fabric)

    def go(self) -> None:
        """Everything up to the last step."""
        if self.first_rank:
            checkpoint.clean(self.folder / CHECKPOINTS)
            self.check_room()
        self.restore()
        if self.first_rank:
            self.asked.write(self.folder / RUN)
            cut_logs(self.folder, self.state.step, final=self.state.step == self.parts.stop)
        self.fabric.barrier()
        self.observer.started(self.plan())
        hooks, validator = self.hooks()
        advice = failure.memory_advice(self.run.batch_size, self.run.accumulate)
        try:
            with (
                self.signals,
                failure.memory_told(self.fabric.device, step=self.where, advice=advice),
            ):
                self.catch_up(validator)
                fit(
                    self.fabric,
                    self.state,
                    seed=self.run.seed,
                    stop=self.parts.stop,
                    batches=self.batches,
                    prepare=self.prepare(),
                    schedule=self.schedule,
                    update=update_of(self.run, len(self.parts.data.classes), self.parts.stop),
                    after_step=hooks,
                )
        except NotFinite as error:
            raise self.explained(error) from None
        except Refused as error:  # a file that cannot be decoded, found on the way
            raise Failed(f"{self.where()}: {error}") from None

    # What `fit` is given

    def batches(self, start: int) -> Generator[Batch]:
        run = self.run
        source = training_batches(run, self.parts.data, self.fabric, start, self.parts.stop)
        for step, batch in enumerate(source, start):
            if step == 0 and self.first_rank:
                seed_noise(run.seed, 0, 0, self.fabric.device)
                draw_batch(self.folder, self.prepare()(batch), run.preprocess, self.parts.data)
            yield batch

    def prepare(self) -> Prepare:
        return preparation(self.run, self.parts.data, self.fabric, self.parts.stop)

    def schedule(self, state: State) -> None:
        self.course.set_dropout(state.model, state.step)
        rate = self.run.optim.lr * factor(self.run.schedule, state.step / self.parts.stop)
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        if AGENT_OPTIMIZER in state.extra:
            for group in state.extra[AGENT_OPTIMIZER].param_groups:
                group["lr"] = self.run.augment.patches.lr * rate / self.run.optim.lr

    def hooks(self) -> tuple[list[Hook], Validator]:
        run, stop = self.run, self.parts.stop
        # Of a tiny set an epoch is a few steps: not more than fifty looks in all.
        epoch = max(1, round(self.parts.epoch))
        look = max(epoch, stop // 50)
        watch = FiniteWatch(self.fabric.device)
        logger = Logger(
            self.fabric, self.observer, every=min(50, max(1, epoch // 10)),
            epoch=self.parts.epoch, batch_size=run.batch_size,
        )  # fmt: skip
        validator = Validator(
            every=run.evaluate_every or look, stop=stop, metric=self.parts.task.best,
            validate=self.validate, keep=self.keep_best,
            watch=watch, logger=logger, observer=self.observer,
        )  # fmt: skip
        saver = Saver(
            fabric=self.fabric, folder=self.folder / CHECKPOINTS,
            every=run.checkpoint_every or look, stop=stop, keep=run.keep, record=self.record,
            signals=self.signals, watch=watch, logger=logger, observer=self.observer,
        )  # fmt: skip
        return [watch, logger, validator, saver], validator

    def validate(self, state: State) -> Result:
        model = self.averaged(state)
        share_buffers(model)
        return self.evaluated(model, "val", state.step, self.heeding_signals)

    # Before and after

    def check_room(self) -> None:
        weights = checkpoint.size_of(self.state.objective.state_dict())
        one = weights * (4 if self.run.ema else 3)  # with Adam's two moments
        folder = self.folder / CHECKPOINTS
        there = len(list(folder.glob("step_*")))
        checkpoint.check_room(folder, one, max(1, self.run.keep + 1 - there))

    def restore(self) -> None:
        path = checkpoint.newest(self.folder / CHECKPOINTS) if self.first_rank else None
        path = gather(path)[0]
        if path is None:
            return
        content = checkpoint.load(path)
        record = content["record"]
        check_data_same(record["data"], self.parts.data)
        checkpoint.unpack(content, self.state)
        before: dict[str, str] = record["made_by"]
        changed = [
            f"{name} was {before.get(name)}, now {value}"
            for name, value in self.made_by.items()
            if value != before.get(name)
        ]
        if changed:
            log.warning("going on, but not bit for bit: %s", "; ".join(changed))
        self.parts.notes.append(f"goes on after {path.name}")

    def plan(self) -> Plan:
        parts, run = self.parts, self.run
        return Plan(
            folder=self.folder, model=run.model,
            parameters=sum(p.numel() for p in parts.model.parameters() if p.requires_grad),
            images={split: len(records) for split, records in parts.data.splits.items()},
            classes=parts.data.classes, first=self.state.step, stop=parts.stop,
            steps_per_epoch=parts.epoch, batch_size=run.batch_size,
            device=describe_device(self.fabric), precision=self.precision, best=parts.task.best,
            notes=tuple(parts.notes),
        )  # fmt: skip

    def catch_up(self, validator: Validator) -> None:
        """Make up for a validation that a signal cut short before the run was saved."""
        step = self.state.step
        lines = read_lines(self.folder / RESULTS) if step and validator.due(step) else []
        seen = any(line["split"] == "val" and line["step"] == step for line in lines)
        if step and validator.due(step) and not gather(seen)[0]:
            try:
                validator.judge(self.state)
            except Abandoned:
                raise self.signals.stopped_at(f"stopped at step {step}, as saved before") from None

    def averaged(self, state: State) -> torch.nn.Module:
        return state.ema.module if state.ema is not None else state.model

    def keep_best(self, state: State) -> None:
        if self.first_rank:
            told = metadata(self.run, self.parts, state.step)
            write_weights(self.folder / MODEL, self.averaged(state).state_dict(), told)

    def heeding_signals(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if self.signals.asked > SAVE and self.fabric.world_size == 1:
                raise Abandoned
            yield batch

    def evaluated(self, model: torch.nn.Module, split: str, step: int, heed: Any = iter) -> Result:
        run = self.run
        share = run.batch_size // (self.fabric.world_size * run.accumulate)
        batches = evaluation_batches(
            self.parts.data.splits[split], preprocess=run.preprocess,
            batch_size=max(share, min(4 * share, 64)),  # less memory a sample than in training
            workers=run.workers, rank=self.fabric.global_rank, world=self.fabric.world_size,
        )  # fmt: skip
        return evaluate(
            model, self.parts.task, heed(batches), preprocess=run.preprocess,
            device=self.fabric.device, split=split, step=step,
            conditions={"data": run.data, "seed": run.seed},
        )  # fmt: skip

    def where(self) -> str:
        return failure.where(self.state.step, self.state)

    def explained(self, error: NotFinite) -> Failed:
        """What was not finite, where it began, in which files."""
        objective: Any = self.state.objective
        newest = checkpoint.newest(self.folder / CHECKPOINTS)
        if not all(bool(torch.isfinite(p).all()) for p in objective.parameters()) and newest:
            objective.load_state_dict(checkpoint.load(newest)["objective"])
        found = "a lower --augment.patches.lr may help"
        if not failure.of_agents(error.logs):
            shards = self.state.optimizer.shards if isinstance(self.state.optimizer, SAM) else 1
            count = self.run.accumulate * shards
            with self.fabric.autocast():
                found = failure.first_bad(objective.module, error.batch, parts=count)
        files = failure.batch_files(error.batch, self.parts.data.splits["train"].files)
        said = f"{failure.told(error.logs)} at {failure.where(error.step, self.state)}; {found}"
        if self.first_rank:
            append_line(self.folder / LOG, {"step": error.step, "failed": said, "files": files})
        more = f" and {len(files) - 4} more, see {LOG}" if len(files) > 4 else ""
        rank = f"rank {self.fabric.global_rank}: " if self.fabric.world_size > 1 else ""
        some = ", ".join(map(printable, files[:4])) + more
        return Failed(
            f"train: {rank}{said}; batch of {some}; newest checkpoint: "
            f"{newest.name if newest else 'none'}"
        )

    def finish(self, test: bool) -> Opened:
        """The best weights on the test part, the figures, the last word."""
        if self.state.best == float("-inf"):
            raise Failed(f"train: no validation gave a finite {self.parts.task.best}")
        self.fabric.barrier()
        opened = open_run(self.folder, device=self.fabric.device)
        split = "test" if test and "test" in self.parts.data.splits else "val"
        known = [result_of(line) for line in read_lines(self.folder / RESULTS)]
        judged = [r for r in known if r.split == "val" and r.step == opened.step]
        # `ninefold eval` writes test lines too, without a seed; they are not this run's last word.
        tested = [r for r in known if r.split == "test" and "seed" in r.conditions]
        if not gather(tested)[0]:
            result = self.evaluated(opened.model, split, opened.step)
            if split == "test":
                self.observer.evaluated(result, True)
                tested = [result]
            if self.first_rank:
                draw_result(self.folder, result, self.parts.data)
        if self.first_rank:
            draw_log(self.folder)
        self.observer.finished([*judged[:1], *tested[-1:]])
        return opened


def result_of(line: dict[str, Any]) -> Result:
    """A line of `results.jsonl` as a result again."""
    numbers = {k: v for k, v in line.items() if isinstance(v, float) and k not in ("split", "step")}
    others = {k: v for k, v in line.items() if k not in numbers and k not in ("split", "step")}
    return Result(line["split"], line["step"], numbers, others)
