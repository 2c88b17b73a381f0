# SPDX-License-Identifier: Apache-2.0
"""Alembic's entry: runs the steps on the connection, and in the transaction, that `schema.py` hands in."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    # The transaction is the caller's: it holds all steps and their records.
    transactional_ddl=False,
)
context.run_migrations()
