"""Tables as frozen rows: columns of labels and of queries' values, and how they become a Grafana table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source.notes import Note
from dashboards.source.panels import FINE_STEPS, LETTERS, PLAIN, Query, Size, Threshold, steps, targets


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. `field`: a label, or the letter of a query for its value."""

    field: str
    title: str
    unit: str = ""
    bar: str = ""  # "high" or "low", whichever is good: a bar in the cell, coloured by value
    states: Mapping[str, tuple[str, str]] | None = None  # value -> (text, colour)
    thresholds: tuple[Threshold, ...] = ()
    decimals: int | None = None
    width: int | None = None
    no_value: str = "–"
    link: str = ""  # where a click leads; ${__value.raw} is the cell

    def properties(self) -> list[model.DynamicConfigValue]:
        """Return the column's field options."""
        pairs: list[tuple[str, object]] = []
        for key, value in (
            ("unit", self.unit or None),
            ("decimals", self.decimals),
            ("custom.width", self.width),
            ("noValue", self.no_value),
        ):
            if value is not None:
                pairs.append((key, value))
        if self.bar:
            mode = "continuous-RdYlGr" if self.bar == "high" else "continuous-GrYlRd"
            cell = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
            pairs += [("custom.cellOptions", cell), ("color", {"mode": mode}), ("min", 0), ("fieldMinMax", True)]
        if self.states or self.thresholds:
            pairs += [("custom.cellOptions", {"type": "color-text"}), ("color", {"mode": "thresholds"})]
        if self.thresholds:
            made = [{"value": value, "color": color} for value, color in self.thresholds]
            pairs.append(("thresholds", {"mode": "absolute", "steps": made}))
        if self.states:
            result = {
                value: {"text": text, "color": color, "index": index}
                for index, (value, (text, color)) in enumerate(self.states.items())
            }
            pairs.append(("mappings", [{"type": "value", "options": result}]))
        if self.link:
            pairs.append(("links", [{"title": "Open", "url": self.link}]))
        return [model.DynamicConfigValue(id_val=key, value=value) for key, value in pairs]


FULL = Size(24, 8)


@dataclass(frozen=True, slots=True)
class Table:
    """Instant queries merged into rows by their labels. Labels that are no column are hidden."""

    title: str
    note: Note
    queries: tuple[Query, ...]
    columns: tuple[Column, ...]
    sort: str
    descending: bool = False
    hidden: tuple[str, ...] = ()
    unit: str = "short"
    size: Size = FULL
    no_value: str = "no data"

    def _name(self, column: Column) -> str:
        if len(column.field) > 1:
            return column.field
        return f"Value #{column.field}" if len(self.queries) > 1 else "Value"

    def builder(self) -> Any:
        """Return a table panel."""
        names = {self._name(column): column.title for column in self.columns}
        values = {f"Value #{letter}" for letter, _ in zip(LETTERS, self.queries, strict=False)} | {"Value"}
        hidden = {"Time", "__name__", *values, *self.hidden} - set(names)
        organize = {
            "excludeByName": dict.fromkeys(sorted(hidden), True),
            "indexByName": {name: index for index, name in enumerate(names)},
            "renameByName": names,
        }
        panel = (
            table.Panel()
            .targets(targets(self.queries, instant=True, as_table=True))
            .max_data_points(FINE_STEPS)
            .unit(self.unit)
            .no_value(self.no_value)
            .thresholds(steps(PLAIN))
            .cell_height(options.TableCellHeight.SM)
            .show_header(True)
            .sort_by([common.TableSortByFieldState().display_name(self.sort).desc(self.descending)])
        )
        if len(self.queries) > 1:
            panel = panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        panel = panel.with_transformation(model.DataTransformerConfig(id_val="organize", options=organize))
        for column in self.columns:
            if found := column.properties():
                panel = panel.override_by_name(column.title, found)
        return panel
