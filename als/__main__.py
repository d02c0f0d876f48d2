"""``als``, and ``python -m als`` for programs that start it with their own Python.

Belongs here: what has to be said to Python before anything is loaded. Does not: commands (als.main).
"""

import gc


def main() -> None:
    """Load the commands and run one."""
    # Loading modules makes many objects and no garbage: looking for some is a fifth of the time of a short command.
    gc.set_threshold(50_000, 20, 20)
    from als.main import main as run

    run()


if __name__ == "__main__":
    main()
