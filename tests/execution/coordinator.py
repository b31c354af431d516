"""A program that submits work and waits: the executors' tests stop it in several ways."""

import sys

from executor_calls import nap


def main(folder: str, kind: str) -> None:
    # Not at the top: the workers import this file too, and need nothing of it.
    from initsearch.execution import make_executor

    programs = kind == "program"
    with make_executor("local", workers=1 if programs else 2, distributed=programs) as executor:
        futures = [executor.submit(nap, folder, 600.0) for _ in range(2)]
        for future in futures:
            future.result()


if __name__ == "__main__":
    main(*sys.argv[1:])
