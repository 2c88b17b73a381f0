# SPDX-License-Identifier: Apache-2.0
"""Bytes of images: uploads and downloads beside a floor and, when it is wanted, beside Glance."""

import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import Any

from bench import glance, servers, transfer_load
from bench.asking import Client, request
from bench.databases import Databases
from bench.measures import Options, Report, spread
from bench.questions import ADMIN, CONTEXT
from bench.servers import ROOT, Server, free_port, running
from bench.transfer_load import TransferError, Transfers

AT_ONCE = (1, 4)
MANY, MANY_DIVISOR = 16, 4
"""Transfers at once when memory is looked at, and how much smaller their images are."""

BESIDE = 8
"""Transfers at once beside which an image is shown."""

PEER_WORKERS = 2
ATTEMPTS = 5
SECONDS_ALONE = 3.0
_BETWEEN_LOOKS = 0.05
GIB = 1 << 30

_NGINX = Path("/usr/sbin/nginx")
_NGINX_CONF = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  server {{
    listen 127.0.0.1:{port};
    root {files};
    location = /healthcheck {{ return 200; }}
  }}
}}
"""


class Program:
    """What bytes are moved to and from: it speaks the Images API."""

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self.server = server

    def create(self, number: int) -> list[str]:
        """Paths for that many uploads."""
        body = json.dumps({"name": "bench", "disk_format": "raw", "container_format": "bare"}).encode()
        return [f"/v2/images/{self._ask('POST', '/v2/images', body)['id']}/file" for _ in range(number)]

    def check(self, paths: Sequence[str], size: int) -> None:
        """Raise RuntimeError unless what was uploaded is there."""
        for path in paths:
            image = self._ask("GET", path.removesuffix("/file"))
            if (image["status"], image["size"]) != ("active", size):
                raise RuntimeError(f"{self.name} says of an uploaded image: {image}")

    def drop(self, paths: Sequence[str]) -> None:
        for path in paths:
            self._ask("DELETE", path.removesuffix("/file"))

    def _ask(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        connection.request(method, path, body, {**ADMIN, "Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status not in (200, 201, 204):
            raise RuntimeError(f"{self.name} answered {answer.status} to {method} {path}: {text[:500]!r}")
        return json.loads(text) if text else {}


class Floor(Program):
    """A folder of files."""

    def __init__(self, server: Server, folder: Path) -> None:
        super().__init__("floor", server)
        self._folder = folder
        self._names = count(1)

    def create(self, number: int) -> list[str]:
        return [f"/{next(self._names)}" for _ in range(number)]

    def check(self, paths: Sequence[str], size: int) -> None:
        for path in paths:
            if (self._folder / path[1:]).stat().st_size != size:
                raise RuntimeError("The floor has not all bytes.")

    def drop(self, paths: Sequence[str]) -> None:
        for path in paths:
            (self._folder / path[1:]).unlink()


def upload(kept: Databases, folder: Path, options: Options) -> Report:
    """Uploads at once to each program in turn; then many to ours, and an image that is shown beside some."""
    with _programs(kept, folder, options, _upload_floor) as programs:
        moves = Moves(folder, options)
        report: Report = {"image_bytes": moves.size, "filesystem": filesystem(folder)}
        for number in AT_ONCE:
            uploads = {program.name: partial(moves.upload, program, number) for program in programs}
            report[f"{number}_at_once"] = _rounds(f"upload, {number} at once", uploads, options)
        return report | _beside(moves, programs[0], partial(moves.upload, programs[0]), options)


def download(kept: Databases, folder: Path, options: Options) -> Report:
    """As `upload`, of images that are in the page cache."""
    with _programs(kept, folder, options, _download_floor) as programs:
        moves = Moves(folder, options)
        report: Report = {
            "image_bytes": moves.size,
            "filesystem": filesystem(folder),
            "floor": "nginx" if _NGINX.exists() else "bare handler",
        }
        paths = {}
        for program in programs:
            if isinstance(program, Floor):
                paths[program.name] = program.create(max(AT_ONCE))
                for path in paths[program.name]:
                    (folder / "floor" / path[1:]).write_bytes(moves.source.read_bytes())
            else:
                paths[program.name] = moves.keep(program, max(AT_ONCE))
        for number in AT_ONCE:
            downloads = {one.name: partial(moves.download, one, paths[one.name][:number]) for one in programs}
            report[f"{number}_at_once"] = _rounds(f"download, {number} at once", downloads, options)

        def of_ours(number: int, size: int | None = None) -> Report:  # noqa: ARG001 - as Moves.upload
            ours = paths["subject"]
            return moves.download(programs[0], [ours[index % len(ours)] for index in range(number)])

        return report | _beside(moves, programs[0], of_ours, options)


class Moves:
    """Transfers of images of one size."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.size = options.image_mib << 20
        self.source = folder / "source.raw"
        with self.source.open("wb") as file:
            for _ in range(options.image_mib):
                file.write(os.urandom(1 << 20))
        self._serials = count(1)

    def upload(self, program: Program, number: int, size: int | None = None) -> Report:
        """Upload that many new images at once, and remove them."""
        paths, figures = self._put(program, number, size or self.size)
        program.drop(paths)
        return figures

    def keep(self, program: Program, number: int) -> list[str]:
        """The paths of new images."""
        return self._put(program, number, self.size)[0]

    def _put(self, program: Program, number: int, size: int) -> tuple[list[str], Report]:
        for attempt in range(ATTEMPTS):
            paths = program.create(number)
            try:
                figures = self._move(program, "PUT", paths, size)
            except TransferError:
                # On SQLite, Glance answers 500 when two changes meet ("database is locked").
                if program.name != "glance" or attempt + 1 == ATTEMPTS:
                    raise
                continue
            program.check(paths, size)
            break
        return paths, figures

    def download(self, program: Program, paths: list[str]) -> Report:
        return self._move(program, "GET", paths, self.size)

    def _move(self, program: Program, method: str, paths: list[str], size: int) -> Report:
        transfers = Transfers(
            port=program.server.port,
            method=method,
            paths=paths,
            headers=ADMIN,
            size=size,
            file=str(self.source),
            serial=next(self._serials),
        )
        os.sync()  # What others have written must not be written at the cost of this round.
        before = program.server.cpu()
        with _watching(program.server) as memory:
            moved = transfer_load.apply(transfers)
        moved_bytes = size * len(paths)
        return {
            "mib_per_second": moved_bytes / moved.seconds / (1 << 20),
            "cpu_seconds_per_gib": (program.server.cpu() - before) * GIB / moved_bytes,
            "client_cores": moved.cpu / moved.seconds,
            "peak_mib": max(memory),
        }


@contextmanager
def _watching(server: Server) -> Iterator[list[float]]:
    """What the program takes of the machine's memory, again and again until this context ends."""
    found = [server.pss_mib()]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_BETWEEN_LOOKS):
            found.append(server.pss_mib())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        ended.set()
        looking.join()


def compare(rounds: Sequence[Mapping[str, Report]]) -> Report:
    """Each program's figures, and how fast the first one is beside each other one."""
    names = list(rounds[0])
    figures: Report = {
        name: {
            **{
                figure: spread([each[name][figure] for each in rounds])
                for figure in ("mib_per_second", "cpu_seconds_per_gib", "client_cores")
            },
            "peak_mib": round(max(each[name]["peak_mib"] for each in rounds), 1),
        }
        for name in names
    }
    for other in names[1:]:
        rates = [each[names[0]]["mib_per_second"] / each[other]["mib_per_second"] for each in rounds]
        figures[f"ratio_to_{other}"] = spread(rates)
    return figures


def _rounds(name: str, runs: Mapping[str, Callable[[], Report]], options: Options) -> Report:
    for run in runs.values():
        run()
    rounds = []
    for number in range(options.rounds):
        rounds.append({program: run() for program, run in runs.items()})
        rates = "  ".join(f"{program} {each['mib_per_second']:.0f}" for program, each in rounds[-1].items())
        options.say(f"{name:24} round {number + 1}, MiB/s: {rates}")
    return compare(rounds)


def _beside(moves: Moves, program: Program, move: Callable[[int, int], Report], options: Options) -> Report:
    """Memory with many transfers, and the wait for an image beside some."""
    many = move(MANY, moves.size // MANY_DIVISOR)
    options.say(f"{MANY} at once: peak {many['peak_mib']:.0f} MiB")
    (shown,) = program.create(1)
    ask = partial(_ask_until, program.server.port, shown.removesuffix("/file"))
    ended = threading.Event()
    threading.Timer(SECONDS_ALONE, ended.set).start()
    alone = ask(ended)
    ended = threading.Event()
    waits: list[float] = []
    asking = threading.Thread(target=lambda: waits.extend(ask(ended)))
    asking.start()
    move(BESIDE, moves.size // 2)
    ended.set()
    asking.join()
    report = {"alone": _waits(alone), f"beside_{BESIDE}": _waits(waits)}
    ratio = round(report[f"beside_{BESIDE}"]["median"] / report["alone"]["median"], 2)
    options.say(f"GET beside {BESIDE}: {report}")
    return {f"{MANY}_at_once": {"peak_mib": round(many["peak_mib"], 1)}, "get_milliseconds": {**report, "ratio": ratio}}


def _ask_until(port: int, path: str, ended: threading.Event) -> list[float]:
    """What each GET of an image took, in milliseconds."""
    client = Client(port)
    sent = request("GET", path, ADMIN)
    waits = []
    while not ended.is_set():
        waits.append(1e3 * client.ask(sent).seconds)
        time.sleep(0.002)  # A client that asks without a pause would be a load of its own.
    client.close()
    return waits


def _waits(waits: Sequence[float]) -> Report:
    found = quantiles(waits, n=100)
    return {"asked": len(waits), "median": round(found[49], 3), "p99": round(found[98], 3)}


@contextmanager
def _programs(
    kept: Databases, folder: Path, options: Options, floor: Callable[[ExitStack, Path], Server]
) -> Iterator[list[Program]]:
    """Ours first, then the floor, then Glance if it is wanted."""
    with ExitStack() as stack:
        url = kept.create_empty()
        assert url is not None
        stack.callback(kept.drop, url)
        settings = {**CONTEXT, "stores": {"directory": str(folder / "stores")}}
        ours = stack.enter_context(servers.subject(url, folder, settings))
        (folder / "floor").mkdir(exist_ok=True)
        programs = [Program("subject", ours), Floor(floor(stack, folder), folder / "floor")]
        if options.peer:
            theirs = kept.other("glance", glance.grow)
            theirs.prepare([1])
            their_url = theirs.create(1)
            stack.callback(theirs.drop, their_url)
            programs.append(Program("glance", stack.enter_context(glance.glance(their_url, folder, PEER_WORKERS))))
        for program in programs:
            program.server.wait()
        yield programs


def _upload_floor(stack: ExitStack, folder: Path) -> Server:
    return stack.enter_context(_floor("uploads", folder))


def _download_floor(stack: ExitStack, folder: Path) -> Server:
    if not _NGINX.exists():
        return stack.enter_context(_floor("downloads", folder))
    port = free_port()
    conf = folder / "nginx.conf"
    conf.write_text(_NGINX_CONF.format(folder=folder, port=port, files=folder / "floor"))
    command = [str(_NGINX), "-c", str(conf), "-p", str(folder)]
    return stack.enter_context(running(Server("nginx", command, port, folder / "nginx-start.log")))


def _floor(what: str, folder: Path) -> Any:
    port = free_port()
    command = [servers.interpreter(ROOT), "-m", "bench.floor", what, str(folder / "floor"), str(port)]
    return running(Server("floor", command, port, folder / "floor.log"))


def filesystem(folder: Path) -> str:
    """The kind of file system that a folder is on."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    found = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(found, default=(0, "unknown"))[1]
