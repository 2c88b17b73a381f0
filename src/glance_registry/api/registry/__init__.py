# SPDX-License-Identifier: Apache-2.0
"""The Registry API of 2011."""
