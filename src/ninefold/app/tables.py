"""The verbs that list: models, recipes, papers, and what is wrong in a data set; and `convert`."""

import inspect
from argparse import Namespace
from collections import Counter
from fnmatch import fnmatchcase

from ninefold.app import printing
from ninefold.core.errors import Refused, nearest
from ninefold.models.presets import PRESETS, Preset


def models(given: Namespace) -> int:
    """One line a preset. Published accuracy is the authors' own; nobody measured it here."""
    names = _chosen(given.pattern, sorted(PRESETS), "model")
    rows = [(name, *_preset(PRESETS[name])) for name in names]
    columns = "model parameters GMACs pixels status published weights licence paper"
    print(printing.table(columns.split(), rows))
    return 0


def _preset(preset: Preset) -> tuple[str, ...]:
    opened = "opened here" if preset.weights_opened else "layout tested"
    return (
        printing.short(preset.parameters),
        f"{preset.gmacs:.3g}",
        str(preset.preprocess.image_size),
        preset.status,
        f"{100 * preset.accuracy:.1f} %" if preset.accuracy else "-",
        opened if preset.weights else "-",
        preset.licence or "-",
        preset.paper,
    )


def recipes(given: Namespace) -> int:
    """One line a recipe."""
    from ninefold.recipes import RECIPES, find_recipe

    names = _chosen(given.pattern, list(RECIPES), "recipe")
    rows = [(name, (inspect.getdoc(find_recipe(name)) or "").split("\n")[0]) for name in names]
    print(printing.table(("recipe", "what it trains"), rows))
    return 0


def papers(given: Namespace) -> int:
    """Each paper's claims beside what was measured here."""
    from ninefold.report.measured import papers_table

    rows = [(r.claim, r.paper, r.measured, r.verdict) for r in papers_table(given.name)]
    print(printing.table(("claim", "the paper", "measured here", "verdict"), rows))
    return 0


def check(given: Namespace) -> int:
    """What is wrong in a data set, a line a finding; 1 if there is more than notes."""
    from ninefold.data.check import check_data

    findings = check_data(given.path)
    if findings:
        rows = [(f.level, f.kind, f.file, f.message) for f in findings]
        print(printing.table(("level", "kind", "file", "what"), rows))
    count = Counter(f.level for f in findings)
    told = ", ".join(f"{count[level]} {level}s" for level in ("error", "warning", "note"))
    print(f"{given.path}: {told}")
    return 1 if count["error"] or count["warning"] else 0


def convert(given: Namespace) -> int:
    """A foreign checkpoint as safetensors."""
    from ninefold.models.convert import convert as rewrite

    done = rewrite(given.source, given.out)
    name = done.preset or done.family
    left = f", {len(done.skipped)} left out" if done.skipped else ""
    print(
        f"{given.out}: {name}, {len(done.tensors)} tensors{left}, from the layout {done.layout}; "
        f"{done.classes} class names"
    )
    return 0


def reproduce(given: Namespace) -> int:
    """Measure one claim; its verdict in every setting."""
    from ninefold.study.reproduce import reproduce as measure

    for found in measure(
        given.claim, scale=given.scale, out=given.out, seeds=given.seeds, data=given.data
    ):
        where = f"{found.claim}, {found.setting}" if found.setting else found.claim
        print(f"{where}: {found.verdict} (effect {found.effect:+.4f} on {found.metric})")
    return 0


def _chosen(pattern: str, names: list[str], kind: str) -> list[str]:
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        raise Refused(f"no {kind} matches {pattern!r}{nearest(pattern, names)}")
    return found
