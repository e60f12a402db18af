"""Generated pages of the docs are current."""

from pathlib import Path

import pytest

from tokwatt.app.references import pages

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", pages())
def test_the_page_is_current(name):
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name], "run `make docs` and read the diff"
