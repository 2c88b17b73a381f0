# SPDX-License-Identifier: Apache-2.0
"""The catalogue as pages for people, under `/ui`: the same images, the same rules."""
