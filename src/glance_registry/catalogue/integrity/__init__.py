# SPDX-License-Identifier: Apache-2.0
"""Whether what the database holds is consistent, and how it is repaired."""
