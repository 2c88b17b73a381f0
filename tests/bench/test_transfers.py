# SPDX-License-Identifier: Apache-2.0
"""What is uploaded and downloaded in the measures, and what is made of the figures."""

from pathlib import Path
from typing import Any

import pytest
from bench.transfer_load import PREFIX_BYTES, Transfers, request

from bench import aims, transfers


def figures(rate: float, peak: float = 100.0) -> dict[str, float]:
    return {"mib_per_second": rate, "cpu_seconds_per_gib": 2.0, "client_cores": 0.3, "peak_mib": peak}


def test_each_upload_has_bytes_of_its_own() -> None:
    asked = Transfers(port=1, method="PUT", paths=["/a", "/b"], headers={"X": "y"}, size=4096, file="", serial=7)

    heads, prefixes = zip(*(request(asked, number).split(b"\r\n\r\n") for number in range(2)), strict=True)

    assert heads[0].startswith(b"PUT /a HTTP/1.1\r\n")
    assert b"\r\nX: y\r\n" in heads[0]
    assert heads[0].endswith(b"Content-Length: 4096")
    assert len({*prefixes}) == 2
    assert {len(prefix) for prefix in prefixes} == {PREFIX_BYTES}


def test_a_download_sends_no_body() -> None:
    asked = Transfers(port=1, method="GET", paths=["/a"], headers={}, size=4096, file="")

    assert request(asked, 0) == b"GET /a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def test_rates_are_compared_within_a_round_and_the_largest_peak_counts() -> None:
    rounds = [
        {"subject": figures(400, peak=90), "floor": figures(500), "glance": figures(200)},
        {"subject": figures(40, peak=120), "floor": figures(50), "glance": figures(20)},
    ]

    found = transfers.compare(rounds)

    assert found["ratio_to_floor"]["median"] == 0.8
    assert found["ratio_to_glance"]["median"] == 2.0
    assert found["subject"]["peak_mib"] == 120


def report(ratio: float, peak: float, wait: float, **more: Any) -> dict[str, Any]:
    at_once = {"ratio_to_floor": {"median": ratio}, **more}
    return {
        "1_at_once": at_once,
        "4_at_once": at_once,
        "16_at_once": {"peak_mib": peak},
        "get_milliseconds": {"ratio": wait},
    }


def test_transfers_have_aims_of_rate_memory_and_wait() -> None:
    parts = {
        "sqlite-upload": report(0.86, 150.0, 2.0, ratio_to_glance={"median": 1.3}),
        "sqlite-download": report(0.86, 250.0, 4.0),
    }

    found = aims.aims(parts)

    assert [aim["met"] for aim in found if aim["part"] == "sqlite-upload"] == [True, False, True, False, True, True]
    assert not any(aim["met"] for aim in found if aim["part"] == "sqlite-download")


def test_the_kind_of_file_system_is_told(tmp_path: Path) -> None:
    assert transfers.filesystem(Path("/proc")) == "proc"
    assert transfers.filesystem(tmp_path) not in ("", "proc", "unknown")


@pytest.mark.parametrize("part", ["upload", "download"])
def test_every_part_of_transfers_has_a_floor_to_reach(part: str) -> None:
    assert 0.8 < aims.TRANSFER_TO_FLOOR[part] < 1
