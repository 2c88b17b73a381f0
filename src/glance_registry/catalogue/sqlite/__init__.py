# SPDX-License-Identifier: Apache-2.0
"""The catalogue in one SQLite file."""
