# SPDX-License-Identifier: Apache-2.0
"""How images are kept: all the SQL."""
