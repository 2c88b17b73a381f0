# SPDX-License-Identifier: Apache-2.0
"""Words in images: the index of them, and how it is asked."""
