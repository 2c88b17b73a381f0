# SPDX-License-Identifier: Apache-2.0
"""Line plots on logarithmic axes as one SVG, which follows the reader's light or dark scheme."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from msgspec import Struct

WIDTH, HEIGHT = 470, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 150, 44, 42
_LABEL_HEIGHT = 15

_STYLE = """
  svg { background: #ffffff; font: 12px system-ui, sans-serif; fill: #1f2328; }
  path { fill: none; stroke-width: 2; } path.grid { stroke: #d5d9de; stroke-width: 1; }
  .dashed { stroke-dasharray: 5 4; } .title { font-weight: 600; font-size: 14px; } .tick { fill: #59636e; }
  .c0 { stroke: #0757ba; } .c1 { stroke: #a13a00; } .c2 { stroke: #196c2e; } .c3 { stroke: #8a2590; }
  .c4 { stroke: #5c6670; }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117; fill: #e6edf3; } path.grid { stroke: #30363d; } .tick { fill: #9aa4ae; }
    .c0 { stroke: #6cb0ff; } .c1 { stroke: #ffa657; } .c2 { stroke: #62d27f; } .c3 { stroke: #e094f0; }
    .c4 { stroke: #9aa4ae; }
  }
"""


class Line(Struct, frozen=True):
    """Points by x; `colour` is a number from 0 to 4."""

    label: str
    points: dict[int, float]
    colour: int
    dashed: bool = False


class Panel(Struct, frozen=True):
    """One plot. All values are above zero."""

    title: str
    unit: str
    lines: list[Line]


def figure(panels: Sequence[Panel], title: str, columns: int = 2) -> str:
    """The panels in rows, as an SVG document; `title` is for those who cannot see it."""
    rows = math.ceil(len(panels) / columns)
    width, height = WIDTH * min(columns, len(panels)), HEIGHT * rows
    drawn = [
        f'<g transform="translate({WIDTH * (place % columns)} {HEIGHT * (place // columns)})">\n{_panel(panel)}\n</g>'
        for place, panel in enumerate(panels)
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>", *drawn, "</svg>", ""])


def _panel(panel: Panel) -> str:
    sizes = sorted({x for line in panel.lines for x in line.points})
    values = [y for line in panel.lines for y in line.points.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    across = math.log10(sizes[-1] / sizes[0]) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        right = _LEFT + (WIDTH - _LEFT - _RIGHT) * math.log10(x / sizes[0]) / across
        down = HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (math.log10(y) - low) / (high - low)
        return round(right, 1), round(down, 1)

    parts = [_text(_LEFT, 20, panel.title, "title"), _text(_LEFT, _TOP - 9, panel.unit, "tick")]
    for power in range(low, high + 1):
        left, down = place(sizes[0], 10.0**power)
        parts.append(f'<path class="grid" d="M{left} {down}H{WIDTH - _RIGHT}"/>')
        parts.append(_text(left - 7, down + 4, f"{10.0**power:,g}", "tick", "end"))
    parts += [_text(place(size, 10.0**low)[0], HEIGHT - 20, f"{size:,}", "tick", "middle") for size in sizes]
    ends = []
    for line in panel.lines:
        points = [place(x, y) for x, y in sorted(line.points.items())]
        path = "L".join(f"{x} {y}" for x, y in points)
        parts.append(f'<path class="c{line.colour}{" dashed" * line.dashed}" d="M{path}"/>')
        ends.append((points[-1], line))
    return "\n".join([*parts, *_labels(ends)])


def _labels(ends: list[tuple[tuple[float, float], Line]]) -> list[str]:
    """The lines' names at their ends, none over another."""
    parts, lowest = [], 0.0
    for (x, y), line in sorted(ends, key=lambda end: end[0][1]):
        lowest = max(y, lowest + _LABEL_HEIGHT)
        parts.append(f'<path class="c{line.colour}{" dashed" * line.dashed}" d="M{x + 4} {lowest}h14"/>')
        parts.append(_text(x + 22, lowest + 4, line.label))
    return parts


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
