# SPDX-License-Identifier: Apache-2.0
"""Alembic's entry: runs the steps on the connection, and in the transaction, that `schema.py` hands in."""

from alembic import context

from glance_registry.catalogue.indexes import metadata
from glance_registry.catalogue.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    # The transaction is the caller's: it holds all steps and their records.
    transactional_ddl=False,
)
context.run_migrations()
