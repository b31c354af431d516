"""`python -m initsearch`: the command line."""

from initsearch.cli import main

if __name__ == "__main__":
    main()
