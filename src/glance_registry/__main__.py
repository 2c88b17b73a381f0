# SPDX-License-Identifier: Apache-2.0
"""`python -m glance_registry`."""

from glance_registry.cli import main

main()
