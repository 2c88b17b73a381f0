# SPDX-License-Identifier: Apache-2.0
"""The running program with its bytes in a bucket: how it starts, and what it does while the store is away."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import pytest

from glance_registry.settings import StoreSection
from tests.faulty_s3 import FaultyS3
from tests.processes import Server, free_port, run_program
from tests.swift import Swift
from tests.test_serve_transfers import create

pytestmark = pytest.mark.external

BYTES = {"content-type": "application/octet-stream"}
DATABASE = "sqlite:///registry.sqlite"


@pytest.fixture
def configure(tmp_path: Path) -> Callable[[StoreSection], None]:
    """Writes the file bucket.conf."""

    def write(section: StoreSection) -> None:
        options = [f"{name} = {value}" for name, value in asdict(section).items()]
        text = "\n".join(["[stores]", "enabled = cold:s3", "[cold]", *options])
        (tmp_path / "bucket.conf").write_text(text)

    return write


def test_a_store_that_is_down_at_the_start_is_used_when_it_answers(
    swift: Swift, tmp_path: Path, configure: Callable[[StoreSection], None]
) -> None:
    proxy = FaultyS3(swift.url)
    configure(swift.section(f"{uuid4().hex}/", proxy.url))
    proxy.stop()
    with Server(tmp_path, DATABASE, "--workers", "2", "--config-file", "bucket.conf") as server:
        image_id = create(server)
        refused = server.http.put(f"/v2/images/{image_id}/file", content=b"bytes", headers=BYTES)
        proxy.start()
        try:
            stored = server.http.put(f"/v2/images/{image_id}/file", content=b"bytes", headers=BYTES)
            read = server.http.get(f"/v2/images/{image_id}/file")
        finally:
            server.stop()
            proxy.stop()

    assert (refused.status_code, stored.status_code, read.content) == (503, 204, b"bytes")
    (line,) = [line for line in server.lines if line["event"].startswith("a store does not answer")]
    assert (line["level"], line["store"]) == ("error", "cold")
    assert f"No connection to {proxy.url}" in line["message"]
    assert swift.secret_key not in server.output


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"s3_store_secret_key": "wr0ng"}, "refuses s3_store_access_key with s3_store_secret_key"),
        ({"s3_store_bucket": "absent", "s3_store_create_bucket_on_put": False}, "there is no bucket absent"),
        ({"s3_store_host": ""}, "needs in section [cold]: s3_store_host."),
    ],
)
def test_what_can_never_work_is_said_on_the_command_line(
    swift: Swift,
    tmp_path: Path,
    configure: Callable[[StoreSection], None],
    options: dict[str, object],
    sentence: str,
) -> None:
    configure(StoreSection(**{**asdict(swift.section()), **options}))

    ended = run_program(
        tmp_path, "serve", "--port", str(free_port()), "--database", DATABASE, "--config-file", "bucket.conf"
    )

    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert "wr0ng" not in ended.stdout + ended.stderr
