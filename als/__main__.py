"""``python -m als``: the same as ``als``, for programs that start it with their own Python."""

from als.main import main

main()
