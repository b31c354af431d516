"""`python -m initsearch`: the command line."""

from initsearch.cli import program

if __name__ == "__main__":
    program()
