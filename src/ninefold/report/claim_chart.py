"""Pictures of a measured claim: every seed's pair, the effect beside what the paper has, and how
both go with the setting where there are several."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from ninefold.report.claims import Claim, claim_named
from ninefold.report.measured import Measurement
from ninefold.report.style import BLUE, GREEN, GREY, ORANGE, RED, canvas, save, styled, text


@styled
def claim_chart(found: Measurement, path: str | Path) -> None:
    """Left, the values of each seed, joined; right, their effect, its interval, the paper's."""
    claim = claim_named(found.claim)
    figure = canvas(4.6)
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    _pairs(left, found, claim)
    _effect(right, found, claim)
    scale = f"{found.scale} scale" + (f", {found.setting}" if found.setting else "")
    title = f"{found.claim}, {scale}, {len(found.seeds)} seeds: {found.verdict}"
    figure.suptitle(text(title), x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.supxlabel(text(f"Data: {found.data}", 125), fontsize=8, color=GREY, x=0.01, ha="left")
    save(figure, path)


@styled
def settings_chart(found: Sequence[Measurement], path: str | Path) -> None:
    """A row a setting: left, the values of both with their means; right, effect and interval."""
    claim = claim_named(found[0].claim)
    figure = canvas(1.9 + 0.62 * len(found))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.15, 1])
    places = range(len(found))
    for name, colour, shift, values in (
        (claim.against, ORANGE, -0.15, [m.against for m in found]),
        (claim.subject, BLUE, 0.15, [m.subject for m in found]),
    ):
        for y, some in zip(places, values, strict=True):
            left.scatter(some, [y + shift] * len(some), color=colour, s=18, alpha=0.6)
        means = [sum(some) / len(some) for some in values]
        left.plot(means, [y + shift for y in places], "|", color=colour, ms=13, mew=3,
                  label=text(name))  # fmt: skip
    left.set_yticks(places, [textwrap.fill(text(m.setting), 22) for m in found])
    left.set_ylim(len(found) - 0.45, -0.55)
    left.set_xlabel(text(found[0].metric, 60))
    left.set_title("one dot a seed, bars are means")
    for y, m in zip(places, found, strict=True):
        summary = m.summary()
        if math.isfinite(summary.low):
            right.plot([summary.low, summary.high], [y, y], color=BLUE, lw=3)
        right.plot([summary.mean], [y], "o", color=BLUE, ms=9)
        right.annotate(m.verdict, (summary.mean, y), (0, 8), textcoords="offset points",
                       fontsize=8, ha="center")  # fmt: skip
    right.axvline(0, color=GREY, lw=1)
    right.axvline(found[0].smallest, color=RED, lw=1.2, ls="--")
    right.margins(x=0.2)
    right.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    right.set_title(_unit(claim))
    right.set_xlabel("dashed: the smallest worth the name")
    for axes in (left, right):
        axes.grid(visible=True, axis="x")
    figure.legend(loc="outside upper right", ncols=2)
    title = f"{claim.id}, {found[0].scale} scale, {len(found[0].seeds)} seeds"
    figure.suptitle(text(title), x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.supxlabel(text(f"Data: {found[0].data}", 125), fontsize=8, color=GREY, x=0.01, ha="left")
    save(figure, path)


def _unit(claim: Claim) -> str:
    unit = "points" if claim.effect == "difference" else "%"
    return f"effect in the claim's direction ({unit})"


def _pairs(axes: Axes, found: Measurement, claim: Claim) -> None:
    for against, subject in zip(found.against, found.subject, strict=True):
        axes.plot([0, 1], [against, subject], color=GREY, lw=0.8, alpha=0.6, zorder=1)
    for x, values, colour in ((0, found.against, ORANGE), (1, found.subject, BLUE)):
        mean = sum(values) / len(values)
        axes.scatter([x] * len(values), values, color=colour, s=28, zorder=2)
        axes.plot([x - 0.16, x + 0.16], [mean, mean], color=colour, lw=3, zorder=3)
        side = -0.2 if x == 0 else 1.2
        axes.text(side, mean, f"{mean:.3f}", color=colour, va="center", fontweight="bold",
                  ha="right" if x == 0 else "left")  # fmt: skip
    axes.set_xlim(-0.7, 1.7)
    axes.set_xticks([0, 1], [textwrap.fill(text(n), 13) for n in (claim.against, claim.subject)])
    axes.set_ylabel(text(found.metric, 60))
    axes.set_title("one line a seed, bars are means")
    axes.grid(visible=True, axis="y")


def _effect(axes: Axes, found: Measurement, claim: Claim) -> None:
    summary, paper = found.summary(), claim.paper_effect()
    ends = [v for v in (summary.low, summary.high) if math.isfinite(v)]
    if ends:
        axes.plot(ends, [1, 1], color=BLUE, lw=3, solid_capstyle="butt")
    axes.plot([summary.mean], [1], "o", color=BLUE, ms=9)
    axes.scatter(found.effects, [0.72] * len(found.effects), color=BLUE, s=14, alpha=0.6)
    rows = [(1.0, "measured here"), (0.72, "each seed")]
    if paper is not None:
        axes.plot([paper], [0.36], "D", color=GREEN, ms=8)
        axes.text(paper, 0.29, text(claim.figures[0].setting, 34), color=GREEN, fontsize=8,
                  ha="center", va="top")  # fmt: skip
        rows.append((0.36, f"the paper\n({claim.figures[0].source})"))
    axes.axvline(0, color=GREY, lw=1)
    for bound in (found.smallest, -found.smallest)[: 2 if found.equal else 1]:
        axes.axvline(bound, color=RED, lw=1.2, ls="--")
    axes.text(found.smallest, 1.29, " smallest worth the name", color=RED, fontsize=8, va="top")
    axes.set_ylim(0.1, 1.3)
    axes.set_yticks([height for height, _ in rows], [name for _, name in rows])
    axes.margins(x=0.25)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    axes.set_title(_unit(claim))
    axes.grid(visible=True, axis="x")
