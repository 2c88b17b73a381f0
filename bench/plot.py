# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.plot`: docs/performance.md's tables and its plot, from what the bench measured into
docs/performance.json. A test compares the three."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.aims import aims, grown
from bench.document import written
from bench.svg import Line, Panel, figure

Report = dict[str, Any]

DOCS = Path(__file__).parents[1] / "docs"
RESULT, PAGE, PLOT = DOCS / "performance.json", DOCS / "performance.md", DOCS / "performance.svg"

_KINDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_CASES = {"show": "GET by id", "page of a project": "page of 25", "create": "create"}
_WAITS = {
    "get": "GET by id",
    "page public created_at first": "page: public",
    "page project created_at first": "page: project's",
    "page everything created_at first": "page: everything",
    "filter common property": "page: by property",
}


def main() -> None:
    report = json.loads(RESULT.read_text())
    # The aims may be others than on the day of the measures.
    report["aims"] = aims(report["parts"])
    RESULT.write_text(written(report))
    PAGE.write_text(renewed(PAGE.read_text(), report))
    PLOT.write_text(plot(report))


def renewed(page: str, report: Report) -> str:
    """The page with its generated parts made anew."""
    for name, make in PARTS.items():
        start, end = f"<!-- {name}: generated -->", f"<!-- /{name} -->"
        pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
        made = f"{start}\n{make(report)}\n{end}"
        page = pattern.sub(made.replace("\\", r"\\"), page)
    return page


def plot(report: Report) -> str:
    """An SVG: rates beside Glance's, and waits, by the size of the catalogue."""
    parts = report["parts"]
    rates = [_rates(name, parts[f"{kind}-peer"]) for kind, name in _KINDS.items() if f"{kind}-peer" in parts]
    waits = [_waits(name, parts[f"{kind}-scale"]) for kind, name in _KINDS.items() if f"{kind}-scale" in parts]
    return figure([*rates, *waits], "Answers per second beside Glance, and waits, by images in the catalogue")


def _rates(kind: str, figures: Report) -> Panel:
    lines = []
    for colour, (case, label) in enumerate(_CASES.items()):
        for program, name, dashed in (("subject", label, False), ("glance", f"Glance: {label}", True)):
            points = {int(size): at[case][program]["per_second"]["median"] for size, at in figures["sizes"].items()}
            lines.append(Line(name, points, colour, dashed))
    return Panel(f"{kind}: answers per second", "by images in the catalogue; dashed: Glance", lines)


def _waits(kind: str, figures: Report) -> Panel:
    lines = []
    for colour, (question, label) in enumerate(_WAITS.items()):
        waits = figures["reads"][question]["milliseconds"]
        lines.append(Line(label, {int(size): each["median"] for size, each in waits.items()}, colour))
    return Panel(f"{kind}: wait of one client", "milliseconds, by images in the catalogue", lines)


def _circumstances(report: Report) -> str:
    machine = report["machine"]
    runs = [figures["measured"] for figures in report["parts"].values()]
    loads = [run["load_average"] for run in runs]
    return (
        f"Measured from {min(run['at'] for run in runs)} to {max(run['at'] for run in runs)}, version"
        f" {report['version']}, on {machine['cores']} cores, Python {machine['python']}, {machine['platform']};"
        f" {report['rounds']} rounds of {report['seconds']} s. The parts took"
        f" {sum(run['took_seconds'] for run in runs)} s together; the machine's load average (five minutes) after each"
        f" was {min(loads)} to {max(loads)}."
    )


def _aims(report: Report) -> str:
    rows = []
    for aim in report["aims"]:
        kind, _, part = aim["part"].partition("-")
        limit = f"≥ {_number(aim['at_least'])}" if "at_least" in aim else f"≤ {_number(aim['at_most'])}"
        met = "met" if aim["met"] else "**not met**"
        rows.append((_KINDS[kind], part, aim["what"], limit, _number(aim["measured"]), met))
    return _table(("database", "part", "what", "aim", "measured", ""), rows)


def _waits_table(report: Report) -> str:
    scales = {kind: report["parts"][f"{kind}-scale"] for kind in _KINDS if f"{kind}-scale" in report["parts"]}
    heads = ["milliseconds"]
    rows: dict[str, list[str]] = {}
    for kind, figures in scales.items():
        *_, largest = sizes = [str(size) for size in figures["sizes"]]
        heads += [f"{_KINDS[kind]}: {int(size):,}" if size == sizes[0] else f"{int(size):,}" for size in sizes] + ["×"]
        for question, each in {**figures["reads"], **figures["writes"]}.items():
            waits = [f"{each['milliseconds'][size]['median']:.2f}" for size in sizes]
            ratio = f"{each['ratio'][largest]['median']:.2f}" if largest in each["ratio"] else ""
            rows.setdefault(question, [question]).extend([*waits, ratio])
    return _table(heads, rows.values())


def _peer_table(report: Report) -> str:
    rows = []
    for kind, name in _KINDS.items():
        for size, cases in report["parts"].get(f"{kind}-peer", {"sizes": {}})["sizes"].items():
            for case, each in cases.items():
                rates = [_number(each[program]["per_second"]["median"]) for program in ("subject", "glance")]
                ratios = [_number(each[ratio]["median"]) for ratio in ("ratio", "cpu_ratio")]
                rows.append((name, f"{int(size):,}", case, *rates, *ratios))
    heads = ("database", "images", "", "answers/s", "Glance's", "ratio", "ratio of CPU time")
    return _table(heads, rows)


def _purge_table(report: Report) -> str:
    rows = []
    for kind, name in _KINDS.items():
        figures = report["parts"].get(f"{kind}-purge")
        if not figures:
            continue
        for group in grown(next(iter(figures["reads"].values())), next(iter(figures["reads"]))):
            ratios = [grown(reads, state)[group] for state, reads in figures["reads"].items()]
            rows.append((name, group, *(f"{ratio:.2f}" for ratio in ratios)))
    return _table(("database", "", "× half deleted", "× purged"), rows)


def _writer_table(report: Report) -> str:
    rows = []
    for kind, name in _KINDS.items():
        for when, waits in report["parts"].get(f"{kind}-purge", {"writer": {}})["writer"].items():
            if when != "purge":
                figures = (waits[key] for key in ("registrations", "median", "of_100_the_longest", "longest"))
                rows.append((name, when.replace("_", " "), *map(_number, figures)))
    return _table(("database", "one writer", "registrations", "median", "one in a hundred", "longest"), rows)


def _moves_table(report: Report) -> str:
    rows = []
    for kind, name in _KINDS.items():
        for what, sizes in report["parts"].get(f"{kind}-move", {}).items():
            if what != "measured":
                rows += [
                    (name, what, f"{int(size):,}", f"{each['seconds']:.1f}", f"{each['peak_rss_mib']:.0f}")
                    for size, each in sizes.items()
                ]
    return _table(("database", "", "images", "seconds", "peak memory, MiB"), rows)


def _number(value: float) -> str:
    """Three digits are all that such measures bear."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(heads)]
    lines += [["---"] * len(lines[0]), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


PARTS: dict[str, Callable[[Report], str]] = {
    "circumstances": _circumstances,
    "aims": _aims,
    "waits": _waits_table,
    "peer": _peer_table,
    "moves": _moves_table,
    "purge": _purge_table,
    "writer": _writer_table,
}


if __name__ == "__main__":
    main()
