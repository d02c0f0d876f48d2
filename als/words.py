"""Figures in words, for people.

Belongs here: that alone, without anything heavy to import.
Does not: tables (screen).
"""


def size(size_bytes: float) -> str:
    """Bytes for people, in powers of 1000 as storage is sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size_bytes) < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
