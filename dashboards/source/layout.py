"""From sections of panels to a dashboard: ids, places, rows, variables, links. Decides nothing about content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source.panels import SOURCE, Panel
from dashboards.source.variables import variables

COLUMNS = 24


@dataclass(frozen=True, slots=True)
class Section:
    """A row with a heading and its panels, placed from left to right and wrapped at 24 columns."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """A link at the top, keeping the chosen variables and time."""

    title: str
    url: str
    tooltip: str


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard. `uid` is in people's bookmarks: it never changes."""

    uid: str
    title: str
    description: str
    sections: tuple[Section, ...]
    links: tuple[Link, ...]
    many_servers: bool
    time_from: str = "now-1h"


def dashboard(board: Board) -> model.Dashboard:
    """Return the SDK's dashboard. Raises ValueError for a panel that does not fit into its line."""
    made = (
        build.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["tokwatt", "llm", "energy", "cost"])
        .editable()
        .time(board.time_from, "now")
        .timezone("browser")
        .refresh("30s")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .variables(variables(many_servers=board.many_servers))
        .links([_link(link) for link in board.links])
    )
    number = y = 0
    for section in board.sections:
        number += 1
        place = model.GridPos(h=1, w=COLUMNS, x=0, y=y)
        made = made.with_row(build.Row(section.title).id(number).grid_pos(place))
        y += 1
        for line in _lines(section):
            x = 0
            for panel in line:
                number += 1
                place = model.GridPos(h=panel.size.height, w=panel.size.width, x=x, y=y)
                made = made.with_panel(_panel(panel, number, place))
                x += panel.size.width
            y += line[0].size.height
    return made.build()


def _lines(section: Section) -> list[list[Panel]]:
    lines: list[list[Panel]] = []
    width = COLUMNS
    for panel in section.panels:
        if width + panel.size.width > COLUMNS:
            lines.append([])
            width = 0
        lines[-1].append(panel)
        width += panel.size.width
        if panel.size.height != lines[-1][0].size.height:
            raise ValueError(f"{section.title}: {panel.title} is not as high as the first panel of its line")
    return lines


def _panel(panel: Panel, number: int, place: model.GridPos) -> Any:
    builder = panel.builder().id(number).title(panel.title).description(panel.note.markdown())
    return builder.datasource(SOURCE).grid_pos(place)


def _link(link: Link) -> build.DashboardLink:
    made = build.DashboardLink(link.title).type(model.DashboardLinkType.LINK).url(link.url).tooltip(link.tooltip)
    return made.icon("dashboard").include_vars(True).keep_time(True)
