# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`: measures, and one JSON document. README.md says what it means."""

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from bench import against, databases, deletions, measures, peer, servers, sizes, transfers
from bench.aims import aims
from bench.catalogues import SMALLEST
from bench.databases import Databases
from bench.document import written
from bench.measures import Options, Pair, Report

KINDS = ("sqlite", "postgresql")
PEERS = ("glance",)
SMALLEST_MIB = 16
ALONE = {"start": measures.start, "idle": measures.idle}
BESIDE_A_CEILING = {"get": Pair.measure_get, "list": Pair.measure_list, "post": Pair.measure_post}
OF_SIZES = {"scale": sizes.scale, "move": sizes.move, "purge": deletions.purge}
BESIDE_A_PEER = {"peer": peer.measure}
OF_BYTES = {"upload": transfers.upload, "download": transfers.download}
"""On SQLite only: a transfer asks the database three times, whichever it is."""
PARTS = [
    f"{kind}-{part}"
    for kind in KINDS
    for part in (*ALONE, *BESIDE_A_CEILING, *OF_SIZES, *BESIDE_A_PEER, *(OF_BYTES if kind == "sqlite" else ()))
]
AGAINST = [f"{kind}-{part}" for kind in KINDS for part in against.PARTS]

Done = Callable[[str, Report, float], None]
"""What is done with a part's figures, and the seconds that it took."""


def main() -> None:
    given = _read_arguments(sys.argv[1:])
    # Stopped from outside, it still stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = Options(
        images=given.images,
        rounds=given.rounds,
        seconds=given.seconds,
        scale=given.scale,
        image_mib=given.image_mib,
        peer=given.peer is not None,
        say=_say,
    )
    judge = against.ratios if given.against else aims
    before = json.loads(given.into.read_text())["parts"] if given.into and given.into.exists() else {}
    parts: Report = dict(before)

    def done(part: str, figures: Report, seconds: float) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        load = round(os.getloadavg()[1], 2)
        parts[part] = {**figures, "measured": {"at": now, "took_seconds": round(seconds), "load_average": load}}
        _say(f"{part} took {seconds:.0f} s")
        if given.into:
            given.into.write_text(_document(options, parts, judge))

    for kind in KINDS:
        wanted = [part.removeprefix(f"{kind}-") for part in given.parts if part.startswith(kind)]
        if wanted and given.against:
            _measure_against(given.against, (kind, wanted), options, given.keep, done)
        elif wanted:
            _measure(kind, wanted, options, given.keep, done)
    if not given.into:
        print(_document(options, parts, judge), end="")


def _read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, and in `parts` what they come to. Ends the program when they make no sense."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the registry; JSON on stdout.")
    parser.add_argument("--images", type=int, default=10_000, metavar="N", help="size of the catalogue (10000)")
    parser.add_argument("--scale", type=_read_sizes, default=(), metavar="N,N,…", help="sizes to compare; adds parts")
    parser.add_argument(
        "--peer",
        choices=PEERS,
        help="another program to compare with: transfers, and the rest at the sizes of --scale up to 100000",
    )
    parser.add_argument(
        "--image-mib", type=int, default=1024, metavar="N", help="MiB of the images of upload and download (1024)"
    )
    parser.add_argument(
        "--against", type=Path, metavar="FOLDER", help="compare with the program of another checkout, in turn"
    )
    parser.add_argument("--only", action="append", metavar="PART,…", help="parts or how their names begin; repeatable")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of each comparison (5)")
    parser.add_argument("--seconds", type=float, default=2.5, metavar="S", help="length of a round (2.5)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the catalogues here, for the next time")
    parser.add_argument("--into", type=Path, metavar="FILE", help="write here, part by part; other parts in it stay")
    parser.epilog = f"parts: {' '.join(PARTS)}; with --against: {' '.join(AGAINST)}"
    given = parser.parse_args(arguments)
    if given.image_mib < SMALLEST_MIB:
        parser.error(f"an image must have at least {SMALLEST_MIB} MiB, or starts and ends are all that is measured")
    if given.against and given.scale:
        parser.error("--against compares at one size, that of --images")
    if given.against and not (given.against / "bench" / "seeding.py").exists():
        parser.error(f"{given.against} is no checkout with a bench")
    given.against = given.against and given.against.resolve()
    left_out = {*(() if given.scale else OF_SIZES), *(() if given.peer and given.scale else BESIDE_A_PEER)}
    possible = AGAINST if given.against else [part for part in PARTS if part.partition("-")[2] not in left_out]
    names = [name for text in given.only or () for name in text.split(",")]
    given.parts = [part for part in possible if not names or any(part.startswith(name) for name in names)]
    if not given.parts:
        parser.error(f"no part is called so; there are: {' '.join(possible)}")
    return given


def _read_sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(sorted({int(size) for size in text.split(",")}))
    if sizes[0] < SMALLEST:
        raise argparse.ArgumentTypeError(f"a catalogue must have at least {SMALLEST} images")
    return sizes


def _measure(kind: str, parts: list[str], options: Options, keep: Path | None, done: Done) -> None:
    with databases.opened(kind, keep) as (kept, folder):
        started = time.perf_counter()
        kept.prepare(
            [
                *((options.images,) if {*ALONE, *BESIDE_A_CEILING} & {*parts} else ()),
                *(options.scale if {*OF_SIZES, *BESIDE_A_PEER} & {*parts} else ()),
            ]
        )
        _say(f"{kind}: the catalogues took {time.perf_counter() - started:.0f} s")
        measures.warm_up(folder)
        for part, run in {**ALONE, **OF_SIZES, **BESIDE_A_PEER, **OF_BYTES}.items():
            if part in parts:
                _time(f"{kind}-{part}", partial(run, kept, folder, options), done)
        _measure_pair(kind, parts, options, (kept, folder), done)


def _measure_against(
    other: Path, wanted: tuple[str, list[str]], options: Options, keep: Path | None, done: Done
) -> None:
    """The parts that are wanted of a kind of database."""
    kind, parts = wanted
    with databases.opened(kind, keep) as (kept, folder):
        both = against.prepare(kept, folder, options, other)
        _say("rates are ours, then the other's; waits and starts are the other's, then ours")
        for part in parts:
            _time(f"{kind}-{part}", partial(against.PARTS[part], both), done)


def _measure_pair(kind: str, parts: list[str], options: Options, where: tuple[Databases, Path], done: Done) -> None:
    runs = {part: run for part, run in BESIDE_A_CEILING.items() if part in parts}
    if not runs:
        return
    kept, folder = where
    urls = [kept.create(options.images) for _ in range(2)]
    with servers.subject(urls[0], folder) as subject, servers.ceiling(urls[1], folder) as ceiling:
        subject.wait()
        ceiling.wait()
        _say("rates are those of the subject, then of the ceiling; for post with one client, then with many")
        pair = Pair(subject, ceiling, options)
        for part, run in runs.items():
            _time(f"{kind}-{part}", partial(run, pair), done)


def _time(part: str, run: Callable[[], Report], done: Done) -> None:
    started = time.perf_counter()
    figures = run()
    done(part, figures, time.perf_counter() - started)


def _document(options: Options, parts: Report, judge: Callable[[Report], list[Report]]) -> str:
    ordered = {part: parts[part] for part in dict.fromkeys((*PARTS, *AGAINST)) if part in parts}
    circumstances = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": version("glance-registry"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "platform": platform.platform()},
        "images": options.images,
        "rounds": options.rounds,
        "seconds": options.seconds,
    }
    return written({**circumstances, "parts": ordered, "aims": judge(ordered)})


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
