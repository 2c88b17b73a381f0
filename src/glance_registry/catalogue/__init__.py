# SPDX-License-Identifier: Apache-2.0
"""The database: all the SQL."""
