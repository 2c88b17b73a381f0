# SPDX-License-Identifier: Apache-2.0
"""Operations run on the catalogue of the fixture `catalogue`."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from glance_registry.catalogue.base import Catalogue


@pytest.fixture
def read(loop: asyncio.Runner, catalogue: Catalogue) -> Callable[..., Any]:
    return lambda operation, *args: loop.run(catalogue.read(operation, *args))


@pytest.fixture
def write(loop: asyncio.Runner, catalogue: Catalogue) -> Callable[..., Any]:
    return lambda operation, *args: loop.run(catalogue.write(operation, *args))
