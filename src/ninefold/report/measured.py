"""What was measured of a claim: the kept results, the page made of them, and the table `papers`.

A result is one JSON file, `docs/results/<paper>-<claim>-<scale>.json`; the page `docs/results.md`
is made from these files and from `claims/*.yaml`, and written by nobody's hand.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from ninefold.core.config import Config
from ninefold.core.errors import Refused
from ninefold.report.claims import Claim, PaperFigure, claim_named, paper_named, papers
from ninefold.report.statistics import Summary, Verdict, summarise, verdict

Scale = Literal["smoke", "laptop", "gpu"]

CONFIDENCE = 0.95


class Table(Config):
    """Numbers that stand beside a result and decide nothing."""

    title: str
    """One line."""
    columns: tuple[str, ...]
    """Heads of the columns."""
    rows: tuple[tuple[str | float, ...], ...]
    """As many values as columns, each row."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"each row must have {len(self.columns)} values")
        return self


class Measurement(Config):
    """One claim, measured over seeds in one setting, with its conditions.

    Raises:
        Refused: on reading, where the effect or the verdict do not follow from the values.
    """

    claim: str
    """Id of the claim."""
    scale: Scale
    """`smoke` shows that the machinery runs and nothing about the claim; it is never kept."""
    setting: str = ""
    """What tells it from the other settings of the claim's experiment, where there are several."""
    metric: str
    """As the claim names it; of runs, that of the test split, in the checkpoint that validation
    chose."""
    equal: bool = False
    """Whether the claim is that no effect reaches `smallest`, to either side."""
    smallest: PositiveFloat
    """The smallest effect worth the name, as the claim stated it before the runs."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """One pair of values a seed; of times, a seed is a repetition in a process of its own."""
    subject: tuple[float, ...]
    """The claim's subject: one value a seed."""
    against: tuple[float, ...]
    """What it is compared with, on the same seeds."""
    effects: tuple[float, ...]
    """One a seed, positive in the claim's direction."""
    effect: float
    """Their mean."""
    low: float | None
    """Lower end of its 95 % t interval; None (without an end) for a single seed."""
    high: float | None
    """Upper end, likewise."""
    verdict: Verdict
    """By `report.statistics.verdict`."""
    data: str
    """What was seen, named for what it is, with its address."""
    command: str
    """Repeats the measurement."""
    hardware: str
    """Processor or GPU, and cores used."""
    versions: str
    """Of ninefold, torch and Python."""
    minutes: float
    """Time of all runs together, those that other measurements share among them."""
    date: str
    """Day on which it ended."""
    run: dict[str, Any]
    """The subject's run in full, as in `run.yaml`, but for the seed; or what was measured."""
    differs: dict[str, Any]
    """The fields in which the other one differs, with its values."""
    tables: tuple[Table, ...] = ()
    """What else was measured on the way."""

    @model_validator(mode="after")
    def _follows(self) -> Self:
        if not len(self.seeds) == len(self.subject) == len(self.against) == len(self.effects):
            raise ValueError("seeds, subject, against and effects must have one value a seed")
        summary = summarise(self.effects, confidence=CONFIDENCE)
        said = verdict(summary, self.smallest, equal=self.equal)
        if abs(summary.mean - self.effect) > 1e-9 or self.verdict != said:
            raise ValueError("effect and verdict do not follow from the effects of the seeds")
        return self

    @property
    def name(self) -> str:
        """`<paper>-<claim>-<scale>`, and the setting: the name of its file."""
        setting = "-".join(re.findall(r"[a-z0-9]+", self.setting.lower()))
        return "-".join(filter(None, [self.claim.replace("/", "-"), self.scale, setting]))

    def summary(self) -> Summary:
        """The effect with its interval."""
        return summarise(self.effects, confidence=CONFIDENCE)


def kept_folder() -> Path:
    """Where kept results stand: in an installed package beside this file, else in `docs/`."""
    inside = Path(__file__).parent / "results"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "docs" / "results"


def read_kept(folder: str | Path) -> list[Measurement]:
    """All results in a folder, by name of file.

    Raises:
        Refused: a file that is no result, that contradicts itself, or of a claim that is unknown.
    """
    found: list[Measurement] = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise Refused(f"{path}: not JSON: {error}") from None
        found.append(Measurement.parse(values, where=str(path)))
        claim_named(found[-1].claim)
    return found


@dataclass(frozen=True)
class PaperRow:
    """One line of `ninefold papers`: texts, ready to print."""

    claim: str
    statement: str
    paper: str
    measured: str
    verdict: str


def papers_table(name: str = "", *, kept: list[Measurement] | None = None) -> list[PaperRow]:
    """Claims beside what was measured: of one paper, or of all.

    Args:
        kept: Results to show; those that come with the project where none are given.

    Raises:
        Refused: no such paper.
    """
    measured = read_kept(kept_folder()) if kept is None else kept
    chosen = [paper_named(name)] if name else list(papers().values())
    return [_row(claim, measured) for paper in chosen for claim in paper.claims]


def _row(claim: Claim, measured: list[Measurement]) -> PaperRow:
    mine = sorted((m for m in measured if m.claim == claim.id), key=_place)
    said = _figure(claim.figures[0]) if claim.figures else "no number at hand"
    return PaperRow(
        claim=claim.id,
        statement=claim.statement,
        paper=said,
        measured="; ".join(f"{_setting(m)}{_effect(m, claim)} ({m.scale})" for m in mine) or "-",
        verdict="; ".join(dict.fromkeys(m.verdict for m in mine)) or "not measured",
    )


def _setting(m: Measurement) -> str:
    return f"{m.setting}: " if m.setting else ""


def _figure(figure: PaperFigure) -> str:
    unit = f" {figure.unit}" if figure.unit else ""
    return f"{figure.value:g} against {figure.against:g}{unit} ({figure.source})"


def _effect(m: Measurement, claim: Claim) -> str:
    """`+1.8 points [0.4, 3.2], n = 5`; relative effects as percentages."""
    unit = "points" if claim.effect == "difference" else "%"
    summary = m.summary()
    ends = f"[{100 * summary.low:.1f}, {100 * summary.high:.1f}]"
    return f"{100 * summary.mean:+.1f} {unit} {ends}, n = {summary.count}"


def results_page(kept: list[Measurement], *, pictures: Collection[str] = ()) -> str:
    """`docs/results.md` as text.

    Args:
        kept: As `read_kept` gives them.
        pictures: File names of the pictures that stand in `docs/results`.
    """
    lines = [
        "# What the papers claim, and what was measured here",
        "",
        "Made from `src/ninefold/report/claims/*.yaml` and `docs/results/*.json`; what the",
        "verdicts mean, and how to add to this page, stands in [claims.md](claims.md).",
        "Figures of the papers were measured by their authors, on their data. Each has its source:",
        "the survey deck, the authors' repository, or recalled (not read again here).",
        "",
    ]
    for paper in papers().values():
        lines += [f"## {paper.title}", ""]
        lines += [f"{paper.authors}, [arXiv {paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})."]
        lines += ([paper.note.strip()] if paper.note else []) + [""]
        lines += ["| claim | the paper | measured here | verdict |", "|---|---|---|---|"]
        for claim in paper.claims:
            row = _row(claim, kept)
            lines.append(
                f"| `{row.claim}`<br>{row.statement}<br>*{claim.where}* | {_figures(claim)} "
                f"| {row.measured} | {row.verdict} |"
            )
        lines.append("")
        told: set[str] = set()
        for m in sorted(kept, key=_place):
            if claim_named(m.claim) in paper.claims:
                lines += _together(m, pictures, told) + _section(m, pictures)
    return "\n".join(lines)


def _figures(claim: Claim) -> str:
    if not claim.figures:
        return claim.note or "no number at hand"
    told = [
        f"{f.setting}: {_figure(f)}" + (f". {f.corrected}" if f.corrected else "")
        for f in claim.figures
    ]
    return "<br>".join([*told, claim.note] if claim.note else told)


def _place(m: Measurement) -> tuple[str, str, list[tuple[int, str]]]:
    """Settings in the order of the numbers in them."""
    words = re.split(r"(\d+)", m.setting)
    return m.claim, m.scale, [(int(w), "") if w.isdecimal() else (0, w) for w in words]


def _together(m: Measurement, pictures: Collection[str], told: set[str]) -> list[str]:
    """The picture of all settings, before the first of them."""
    name = m.changed(setting="").name
    if not m.setting or f"{name}.png" not in pictures or name in told:
        return []
    told.add(name)
    return [f"![{m.claim} in all settings](results/{name}.png)", ""]


def _section(m: Measurement, pictures: Collection[str]) -> list[str]:
    claim = claim_named(m.claim)
    setting = f", {m.setting}" if m.setting else ""
    lines = [f"### `{m.claim}` at {m.scale} scale{setting}: {m.verdict}", ""]
    if f"{m.name}.png" in pictures:
        lines += [f"![{claim.subject} and {claim.against}](results/{m.name}.png)", ""]
    lines += [f"| seed | {claim.subject} | {claim.against} | effect |", "|---|---|---|---|"]
    for seed, subject, against, effect in zip(
        m.seeds, m.subject, m.against, m.effects, strict=True
    ):
        lines.append(f"| {seed} | {subject:.4f} | {against:.4f} | {effect:+.4f} |")
    bound = "the claim is that it is below" if m.equal else "the smallest worth the name"
    lines += [
        "",
        f"- Effect on {m.metric}: {_effect(m, claim)}; {bound}, stated before the runs,"
        f" {'' if m.equal else 'is '}{100 * m.smallest:g}.",
        f"- Data: {m.data}",
        f"- Command: `{m.command}`",
        f"- {m.hardware}; {m.versions}; {m.minutes:.0f} minutes in all; {m.date}",
        "",
    ]
    for table in m.tables:
        lines += [f"{table.title}:", "", f"| {' | '.join(table.columns)} |"]
        lines.append("|---" * len(table.columns) + "|")
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in table.rows]
        lines.append("")
    return lines


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def write_page(docs: str | Path) -> None:
    """Make `results.md` in the folder `docs` anew from `docs/results`."""
    results = Path(docs) / "results"
    pictures = {path.name for path in results.glob("*.png")}
    page = results_page(read_kept(results), pictures=pictures)
    (Path(docs) / "results.md").write_text(page, encoding="utf-8")
