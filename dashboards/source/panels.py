"""Kinds of panels as frozen rows, and how each becomes a Grafana panel. No query and no text of a dashboard here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, timeseries, xychart
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import text as text_panel
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import text as text_model
from grafana_foundation_sdk.models import xychart as xy
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.source.notes import Note

SOURCE = options.DataSourceRef(type_val="prometheus", uid="${datasource}")
LETTERS = "ABCDEFGHIJKLMNOP"  # refIds
RATIO = ("max", "lastNotNull")  # legend of a graph of ratios
VALUE_SIZE = 28  # pixels: numbers of one line look alike
FINE_STEPS = 11000  # Prometheus' limit of points: makes the rate interval of a "now" value as short as scrapes allow

Threshold = tuple[float | None, str]  # (from this value on, colour); None: from the lowest
PLAIN: tuple[Threshold, ...] = ((None, "text"),)


@dataclass(frozen=True, slots=True)
class Query:
    """One expression. `legend`: name of its series, in Grafana's {{label}} form."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Size:
    """Place in Grafana's grid of 24 columns."""

    width: int
    height: int


SMALL, WIDE, HALF = Size(3, 4), Size(24, 4), Size(12, 8)
LOW_HALF = Size(12, 6)
THIRD = Size(8, 10)  # two more in height: its legend is below, not beside


class Panel(Protocol):
    """A row of a dashboard's table."""

    @property
    def title(self) -> str: ...
    @property
    def note(self) -> Note: ...
    @property
    def size(self) -> Size: ...
    def builder(self) -> Any:
        """Return the SDK's builder, without id, place, title, description and data source."""


def steps(thresholds: tuple[Threshold, ...]) -> build.ThresholdsConfig:
    """Return thresholds as Grafana wants them."""
    made = [model.Threshold(value=value, color=color) for value, color in thresholds]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


def targets(queries: tuple[Query, ...], *, instant: bool, as_table: bool = False) -> list[Any]:
    """Return the queries with refIds A, B, C."""
    made = []
    for letter, query in zip(LETTERS, queries, strict=False):
        one = prometheus.Dataquery().ref_id(letter).expr(query.expr).legend_format(query.legend).datasource(SOURCE)
        one = one.instant() if instant else one.range()
        made.append(one.format(PromQueryFormat.TABLE if as_table else PromQueryFormat.TIME_SERIES))
    return made


def unknown(text: str) -> model.SpecialValueMap:
    """Return the mapping that keeps a value that is not there from being coloured as good or bad."""
    result = model.ValueMappingResult(text=text, color="text")
    match = model.SpecialValueMatch.NULL_AND_NAN
    return model.SpecialValueMap(options=model.DashboardSpecialValueMapOptions(match=match, result=result))


def _color(mode: model.FieldColorModeId) -> build.FieldColor:
    return build.FieldColor().mode(mode)


@dataclass(frozen=True, slots=True)
class Stat:
    """One number as it is now: an instant query, so that a value that is gone is not shown as if it were new."""

    title: str
    note: Note
    unit: str
    query: Query
    size: Size = SMALL
    thresholds: tuple[Threshold, ...] = PLAIN
    no_value: str = "no data"
    decimals: int | None = None
    shows_name: bool = False  # the series' name instead of its value

    def builder(self) -> Any:
        """Return a stat panel."""
        named = options.BigValueTextMode.NAME if self.shows_name else options.BigValueTextMode.AUTO
        panel = stat.Panel().targets(targets((self.query,), instant=True)).unit(self.unit).no_value(self.no_value)
        if self.decimals is not None:
            panel = panel.decimals(self.decimals)
        return (
            panel.max_data_points(FINE_STEPS)
            .mappings([unknown(self.no_value)])
            .thresholds(steps(self.thresholds))
            .color_scheme(_color(model.FieldColorModeId.THRESHOLDS))
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            .graph_mode(options.BigValueGraphMode.NONE)
            .color_mode(options.BigValueColorMode.VALUE)
            .text(common.VizTextDisplayOptions().value_size(VALUE_SIZE))
            .text_mode(named if self.query.legend else options.BigValueTextMode.VALUE)
        )


@dataclass(frozen=True, slots=True)
class Lines:
    """Series over time."""

    title: str
    note: Note
    unit: str
    queries: tuple[Query, ...]
    size: Size = HALF
    stacked: bool = False
    calcs: tuple[str, ...] = ("mean", "lastNotNull")  # of ratios: RATIO, for the mean of ratios is no ratio
    colors: Mapping[str, str] | None = None  # series name -> colour
    zero_based: bool = True
    soft_zero: bool = False  # the axis holds 0, and goes below it where values do; in place of zero_based
    no_value: str = "no data"
    thresholds: tuple[Threshold, ...] = PLAIN
    maximum: float | None = None
    color: str = ""  # of all series; "": one colour each
    band: tuple[str, str] | None = None  # names of two queries, lower and upper: the area between them is shaded

    def builder(self) -> Any:
        """Return a time series panel."""
        beside, below = options.LegendPlacement.RIGHT, options.LegendPlacement.BOTTOM
        legend = common.VizLegendOptions().show_legend(True).display_mode(options.LegendDisplayMode.TABLE)
        panel = (
            timeseries.Panel()
            .targets(targets(self.queries, instant=False))
            .unit(self.unit)
            .no_value(self.no_value)
            .color_scheme(self._palette())
            .thresholds(steps(self.thresholds))
            .line_width(1 if self.stacked else 2)
            .fill_opacity(60 if self.stacked else 8)
            .show_points(options.VisibilityMode.AUTO)
            .span_nulls(False)
            .legend(legend.placement(beside if self.size.width >= HALF.width else below).calcs(list(self.calcs)))
            .tooltip(
                common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING)
            )
        )
        if len(self.thresholds) > 1:
            style = common.GraphThresholdsStyleConfig().mode(options.GraphThresholdsStyleMode.DASHED)
            panel = panel.thresholds_style(style)
        if self.stacked:
            panel = panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL).group("A"))
        if self.soft_zero:
            panel = panel.axis_soft_min(0)
        elif self.zero_based:
            panel = panel.min(0)
        if self.maximum is not None:
            panel = panel.max(self.maximum)
        for name, color in (self.colors or {}).items():
            value = {"mode": "fixed", "fixedColor": color}
            panel = panel.override_by_name(name, [model.DynamicConfigValue(id_val="color", value=value)])
        for name, properties in self._edges().items():
            panel = panel.override_by_name(
                name, [model.DynamicConfigValue(id_val=key, value=properties[key]) for key in properties]
            )
        return panel

    def _palette(self) -> build.FieldColor:
        if self.color:
            return _color(model.FieldColorModeId.FIXED).fixed_color(self.color)
        return _color(model.FieldColorModeId.PALETTE_CLASSIC)

    def _edges(self) -> dict[str, dict[str, object]]:
        """Return the field options of the band's two edges: no lines, the upper filled down to the lower."""
        if self.band is None:
            return {}
        lower, upper = self.band
        bare: dict[str, object] = {"custom.lineWidth": 0, "custom.fillOpacity": 0, "custom.showPoints": "never"}
        return {lower: bare, upper: {**bare, "custom.fillBelowTo": lower, "custom.fillOpacity": 20}}


@dataclass(frozen=True, slots=True)
class Ranking:
    """Bars of one number per series, best first: length, order and number say the same as the colour."""

    title: str
    note: Note
    unit: str
    query: Query
    low_is_good: bool = False
    size: Size = LOW_HALF
    no_value: str = "no data"

    def builder(self) -> Any:
        """Return a bar gauge."""
        good_high = model.FieldColorModeId.CONTINUOUS_RD_YL_GR
        good_low = model.FieldColorModeId.CONTINUOUS_GR_YL_RD
        return (
            bargauge.Panel()
            .targets(targets((self.query,), instant=True))
            .unit(self.unit)
            .min(0)
            .no_value(self.no_value)
            .max_data_points(FINE_STEPS)
            .color_scheme(_color(good_low if self.low_is_good else good_high))
            .orientation(options.VizOrientation.HORIZONTAL)
            .display_mode(options.BarGaugeDisplayMode.BASIC)
            .value_mode(options.BarGaugeValueMode.TEXT)
            .name_placement(options.BarGaugeNamePlacement.LEFT)
            .sizing(options.BarGaugeSizing.MANUAL)
            .min_viz_height(22)
            .max_viz_height(36)
            .text(common.VizTextDisplayOptions().title_size(13).value_size(16))
            .show_unfilled(True)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        )


@dataclass(frozen=True, slots=True)
class Scatter:
    """One number against another, a point per rate interval."""

    title: str
    note: Note
    x: Query
    y: Query
    x_unit: str
    unit: str
    size: Size = HALF
    no_value: str = "no data"

    def builder(self) -> Any:
        """Return an XY chart of two range queries joined by time."""

        def by_name(name: str) -> xychart.MatcherConfig:
            return xychart.MatcherConfig().id("byName").options(name)

        series = (
            xychart.XYSeriesConfig()
            .frame(xychart.XychartXYSeriesConfigFrame().matcher(xychart.MatcherConfig().id("byIndex").options(0)))
            .x(xychart.XychartXYSeriesConfigX().matcher(by_name(self.x.legend)))
            .y(xychart.XychartXYSeriesConfigY().matcher(by_name(self.y.legend)))
        )
        join = model.DataTransformerConfig(id_val="joinByField", options={"byField": "Time", "mode": "inner"})
        axis = [
            model.DynamicConfigValue(id_val="unit", value=self.x_unit),
            model.DynamicConfigValue(id_val="custom.axisLabel", value=self.x.legend),
        ]
        return (
            xychart.Panel()
            .targets(targets((self.x, self.y), instant=False))
            .with_transformation(join)
            .mapping(xy.SeriesMapping.MANUAL)
            .series([series])
            .unit(self.unit)
            .min(0)
            .color_scheme(_color(model.FieldColorModeId.FIXED).fixed_color("green"))
            .no_value(self.no_value)
            .axis_label(self.y.legend)
            .override_by_name(self.x.legend, axis)
            .show(xy.XYShowMode.POINTS)
            .point_size(xychart.XychartFieldConfigPointSize().fixed(6))
            .legend(common.VizLegendOptions().show_legend(False))
        )


@dataclass(frozen=True, slots=True)
class Text:
    """Markdown that explains how to read what follows."""

    title: str
    note: Note
    content: str
    size: Size = WIDE

    def builder(self) -> Any:
        """Return a text panel."""
        return text_panel.Panel().mode(text_model.TextMode.MARKDOWN).content(self.content)
