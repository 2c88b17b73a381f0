# SPDX-License-Identifier: Apache-2.0
"""Glance Registry: the catalogue of virtual machine images for a private cloud."""
