"""`python -m initsearch.race scores.csv`; see `program`.

This module imports next to nothing: until its first statement has run, Ctrl-C ends in a traceback.
"""

import sys

from initsearch.ctrl_c import exit_at_interrupt

if __name__ == "__main__":
    exit_at_interrupt("stopped")
    from initsearch.race.program import main

    sys.exit(main())
