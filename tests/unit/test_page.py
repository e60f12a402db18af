"""The live page's files: small, self-contained, fit for the strict policy, and reading only what a Snapshot has."""

from __future__ import annotations

import re
from dataclasses import fields
from importlib import resources

import pytest

from tokwatt import readings, snapshot
from tokwatt.app.http import PAGE_FILES, SECURITY_HEADERS, page_bytes

NAMES = tuple(PAGE_FILES.values())
MAX_BYTES = 60_000


def text(name: str) -> str:
    return resources.files("tokwatt.app").joinpath("page", name).read_text(encoding="utf-8")


def snapshot_fields() -> set[str]:
    classes = [
        item
        for module in (snapshot, readings)
        for item in vars(module).values()
        if isinstance(item, type) and hasattr(item, "__dataclass_fields__")
    ]
    return {field.name for cls in classes for field in fields(cls)}


def test_all_three_files_are_small() -> None:
    assert sum(len(page_bytes(name)) for name in NAMES) < MAX_BYTES


def test_what_is_sent_leaves_out_nothing_but_indentation_and_comments() -> None:
    for name in NAMES:
        written = [line.strip() for line in text(name).splitlines()]
        assert all(line.count("`") % 2 == 0 for line in written), "a template over several lines would change"
        assert page_bytes(name).decode().split("\n") == [line for line in written if not line.startswith("//")]


def test_nothing_is_inline() -> None:
    html = text("index.html")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html)
    assert re.findall(r"<script\b[^>]*>([^<]*)</script>", html) == [""]
    assert "unsafe" not in SECURITY_HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_comes_from_elsewhere(name: str) -> None:
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s'\"]*", text(name)))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(", text(name))


def test_addresses_are_relative_so_that_a_path_prefix_works() -> None:
    html = text("index.html")
    addresses = re.findall(r'(?:href|src)="([^"]*)"', html)
    assert {"page.css", "page.js", "metrics", "api/v1/snapshot", "readyz"} <= set(addresses)
    assert not [address for address in addresses if address.startswith("/")]
    assert re.findall(r'fetch\("([^"]*)"', text("page.js")) == ["api/v1/snapshot"]


def test_script_never_writes_markup_and_keeps_nothing() -> None:
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|Storage\b|indexedDB|cookie",
        text("page.js"),
    )


def test_every_field_that_the_script_reads_exists() -> None:
    code = re.sub(r"//.*|/\*.*?\*/", "", text("page.js"))
    used = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", code))
    assert len(used) > 25, "the pattern no longer finds the fields"
    assert used <= snapshot_fields()


def test_every_id_that_the_script_asks_for_is_in_the_page() -> None:
    html, script = text("index.html"), text("page.js")
    asked = set(re.findall(r'byId\("([\w-]+)"\)', script)) | set(re.findall(r'\["(no-\w+)"', script))
    assert asked
    assert asked <= set(re.findall(r'\bid="([\w-]+)"', html))
