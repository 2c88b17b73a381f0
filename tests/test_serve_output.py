# SPDX-License-Identifier: Apache-2.0
"""Who reads the log, or does not, never decides whether requests are answered."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from glance_registry import log as logs
from glance_registry.log import Output
from tests.processes import PROGRAM, SECONDS, answers, environment, free_port, wait_until

REQUESTS = 6_000
REQUEST_ID = "r" * 128
"""Makes long lines: more than the pipe and the buffers of two workers hold."""


@contextmanager
def serving(folder: Path, *arguments: str, **options: Any) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    command = [*PROGRAM, "serve", "--port", str(port), "--database", "sqlite:///r.sqlite", *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environment(folder), **options)
    try:
        wait_until(lambda: process.poll() is not None or answers(port))
        yield process, port
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(SECONDS)
        if process.stdout is not None:
            process.stdout.close()


def send_many(port: int, number: int) -> list[int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    statuses = []
    for _ in range(number):
        connection.request("GET", "/images", headers={"x-openstack-request-id": REQUEST_ID})
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    return statuses


def lost_by_metrics(port: int) -> float:
    families = text_string_to_metric_families(httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS).text)
    return sum(s.value for f in families for s in f.samples if s.name == "glance_registry_log_lines_lost_total")


@pytest.mark.external
@pytest.mark.parametrize("workers", [1, 2])
def test_a_pipe_that_nobody_reads_stops_nothing_and_what_was_lost_is_counted(tmp_path: Path, workers: int) -> None:
    with serving(tmp_path, "--workers", str(workers), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as (
        process,
        port,
    ):
        assert process.stdout is not None
        while not lost_by_metrics(port):
            assert set(send_many(port, REQUESTS)) == {200}
        counted = lost_by_metrics(port)

        lines: list[dict[str, Any]] = []
        reader = threading.Thread(target=lambda: lines.extend(map(json.loads, process.stdout)))  # type: ignore[arg-type]
        reader.start()
        wait_until(lambda: any(line["event"] == "log lines were lost" for line in lines))
        send_many(port, 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        reader.join(SECONDS)

    reports = [line for line in lines if line["event"] == "log lines were lost"]
    assert 1 <= len(reports) <= workers
    assert {line["level"] for line in reports} == {"warning"}
    # Each process also loses the lines of the few requests that asked for the count.
    assert counted <= sum(line["lines"] for line in reports) <= counted + workers
    assert lines.index(reports[0]) > 1_000
    assert sum(line.get("request_id") == REQUEST_ID for line in lines[lines.index(reports[-1]) :]) > 0


@pytest.mark.external
def test_a_main_process_whose_pipes_nobody_reads_replaces_workers_and_ends(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    while True:
        try:
            os.write(theirs, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(theirs, True)
    with serving(tmp_path, stdout=theirs, stderr=theirs) as (process, port):
        (worker,) = psutil.Process(process.pid).children()
        worker.kill()
        wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
        wait_until(lambda: answers(port))
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    os.close(ours)
    os.close(theirs)


@pytest.mark.external
def test_a_reader_that_has_gone_stops_nothing(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    with serving(tmp_path, stdout=theirs, stderr=theirs) as (process, port):
        os.close(theirs)
        os.close(ours)
        assert set(send_many(port, 300)) == {200}
        assert lost_by_metrics(port) > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


@pytest.mark.external
def test_without_any_output_it_serves(tmp_path: Path) -> None:
    def close_output() -> None:
        os.close(1)
        os.close(2)

    with serving(tmp_path, preexec_fn=close_output) as (process, port):
        assert set(send_many(port, 10)) == {200}
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


@pytest.mark.external
def test_a_file_gets_every_line(tmp_path: Path) -> None:
    with (
        (tmp_path / "log").open("wb") as file,
        serving(tmp_path, stdout=file, stderr=file) as (process, port),
    ):
        assert set(send_many(port, 500)) == {200}
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]

    assert sum(line.get("request_id") == REQUEST_ID for line in lines) == 500


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ours, theirs = os.pipe()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_the_buffer_is_bounded_and_one_line_says_how_many_were_lost(pipe: tuple[int, int]) -> None:
    ours, theirs = pipe
    output = Output(theirs, "json", max_bytes=500_000)
    counted: list[int] = []
    output.on_loss(counted.append)

    for number in range(10_000):
        output.write(b'{"number":%d,"filler":"%s"}\n' % (number, b"x" * 70))
    lost = sum(counted)
    text = b""
    while sum(line.get("lines", 0) for line in _whole_lines(text)) < lost:
        text += os.read(ours, 1_000_000)
    output.drain()
    numbers = [line["number"] for line in _whole_lines(text) if "number" in line]
    reports = [line for line in _whole_lines(text) if "number" not in line]

    assert lost == 10_000 - len(numbers)
    assert numbers == sorted(set(numbers))
    assert {report["event"] for report in reports} == {"log lines were lost"}
    # The pipe itself holds 64 KiB, and a report is one line.
    assert len(text) <= 500_000 + 65_536 + 200 * len(reports)


def _whole_lines(text: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.rpartition(b"\n")[0].splitlines()]


def test_a_pipe_that_another_program_made_non_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    ours, theirs = pipe
    os.set_blocking(theirs, False)
    output = Output(theirs, "json")
    for _ in range(1_000):
        output.write(b"x" * 199 + b"\n")
    received = b""
    while len(received) < 200_000:
        received += os.read(ours, 65_536)
    output.drain()

    assert received == (b"x" * 199 + b"\n") * 1_000


@pytest.mark.external
def test_a_full_disk_loses_lines_until_it_has_room(tmp_path: Path) -> None:
    """A limit of the process stands for the disk: its writes fail in the same way."""
    script = """
import resource, signal, sys
from glance_registry.log import Output
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
output = Output(1, "text")
resource.setrlimit(resource.RLIMIT_FSIZE, (15, resource.RLIM_INFINITY))
for number in range(3):
    output.write(b"line %d\\n" % number)
    output.drain()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
output.write(b"room\\n")
output.drain()
"""
    with (tmp_path / "log").open("wb") as file:
        subprocess.run([sys.executable, "-c", script], stdout=file, check=True, timeout=SECONDS)

    *written, report = (tmp_path / "log").read_text().splitlines()
    assert written == ["line 0", "line 1", "l", "room"]
    assert report.endswith("log lines were lost lines=1")


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "DRAIN_SECONDS", 0)


def test_the_end_does_not_wait_for_a_reader_that_takes_nothing(pipe: tuple[int, int], no_patience: None) -> None:
    _, theirs = pipe
    output = Output(theirs, "json")
    for _ in range(1_000):
        output.write(b"x" * 199 + b"\n")

    output.drain()
    received = len(os.read(pipe[0], 1_000_000))

    assert received < 200_000
    # All of it, or its thread would write into the next pipe that gets this number.
    while received < 200_000:
        received += len(os.read(pipe[0], 1_000_000))
