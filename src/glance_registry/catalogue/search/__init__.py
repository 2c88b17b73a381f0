# SPDX-License-Identifier: Apache-2.0
"""The index of words in images, and searches in it."""
