# SPDX-License-Identifier: Apache-2.0
"""OSSN-0048: a check by `assert` is gone under `python -O`. Here no rule is an assertion."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import glance_registry

SOURCE = Path(glance_registry.__file__).parent

# What must be refused, run under -O: there an assert does nothing, so that this speaks by its exit status.
REFUSALS = """
import sys
from tests.conftest import API_SERVERS, Client

assert False, "not run under -O"
client = Client(API_SERVERS(sys.argv[1]))
owner, stranger = client.caller("o"), client.caller("s")
valid = {"name": "i", "status": "active"}

def register(**fields):
    return owner.post("/images", {"image": {**valid, **fields}})

private = "/images/" + register(protected=True).json()["image"]["id"]
public = "/images/" + register(is_public=True, id="0" * 32).json()["image"]["id"]
got = [
    register(status="unheard").status_code,
    register(min_disk=-1).status_code,
    register(name="x" * 256).status_code,
    register(properties={str(n): "" for n in range(129)}).status_code,
    register(id="0" * 32).status_code,
    register(id="x").status_code,
    client.post("/images", {"image": valid}).status_code,
    stranger.get(private).status_code,
    stranger.put(public, {"image": {"status": "deleted"}}).status_code,
    stranger.delete(public).status_code,
    stranger.put(public + "/members/s").status_code,
    owner.delete(private).status_code,
    owner.put(public, {"image": {}, "from_state": "queued"}).status_code,
    owner.get("/images?limit=-1").status_code,
    owner.post("/images/x").status_code,
]
client.close()
wanted = [400, 400, 400, 400, 409, 400, 403, 404, 403, 403, 403, 403, 409, 400, 405]
sys.exit(0 if got == wanted else f"{got} instead of {wanted}")
"""


def _assertions() -> list[ast.Assert]:
    return [
        node
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]


@pytest.mark.parametrize("assertion", [ast.unparse(node.test) for node in _assertions()])
def test_an_assertion_only_tells_the_type_checker_what_is_there(assertion: str) -> None:
    assert assertion.endswith(" is not None") or assertion.startswith("isinstance(")
    assert " and " not in assertion
    assert " or " not in assertion


@pytest.mark.external
def test_what_is_refused_is_refused_under_optimization_too(sqlite_database: str) -> None:
    root = Path(__file__).parents[2]

    done = subprocess.run(
        [sys.executable, "-O", "-c", REFUSALS, sqlite_database], cwd=root, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
