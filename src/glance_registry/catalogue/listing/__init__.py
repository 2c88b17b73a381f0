# SPDX-License-Identifier: Apache-2.0
"""Pages of images: which rows, in which order, by which index."""
