# SPDX-License-Identifier: Apache-2.0
"""Measures of the program's speed and size: `make bench`; README.md says how to read them."""
