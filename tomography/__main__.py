"""``python -m tomography``: hands over to the command line."""

from tomography.cli import main

main()
