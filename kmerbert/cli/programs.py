"""The command line of a program without recipes, such as those of data/ and baselines/."""

import argparse
from collections.abc import Sequence
from typing import Any

from kmerbert.cli.paths import expand_paths


class ProgramParser(argparse.ArgumentParser):
    """A parser whose errors can be caught, and whose paths are treated as those of the scripts.

    Raises:
        ValueError: Where others print the usage and end the program; `run` makes one line of it.
    """

    def __init__(self, description: str | None = None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter, allow_abbrev=False)

    def parse_args(self, argv: Sequence[str] | None = None) -> Any:
        """Reads a command line; None for the program's own."""
        values = super().parse_args(argv)
        expand_paths(values)
        return values

    def error(self, message: str) -> None:
        """Raises the message, which the standard library would print with the usage."""
        raise ValueError(f"{message}; --help lists all flags")
