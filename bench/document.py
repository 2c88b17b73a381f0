# SPDX-License-Identifier: Apache-2.0
"""A report as JSON text."""

import json
import re
from typing import Any

_SPREAD = re.compile(r'\{\s*"rounds": \[[^\]]*\],\s*"median": [^}]*\}')


def written(report: dict[str, Any]) -> str:
    """JSON with a line for each figure, its rounds included."""
    text = json.dumps(report, indent=2)
    return _SPREAD.sub(lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n"
