# SPDX-License-Identifier: Apache-2.0
"""What a caller waits, by the size of the catalogue; and the export and import of one."""

import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import questions, servers
from bench.asking import Client
from bench.databases import Databases
from bench.measures import Options, Report
from bench.questions import CONTEXT
from bench.waits import compare

IMPORTED = 100_000
"""The largest catalogue that is imported."""

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
            report[group] = compare(clients, {size: ask(size) for size in clients}, options)
    return report


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
