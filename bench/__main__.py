# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`: measures, and one JSON document on standard output. README.md says what it means."""

import argparse
import json
import os
import platform
import shutil
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import measures, servers
from bench.measures import Options, Pair, Report
from bench.servers import Databases

KINDS = ("sqlite", "postgresql")
ALONE = {"start": measures.start, "idle": measures.idle}
BESIDE_A_CEILING = {"get": Pair.measure_get, "list": Pair.measure_list, "post": Pair.measure_post}
PARTS = [f"{kind}-{part}" for kind in KINDS for part in (*ALONE, *BESIDE_A_CEILING)]

GET_OF_CEILING = 0.5
GAIN_OF_MANY_WRITERS = 3.0
IDLE_MIB = 80.0
SECONDS_TO_START = 1.0


def main() -> None:
    given = _arguments().parse_args()
    if given.wrk and not shutil.which("wrk"):
        sys.exit("bench: there is no wrk on the PATH")
    options = Options(images=given.images, rounds=given.rounds, seconds=given.seconds, wrk=given.wrk, say=_say)
    wanted = [part for part in PARTS if not given.only or any(part.startswith(name) for name in given.only)]
    if not wanted:
        sys.exit(f"bench: no part is called so; there are: {' '.join(PARTS)}")
    report: Report = {}
    for kind in KINDS:
        parts = [part.removeprefix(f"{kind}-") for part in wanted if part.startswith(kind)]
        if parts:
            report |= {f"{kind}-{part}": figures for part, figures in _measure(kind, parts, options).items()}
    print(json.dumps({**_circumstances(options), "parts": report, "aims": _aims(report)}, indent=2))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the registry; JSON on stdout.")
    parser.add_argument("--images", type=int, default=10_000, metavar="N", help="size of the catalogue (10000)")
    parser.add_argument("--only", action="append", metavar="PART", help="a part or how its name begins; repeatable")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of each comparison (5)")
    parser.add_argument("--seconds", type=float, default=2.5, metavar="S", help="length of a round (2.5)")
    parser.add_argument("--wrk", action="store_true", help="send the GETs with wrk instead of our own generator")
    parser.epilog = f"parts: {' '.join(PARTS)}"
    return parser


def _measure(kind: str, parts: list[str], options: Options) -> Report:
    started = time.perf_counter()
    with servers.databases(kind, options.images) as (kept, folder):
        _say(f"{kind}: {options.images} images in {time.perf_counter() - started:.1f} s")
        measures.warm_up(kept, folder)
        report = {part: run(kept, folder, options) for part, run in ALONE.items() if part in parts}
        return report | _measure_pair(kept, folder, parts, options)


def _measure_pair(kept: Databases, folder: Path, parts: list[str], options: Options) -> Report:
    runs = {part: run for part, run in BESIDE_A_CEILING.items() if part in parts}
    if not runs:
        return {}
    with servers.subject(kept.create(), folder) as subject, servers.ceiling(kept.create(), folder) as ceiling:
        subject.wait()
        ceiling.wait()
        _say("rates are those of the subject, then of the ceiling; for post with one client, then with many")
        pair = Pair(subject, ceiling, options)
        return {part: run(pair) for part, run in runs.items()}


def _circumstances(options: Options) -> Report:
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": version("glance-registry"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "platform": platform.platform()},
        "images": options.images,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "generator": "wrk" if options.wrk else "python",
    }


def _aims(report: Report) -> list[Report]:
    aims = []
    for part, figures in report.items():
        match part.partition("-")[2]:
            case "get":
                aims.append(_aim(part, "rate of the ceiling's", figures["ratio"]["median"], at_least=GET_OF_CEILING))
            case "post":
                gain = figures["gain"]["subject"]["median"]
                aims.append(_aim(part, "rate of 64 clients to one's", gain, at_least=GAIN_OF_MANY_WRITERS))
            case "start":
                aims += [
                    _aim(part, f"seconds, {state} database", figures[state]["median"], at_most=SECONDS_TO_START)
                    for state in figures
                ]
            case "idle":
                aims.append(_aim(part, "MiB (PSS)", figures["pss_mib"], at_most=IDLE_MIB))
    return aims


def _aim(part: str, what: str, measured: float, **limit: float) -> dict[str, Any]:
    ((bound, value),) = limit.items()
    met = measured >= value if bound == "at_least" else measured <= value
    return {"part": part, "what": what, **limit, "measured": measured, "met": met}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
