# SPDX-License-Identifier: Apache-2.0
"""Query parameters that mean the same in several dialects, as the API's description has them."""

from collections.abc import Mapping

from glance_registry.api.dialect import Parameter
from glance_registry.model.query import SORT_DIRECTIONS, SORT_KEYS

COMMON: Mapping[str, Parameter] = {
    "limit": Parameter("At most this many images; 0 is an empty page.", {"type": "integer", "minimum": 0}),
    "marker": Parameter("The id of the last image of the page before.", {"type": "string"}),
    "sort_key": Parameter("The field to sort by.", {"enum": list(SORT_KEYS)}),
    "sort_dir": Parameter("The direction to sort in.", {"enum": list(SORT_DIRECTIONS)}),
    "name": Parameter("Images of this name.", {"type": "string"}),
    "status": Parameter("Images in this status.", {"type": "string"}),
    "container_format": Parameter("Images in this container format.", {"type": "string"}),
    "disk_format": Parameter("Images in this disk format.", {"type": "string"}),
    "min_ram": Parameter("Images that need this much memory, in MiB.", {"type": "integer", "minimum": 0}),
    "min_disk": Parameter("Images that need this much disk, in GiB.", {"type": "integer", "minimum": 0}),
    "size_min": Parameter("Images of at least this many bytes.", {"type": "integer", "minimum": 0}),
    "size_max": Parameter("Images of at most this many bytes.", {"type": "integer", "minimum": 0}),
    "protected": Parameter("Images that are, or are not, protected.", {"type": "boolean"}),
}
