# SPDX-License-Identifier: Apache-2.0
"""The Images API v2: what today's clients speak. Source: the API reference of OpenStack's Image service."""
