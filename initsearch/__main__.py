"""The programs of the command line; `python -m initsearch` is the search.

This module imports next to nothing: until a program's first statement has run, Ctrl-C ends in a traceback.
"""

from initsearch.ctrl_c import exit_at_interrupt


def search() -> None:
    """Entry point of `initsearch` and `python -m initsearch`."""
    exit_at_interrupt("stopped: run the same command again to resume")
    from initsearch.cli import program

    program()


def diagnose() -> None:
    """Entry point of `initsearch-diagnose`."""
    exit_at_interrupt("stopped")
    from initsearch.diagnosis import main

    main()


if __name__ == "__main__":
    search()
