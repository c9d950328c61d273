"""Imported first by every script: Ctrl-C during the other imports, which take seconds, ends in one line as it does later."""

import sys
from types import TracebackType


def print_error(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Prints what nobody caught, an interruption without its traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted; nothing was begun", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = print_error
