# SPDX-License-Identifier: Apache-2.0
"""The command line `glance-registry`."""

from glance_registry.cli.main import main

__all__ = ["main"]
