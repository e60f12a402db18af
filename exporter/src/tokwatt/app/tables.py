"""Plain text tables for terminals. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, last_width: int = 76) -> str:
    """Lay out rows under a header; the last column wraps at `last_width`."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header) - 1)]
    lines = []
    for row in (header, *rows):
        wrapped = textwrap.wrap(row[-1], last_width) or [""]
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)]
        lines.append("  ".join([*cells, wrapped[0]]).rstrip())
        indent = " " * (sum(widths) + 2 * len(widths))
        lines += [indent + more for more in wrapped[1:]]
    return "\n".join(lines)
