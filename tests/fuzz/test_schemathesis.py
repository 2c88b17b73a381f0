# SPDX-License-Identifier: Apache-2.0
"""schemathesis reads the API's description, makes requests of it, and follows from one answer to the next."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.checks import (
    ensure_resource_availability,
    use_after_free,
)
from tests.api.test_openapi import CHECKS, LABELS
from tests.figures import Figure
from tests.options import make_settings
from tests.speeds import scaled

from glance_registry.app import build

LINKED = [*CHECKS, use_after_free, ensure_resource_availability]
GO = settings(deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


@pytest.fixture
def described(tmp_path: Path, sqlite_template: Path) -> Iterator[Any]:
    """The program, as schemathesis sees it."""
    path = shutil.copy(sqlite_template, tmp_path / "registry.sqlite")
    settings = make_settings(f"sqlite:///{path}", allowed_hosts=("testserver",))
    yield schemathesis.openapi.from_asgi("/openapi.json", build(settings))
    shutdown_lifespans()


def mend(case: Any) -> None:
    """What the description leaves to the contract is chosen so that more than 400 is seen, in most cases."""
    image = case.body.get("image") if isinstance(case.body, dict) else None
    if isinstance(image, dict) and len(image) % 4:
        image.update(disk_format="raw", container_format="bare", status="active", protected=False)
        image.pop("id", None)


@pytest.mark.nightly
def test_whatever_follows_from_answers_is_answered_as_described(described: Any, figure: Figure) -> None:
    statuses: Counter[int] = Counter()
    used: Counter[str] = Counter()

    class Workflow(described.as_state_machine()):  # type: ignore[misc]
        def before_call(self, case: Any) -> None:
            mend(case)

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            statuses[int(response.status_code)] += 1
            if response.status_code < 300:
                used[f"{case.method} {case.operation.path}"] += 1
            case.validate_response(response, checks=LINKED)

    Workflow.run(settings=settings(GO, max_examples=scaled(60), stateful_step_count=40))

    assert {200, 400, 404} <= statuses.keys()
    assert {"POST /images", "DELETE /images/{image_id}"} <= used.keys()
    assert len(used) >= 12
    figure("fuzz, schemathesis, stateful: requests, each answered as described", statuses.total())


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("mode", "examples"),
    # What is wrong on purpose takes schemathesis half a second to think of.
    [(GenerationMode.POSITIVE, 100), (GenerationMode.NEGATIVE, 20)],
    ids=lambda given: getattr(given, "value", ""),
)
def test_every_operation_is_answered_as_described(
    described: Any, mode: GenerationMode, examples: int, figure: Figure
) -> None:
    count = 0

    def call(operation: Any) -> None:
        @settings(GO, max_examples=scaled(examples))
        @given(case=operation.as_strategy(generation_mode=mode))
        def every_answer_conforms(case: Any) -> None:
            nonlocal count
            count += 1
            mend(case)
            case.call_and_validate(checks=CHECKS)

        try:
            every_answer_conforms()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE  # Nothing in this request can be wrong.

    for label in LABELS:
        method, path = label.split(" ")
        call(described[path][method])

    assert count > len(LABELS)
    figure(f"fuzz, schemathesis, {mode.value}: requests, each answered as described", count)
