# SPDX-License-Identifier: Apache-2.0
"""A real cluster: three PostgreSQL servers under Patroni, as `make cluster` starts them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploy.cluster.nodes import Cluster

from glance_registry.catalogue import schema


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Whole, with today's tables in its database. Who takes a node out puts it back."""
    cluster = Cluster(Path(tmp_path_factory.mktemp("cluster")) / "nodes")
    try:
        asyncio.run(cluster.start())
        asyncio.run(schema.upgrade(cluster.url))
        yield cluster
    finally:
        cluster.kill()
