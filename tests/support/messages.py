"""Messages are tested by what they must contain (location, value, argument), so that their wording can improve."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


def check_message(message: str, *parts: object) -> None:
    """Asserts that a message is one line and contains every part."""
    assert "\n" not in message
    missing = [part for part in parts if str(part) not in message]
    assert not missing, f"{missing} not in: {message}"


@contextmanager
def fails(*parts: object, error: type[Exception] = ValueError) -> Iterator[pytest.ExceptionInfo]:
    """Asserts that the block fails with a message of one line that contains every part; gives what pytest caught."""
    with pytest.raises(error) as caught:
        yield caught
    check_message(str(caught.value), *parts)
