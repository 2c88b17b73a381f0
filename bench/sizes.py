# SPDX-License-Identifier: Apache-2.0
"""What a caller waits, by the size of the catalogue; and the export and import of one."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from bench import questions, servers
from bench.asking import Client
from bench.databases import Databases
from bench.measures import Options, Report, spread
from bench.questions import CONTEXT, Question

IMPORTED = 100_000
"""The largest catalogue that is imported."""

_OF_A_ROUND = 0.05
_LEAST_ANSWERS = 5
_SETTLE_SECONDS = 0.5
_BETWEEN_LOOKS = 0.02


def scale(kept: Databases, folder: Path, options: Options) -> Report:
    """Every question at every size in turn, on one connection to a server of its own for each size."""
    with ExitStack() as stack:
        clients = {}
        for size in options.scale:
            url = kept.create(size)
            stack.callback(kept.drop, url)
            server = stack.enter_context(servers.subject(url, folder, CONTEXT))
            server.wait()
            clients[size] = Client(server.port)
            stack.callback(clients[size].close)
        time.sleep(_SETTLE_SECONDS)
        report: Report = {"sizes": list(options.scale)}
        if kept.bytes(options.scale[0]):
            report["file_bytes"] = {str(size): kept.bytes(size) for size in options.scale}
        for group, ask in (("reads", questions.reads), ("writes", questions.writes)):
            report[group] = _compare(clients, ask, options)
    return report


def _compare(clients: dict[int, Client], ask: Callable[[int], list[Question]], options: Options) -> Report:
    by_size = {size: ask(size) for size in clients}
    report: Report = {}
    for alike in zip(*by_size.values(), strict=True):
        asked = dict(zip(by_size, alike, strict=True))
        name = alike[0].name
        report[name] = _measure(clients, asked, options)
        waits = "  ".join(f"{figures['median']:8.3f}" for figures in report[name]["milliseconds"].values())
        options.say(f"{name:45} ms {waits}")
    return report


def _measure(clients: dict[int, Client], asked: dict[int, Question], options: Options) -> Report:
    images = {size: clients[size].ask(next(asked[size].requests)).images for size in asked}
    seconds = options.seconds * _OF_A_ROUND * len(asked)
    rounds = [_round(clients, asked, seconds) for _ in range(options.rounds)]
    return {
        "images": {str(size): shown for size, shown in images.items()},
        **_grown("milliseconds", "ratio", [{size: median(each) for size, each in waits.items()} for waits in rounds]),
        **_grown(
            "fastest", "ratio_of_fastest", [{size: _fast(each) for size, each in waits.items()} for waits in rounds]
        ),
    }


def _grown(waits: str, ratio: str, rounds: list[dict[int, float]]) -> Report:
    """One figure (seconds) of each size in each round, as milliseconds and as ratios to the smallest size's."""
    smallest, *larger = rounds[0]
    return {
        waits: {str(size): spread([1e3 * done[size] for done in rounds]) for size in rounds[0]},
        ratio: {str(size): spread([done[size] / done[smallest] for done in rounds]) for size in larger},
    }


def _fast(waits: list[float]) -> float:
    """What a tenth of the waits stays below: hardly moved by what else the machine does."""
    return sorted(waits)[len(waits) // 10]


def _round(clients: dict[int, Client], asked: dict[int, Question], seconds: float) -> dict[int, list[float]]:
    """Every wait in seconds. Sizes take turns with every request, so other work on the machine hits all alike."""
    waits: dict[int, list[float]] = {size: [] for size in asked}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or any(len(each) < _LEAST_ANSWERS for each in waits.values()):
        for size, question in asked.items():
            waits[size].append(clients[size].ask(next(question.requests)).seconds)
    return waits


def move(kept: Databases, folder: Path, options: Options) -> Report:
    """Export each catalogue; import one."""
    report: Report = {"export": {}, "import": {}}
    for size in options.scale:
        url, file = kept.create(size), folder / f"{size}.jsonl"
        report["export"][str(size)] = {**_run("export", str(file), url=url), "bytes": file.stat().st_size}
        kept.drop(url)
        options.say(f"export of {size}: {report['export'][str(size)]}")
    imported = max((size for size in options.scale if size <= IMPORTED), default=None)
    if imported is not None:
        url = kept.create_with_tables()
        report["import"][str(imported)] = _run("import", "json", str(folder / f"{imported}.jsonl"), url=url)
        kept.drop(url)
        options.say(f"import of {imported}: {report['import'][str(imported)]}")
    for file in folder.glob("*.jsonl"):
        file.unlink()
    return report


def _run(*command: str, url: str) -> dict[str, Any]:
    """Seconds and peak memory (MiB, RSS) of a command of the program, on its own."""
    started = time.perf_counter()
    arguments = [sys.executable, "-m", "glance_registry", *command, "--database", url]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as process:
        peak = 0
        # wait4 would tell the peak of the process that we forked, too, before it became the program.
        while process.poll() is None:
            found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            peak = max(peak, int(found[1]) if found else 0)
            time.sleep(_BETWEEN_LOOKS)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return {"seconds": round(time.perf_counter() - started, 2), "peak_rss_mib": round(peak / 1024, 1)}
