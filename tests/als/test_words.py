"""Figures in words."""

import pytest

from als.words import size


@pytest.mark.parametrize(
    ("size_bytes", "said"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (268_492_800, "268.5 MB"), (3e13, "30.0 TB")]
)
def test_sizes_read_as_storage_is_sold(size_bytes: float, said: str) -> None:
    assert size(size_bytes) == said
