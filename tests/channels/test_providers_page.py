"""The page about providers is the catalog's."""

from __future__ import annotations

from dev.gen_providers import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text("utf-8") == page(), "run dev/gen_providers.py"
