"""Measure one claim of one paper over seeds, and say whether it shows.

Whatever stops the measurement, called again it goes on: runs and readings are kept by their content
(`study.kept`), also for other claims that need the same.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from ninefold.core.errors import Refused
from ninefold.core.objects import find
from ninefold.engine.progress import Observer
from ninefold.report.claim_chart import claim_chart, settings_chart
from ninefold.report.claims import Claim, claim_named, papers
from ninefold.report.measured import CONFIDENCE, Measurement, Scale, Table
from ninefold.report.statistics import summarise, verdict
from ninefold.study.conditions import hardware, versions_told
from ninefold.study.experiments import EXPERIMENTS
from ninefold.study.kept import (
    minutes_of,
    reading_file,
    readings,
    run_folder,
    tested_value,
    trained,
    validated_value,
    write_json,
)
from ninefold.study.plan import (
    Arm,
    Best,
    Comparison,
    Plan,
    Read,
    Timed,
    Trained,
    described,
    value_at,
)


def reproduce(
    claim_id: str,
    *,
    scale: Scale = "laptop",
    out: str | Path = "",
    seeds: int | None = None,
    data: str = "",
    observers: Sequence[Observer] = (),
) -> list[Measurement]:
    """Run a claim's experiment and write `<paper>-<claim>-<scale>.json` and `.png` into `out`.

    Where the experiment has several settings, each has a file of its own.

    Args:
        scale: `smoke` (seconds; shows that it runs and nothing else), `laptop` (an hour at the most
            on two cores) or `gpu`.
        out: Folder of all runs, of this claim and of others; `runs/reproduce` where none is named.
            What stands there already is not repeated, so that more seeds can be added.
        seeds: Pairs of runs; the experiment's own number where none is given.
        data: Other data for the same models, as `Run.data` takes them.
        observers: Who is told of each run's progress.

    Returns:
        One measurement a setting.

    Raises:
        Refused: no such claim; none that is measured yet; no data, or data for what takes none.
        Failed: a run ended without the claim's metric on a test split.
    """
    claim = claim_named(claim_id)
    if not claim.experiment:
        measured = [c.id for p in papers().values() for c in p.claims if c.experiment]
        raise Refused(
            f"reproduce: nothing measures {claim.id!r} yet; what can be measured: "
            f"{', '.join(measured)}"
        )
    plan = EXPERIMENTS[claim.experiment](scale, data)
    count = plan.seeds if seeds is None else seeds
    if count < 1:
        raise Refused(f"reproduce: {count} seeds; 1 at the least, 2 for an interval")
    folder = Path(out or Path("runs") / "reproduce")
    measuring = _Measuring(folder, claim.metric, observers)
    for seed in range(count):
        for pair in plan.comparisons:
            for arm in (pair.subject, pair.against):
                measuring.value(arm, seed)
    command = f"ninefold reproduce {claim_id} --scale {scale}"
    command += f" --seeds {seeds}" if seeds is not None else ""
    command += f" --data {data}" if data else ""
    found = [
        _result(claim, scale, plan, pair, count, command, measuring) for pair in plan.comparisons
    ]
    for one in found:
        write_json(folder / f"{one.name}.json", one.model_dump(mode="json"))
        claim_chart(one, folder / f"{one.name}.png")
    if len(found) > 1:
        settings_chart(found, folder / f"{claim_id.replace('/', '-')}-{scale}.png")
    return found


class _Measuring:
    """Values of arms, each measured where it is not kept yet.

    Args:
        root: Where everything stands.
        metric: The claim's.
        observers: Told of each run's progress.
    """

    def __init__(self, root: Path, metric: str, observers: Sequence[Observer]) -> None:
        self.root, self.metric, self.observers = root, metric, observers

    def value(self, arm: Arm, seed: int) -> float:
        """The value of an arm."""
        if isinstance(arm, Timed | Read):
            return self.readings(arm, seed)[arm.reading]
        run = self.chosen(arm, seed) if isinstance(arm, Best) else arm
        return tested_value(trained(self.root, run, seed, self.observers), self.metric)

    def readings(self, arm: Timed | Read, seed: int) -> dict[str, float]:
        """All readings of an arm's function."""
        if isinstance(arm, Timed):
            return readings(self.root, arm, seed)
        folders = {
            name: trained(self.root, run, seed, self.observers) for name, run in arm.runs.items()
        }
        return find(arm.function)(folders)

    def validated(self, arm: Trained, seed: int) -> tuple[float, float]:
        """The metric on the validation part and the loss there, turned so that more is better."""
        return validated_value(trained(self.root, arm, seed, self.observers), self.metric)

    def chosen(self, arm: Best, seed: int) -> Trained:
        """The candidate that is best on the validation part; of equals the first."""
        return max(arm.candidates, key=lambda one: self.validated(one, seed))

    def minutes(self, arms: Sequence[Arm], seeds: int) -> float:
        """Of all runs and measurements behind these arms, each counted once."""
        places: dict[Path, float] = {}
        for seed in range(seeds):
            waiting = list(arms)
            while waiting:
                arm = waiting.pop()
                if isinstance(arm, Timed):
                    place = reading_file(self.root, arm, seed)
                    places[place] = readings(self.root, arm, seed)["minutes"]
                elif isinstance(arm, Best):
                    waiting += arm.candidates
                elif isinstance(arm, Read):
                    waiting += arm.runs.values()
                else:
                    waiting += [arm.start] if arm.start else []
                    place = run_folder(self.root, arm, seed)
                    places[place] = minutes_of(place)
        return sum(places.values())

    def tables(self, pair: Comparison, seeds: int) -> tuple[Table, ...]:
        """What stands beside the values of a pair."""
        found: list[Table] = []
        if pair.tables is not None and isinstance(pair.subject, Timed | Read):
            subject = pair.subject
            found += pair.tables([self.readings(subject, seed) for seed in range(seeds)])
        for arm in (pair.subject, pair.against):
            if isinstance(arm, Best):
                found.append(self._choice(arm, seeds))
        return tuple(found)

    def _choice(self, arm: Best, seeds: int) -> Table:
        """Every candidate of every seed, and which of them was chosen."""
        rows: list[tuple[str | float, ...]] = []
        for seed in range(seeds):
            chosen = self.chosen(arm, seed)
            for one in arm.candidates:
                validated, _ = self.validated(one, seed)
                mark = " (chosen)" if one is chosen else ""
                told = f"{value_at(one.run, arm.by) or 'none'}{mark}"
                rows.append((str(seed), told, validated, self.value(one, seed)))
        metric = self.metric
        return Table(
            title=f"What was tried for `{arm.by}`, and chosen by {metric} on the validation part",
            columns=("seed", arm.by, f"validation {metric}", f"test {metric}"),
            rows=tuple(rows),
        )


def _result(
    claim: Claim,
    scale: Scale,
    plan: Plan,
    pair: Comparison,
    count: int,
    command: str,
    measuring: _Measuring,
) -> Measurement:
    subject = tuple(measuring.value(pair.subject, seed) for seed in range(count))
    against = tuple(measuring.value(pair.against, seed) for seed in range(count))
    effects = tuple(claim.effect_of(a, b) for a, b in zip(subject, against, strict=True))
    summary = summarise(effects, confidence=CONFIDENCE)
    mine, other = described(pair.subject), described(pair.against)
    equal = claim.direction == "equal"
    return Measurement(
        claim=claim.id,
        scale=scale,
        setting=pair.setting,
        metric=claim.metric,
        equal=equal,
        smallest=claim.smallest,
        seeds=tuple(range(count)),
        subject=subject,
        against=against,
        effects=effects,
        effect=summary.mean,
        low=summary.low if count > 1 else None,
        high=summary.high if count > 1 else None,
        verdict=verdict(summary, claim.smallest, equal=equal),
        data=plan.data,
        command=command,
        hardware=hardware(),
        versions=versions_told(),
        minutes=round(measuring.minutes((pair.subject, pair.against), count), 1),
        date=date.today().isoformat(),
        run=mine,
        differs={key: other[key] for key in other if other[key] != mine.get(key)},
        tables=measuring.tables(pair, count),
    )
