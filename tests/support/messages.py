"""Messages are tested by what they must contain (location, value, argument), so that their wording can improve."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


def check_message(message: str, *parts: object) -> None:
    """Asserts that a message is one line and contains every part; "line 2" is not in "line 20"."""
    assert "\n" not in message
    missing = [part for part in parts if not re.search(_pattern(str(part)), message)]
    assert not missing, f"{missing} not in: {message}"


def _pattern(part: str) -> str:
    start, end = (r"(?<!\d)" if part[:1].isdigit() else ""), (r"(?!\d)" if part[-1:].isdigit() else "")
    return start + re.escape(part) + end


@contextmanager
def fails(*parts: object, error: type[Exception] = ValueError) -> Iterator[pytest.ExceptionInfo]:
    """Asserts that the block fails with a message of one line that contains every part; gives what pytest caught."""
    with pytest.raises(error) as caught:
        yield caught
    check_message(str(caught.value), *parts)
