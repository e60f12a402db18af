"""Only the wanted lines are read, and each exactly as prometheus_client reads it."""

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from support.captures import body as capture

from tokwatt.readings import Malformed
from tokwatt.sources.tokens._exposition import Lines, series_id

WANTED = ("eng:out_total", "eng:out", "out_total", "x")
NAMES = (*WANTED, "eng:out_total_created", "eng:out_tota", "not_eng:out_total", "outer", "y", "eng:out_total_bucket")


def numbers(values: dict[str, float]) -> dict[str, float | str]:
    return {name: "NaN" if math.isnan(value) else value for name, value in values.items()}


def ours(text: bytes, lines: Lines | None = None) -> dict[str, float | str]:
    page = (lines or Lines("test")).page(text)
    return numbers({key: value for name in WANTED for key, (_, value) in page.values(name).items()})


def theirs(text: str, parse: Any = parse_text) -> dict[str, float | str]:
    """The stock parser's samples."""
    samples = [sample for family in parse(text) for sample in family.samples if sample.name in WANTED]
    return numbers({series_id(sample.name, sample.labels): float(sample.value) for sample in samples})


label_values = st.lists(st.sampled_from((*'ab}{ ,="\\\n#é\t:1', " # ", *NAMES)), max_size=8).map("".join)
label_sets = st.dictionaries(st.sampled_from(("a", "b", "model_name")), label_values, max_size=3)
number_texts = st.one_of(
    st.integers(-5, 10**18).map(str),
    st.floats(allow_nan=False).map(repr),
    st.sampled_from(("NaN", "+Inf", "-Inf", "1.04782e+06", "0", "1e3")),
)


def escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@st.composite
def sample_lines(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(NAMES))
    labels = draw(label_sets)
    pairs = [f'{key}="{escape(value)}"' for key, value in labels.items()]
    value = draw(number_texts)
    lead = draw(st.sampled_from(("", "", "", " ", "\t", "  ")))
    gap = draw(st.sampled_from(("", "", " ", "\t")))
    comma = draw(st.sampled_from(("", ","))) if pairs else ""
    blank = draw(st.sampled_from((" ", " ", "  ", "\t")))
    tail = draw(st.sampled_from(("", "", " ", " 1700000000000", "\r")))
    tail = tail.replace(" 17", "\t17") if blank == "\t" else tail
    if pairs and draw(st.integers(0, 5)) == 0:
        text = f'{{"{name}",{",".join(pairs)}}}'
    else:
        text = f"{name}{gap}{{{','.join(pairs)}{comma}}}" if pairs or gap else name
    return f"{lead}{text}{blank}{value}{tail}"


other_lines = st.sampled_from(
    ("", "# a comment eng:out_total 5", "# HELP eng:out_total words x 5 \\n eng:out", "# TYPE x gauge", "   ", "#")
)


bodies = st.tuples(
    st.lists(sample_lines() | other_lines, max_size=12).map("\n".join), st.sampled_from(("\n", "\n\n", ""))
).map("".join)


def tidy(text: str) -> str:
    """The same lines as servers write them: a comment first, no blanks before a name, no name in braces."""
    lines = (line.lstrip(" \t") for line in text.split("\n"))
    return "# HELP y words\n" + "\n".join(line for line in lines if not line.startswith("{"))


@given(first=bodies | bodies.map(tidy), second=bodies | bodies.map(tidy))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_reads_wanted_lines_as_the_stock_parser_does(first: str, second: str) -> None:
    lines = Lines("test")
    for text in (first, second, first):  # the second look at a line comes from memory
        expected = theirs(text)
        found = [
            series_id(sample.name, sample.labels)
            for family in parse_text(text)
            for sample in family.samples
            if sample.name in WANTED
        ]
        if len(found) != len(set(found)):
            with pytest.raises(Malformed, match="the same series twice"):
                ours(text.encode(), lines)
        else:
            assert ours(text.encode(), lines) == expected


@given(labels=label_sets, value=st.integers(0, 10**9), exemplar=label_values, stamp=st.sampled_from(("", " 17.5")))
@settings(max_examples=150, deadline=None)
def test_reads_openmetrics_with_exemplars(labels: dict[str, str], value: int, exemplar: str, stamp: str) -> None:
    pairs = ",".join(f'{key}="{escape(text)}"' for key, text in labels.items())
    name = f"eng:out_total{{{pairs}}}" if pairs else "eng:out_total"
    body = f'# TYPE eng:out counter\n{name} {value}{stamp} # {{trace="{escape(exemplar)}"}} 0.5 1.5\n# EOF\n'
    try:
        expected = theirs(body, parse_openmetrics)
    except ValueError:
        return  # the strict parser itself cannot read such an exemplar
    assert ours(body.encode()) == expected


@given(junk=st.binary(max_size=200), at=st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_unwanted_garbage_is_harmless(junk: bytes, at: int) -> None:
    junk = junk.replace(b"\n", b"").replace(b"x", b"").replace(b"out", b"")
    lines = [b'eng:out_total{a="1"} 5', b"# HELP y", b"y nonsense"]
    lines.insert(at, b"y" + junk)
    assert ours(b"\n".join(lines) + b"\n") == {'eng:out_total{a="1"}': 5.0}


@pytest.mark.parametrize(
    "line",
    [
        b"x",
        b"x ",
        b"x{",
        b'x{a="1} 5',
        b'x{a="1"} five',
        b'x{a="1"}',
        b"x{a=1} 5",
        b"x 1_000",
        b'x{a="1",a="2"} 5',
        b'x{a="\xff"} 5',
        b'{"x",a="1} 5',
        b"x 1" + b"2" * 5000 + b"z",
    ],
)
def test_bad_wanted_line_is_quoted_and_bounded(line: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        ours(b"y 1\n" + line + b"\n")
    lines = Lines("test")
    ours(b"# HELP y words\ny 1\n", lines)
    with pytest.raises(Malformed) as later:  # names that are known are searched together
        ours(b"# HELP y words\ny 1\n" + line + b"\n", lines)
    assert str(later.value) == str(caught.value)
    assert "cannot read the line" in str(caught.value)
    assert len(str(caught.value)) < 400
    assert repr(line[:3].decode())[1:3] in str(caught.value)


def test_bad_value_after_a_known_prefix_is_still_malformed() -> None:
    lines = Lines("test")
    assert ours(b'x{a="1"} 5\n', lines) == {'x{a="1"}': 5.0}
    for value in (b"five", b"1_0", b"", b"5 6 7 eight"):
        with pytest.raises(Malformed):
            ours(b'x{a="1"} ' + value + b"\n", lines)


def test_label_order_does_not_make_another_series() -> None:
    lines = Lines("test")
    first = ours(b'x{a="1",b="2"} 5\n', lines)
    assert ours(b'x{b="2",a="1"} 6\n', lines) == {next(iter(first)): 6.0}
    with pytest.raises(Malformed, match="twice"):
        ours(b'x{a="1",b="2"} 5\nx{b="2",a="1"} 6\n', lines)


def test_memory_of_prefixes_is_bounded() -> None:
    lines = Lines("test")
    for start in range(0, 20_000, 1000):
        ours(b"".join(b'x{a="%d"} 1\n' % number for number in range(start, start + 1000)), lines)
    assert len(lines.known) < 6000


@pytest.mark.parametrize("state", ["vllm/0.32.0__loaded", "llamacpp/b11434__loaded"])
def test_every_series_of_a_real_page_is_read_as_the_stock_parser_reads_it(state: str) -> None:
    body = capture(state)
    # without TYPE lines, which make the stock parser rename counters that lack _total
    text = "".join(line for line in body.decode().splitlines(keepends=True) if not line.startswith("# TYPE"))
    samples = [sample for family in parse_text(text) for sample in family.samples]
    page = Lines("test").page(body)
    for name in {sample.name for sample in samples}:
        expected = {series_id(s.name, s.labels): float(s.value) for s in samples if s.name == name}
        assert {key: value for key, (_, value) in page.values(name).items()} == expected


def test_help_and_type_lines() -> None:
    page = Lines("t").page(b"# HELP x_total blocks of tokens\n# TYPE x_total counter\n# TYPE z counter\n")
    assert "blocks" in page.help_text("x_total")
    assert page.help_text("y") == ""
    assert page.shows("x_total")
    assert page.shows("z_total")  # OpenMetrics types the family without _total
    assert not page.shows("x")
