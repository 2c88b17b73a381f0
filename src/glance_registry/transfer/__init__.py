# SPDX-License-Identifier: Apache-2.0
"""Bytes and metadata together: how an image gets its bytes, and how they are read and removed."""
