# SPDX-License-Identifier: Apache-2.0
"""atheris looks for bytes that a parser does not foresee, led by which code they reach."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.figures import Figure
from tests.fuzz.mutations import BODIES

SECONDS = 30
"""For each target."""
ROOT = Path(__file__).parents[2]
QUERIES = (
    b"limit=1&marker=one&sort_key=id&sort_dir=asc&changes-since=2026-11-23T09:36:08Z",
    b"property-a=%c3%a4&size_min=1",
)
HEADERS = (b"Basic YTpi", b"req-1")
SEEDS = {
    "read_bodies": [json.dumps(body).encode() for bodies in BODIES.values() for body in bodies],
    "read_query": QUERIES,
    "read_headers": HEADERS,
    "read_lines": [b'{"id": "one", "created_at": "2011-02-03T04:05:06", "members": [{"member_id": "m"}]}'],
}
TARGETS = ("read_bodies", "read_changes", "read_members", "read_member", "read_query", "read_headers", "read_lines")


@pytest.mark.nightly
@pytest.mark.parametrize("target", TARGETS)
def test_a_parser_takes_any_bytes_or_refuses_them_with_a_sentence(tmp_path: Path, target: str, figure: Figure) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS.get(target, SEEDS["read_bodies"])):
        (corpus / str(number)).write_bytes(seed)

    options = [f"-max_total_time={SECONDS}", "-timeout=10", "-max_len=4096", f"-artifact_prefix={tmp_path}/"]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.targets", target, *options, str(corpus)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20 * SECONDS,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout[-2_000:] + ended.stderr[-4_000:]
    runs = re.search(r"Done (\d+) runs", ended.stderr)
    assert runs is not None, ended.stderr[-2_000:]
    figure(f"fuzz, atheris, {target}: inputs, none unforeseen", int(runs[1]))
