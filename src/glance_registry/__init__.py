# SPDX-License-Identifier: Apache-2.0
"""Glance Registry: metadata of virtual machine images for a private cloud."""
