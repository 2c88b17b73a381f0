# SPDX-License-Identifier: Apache-2.0
"""How images are spoken of: all the HTTP."""
