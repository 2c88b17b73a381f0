# SPDX-License-Identifier: Apache-2.0
"""What an image is: values and rules, without I/O, clock, SQL or HTTP."""
