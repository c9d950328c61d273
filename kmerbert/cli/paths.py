"""Paths on the command line and in recipes: the home folder is filled in and the name is checked, once, before anything is read.

A flag is a path if its name says so, so that a new flag is treated like the others.
"""

import os
import re
from argparse import Namespace
from pathlib import Path

# Names of flags whose value is a path; those of the second kind may name something on the Hub instead.
PATH_NAME = re.compile(r"(?:.*_)?(?:file|dir)")
PATH_OR_HUB_NAMES = frozenset({"config", "dataset_name", "model_name_or_path", "resume_from_checkpoint"})
LISTS = frozenset({"model_name_or_path"})  # several paths, comma-separated
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
HUB_URL = re.compile(r"(?:https?://(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://)(?:datasets/|models/)?([\w.-]+/[\w.-]+)")


def is_path(name: str) -> bool:
    """Tells whether a flag, named without dashes, is a path.

    >>> is_path("train_file"), is_path("output_dir"), is_path("config"), is_path("label_column")
    (True, True, True, False)
    """
    return name in PATH_OR_HUB_NAMES or PATH_NAME.fullmatch(name) is not None


def expand_paths(values: Namespace) -> None:
    """Fills in and checks all paths of a command line, and checks that its other texts are UTF-8.

    Raises:
        ValueError: As for `expand_path`.
    """
    for name, value in vars(values).items():
        if not isinstance(value, str):
            continue
        if is_path(name):
            setattr(values, name, expand_path(value, name))
        elif not _is_utf8(value):
            raise ValueError(
                f"`{name}` {_printable(value)} is not UTF-8, which it would be saved as: write it in UTF-8"
            )


def expand_path(text: str, name: str) -> str:
    """Returns the path, or the comma-separated paths, of a flag, with `~` and `~user` filled in.

    Args:
        text: What the user wrote; empty for no path.
        name: Name of the flag, without dashes.

    Raises:
        ValueError: A path is a URL, is not UTF-8, has a character that no path can have, or names an unknown user.

    >>> expand_path("runs/a,runs/b", "model_name_or_path")
    'runs/a,runs/b'
    """
    parts = text.split(",") if name in LISTS else [text]
    return ",".join(_expand(part.strip() if len(parts) > 1 else part, name) for part in parts)


def _expand(text: str, name: str) -> str:
    argument = f"`{name}` {_printable(text)}"
    if "\0" in text or "\n" in text:
        raise ValueError(f"{argument}: a path here cannot have a line break or a zero byte: correct the name")
    # What is written is also known by its whole path, to libraries that take UTF-8 only.
    if not _is_utf8(os.path.abspath(text) if text and name.startswith("output_") else text):
        raise ValueError(
            f"{argument}: the name is not UTF-8, so that a model there cannot be saved or loaded: rename it"
        )
    if URL.match(text):
        if name in PATH_OR_HUB_NAMES and (repository := HUB_URL.match(text)):
            raise ValueError(f"{argument} is a URL: what is on the Hub is named without its address, {repository[1]}")
        raise ValueError(
            f"{argument} is a URL: allowed are files and folders of this machine; copy it here first, or mount it"
        )
    if not text.startswith("~"):
        return text
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        user = Path(text).parts[0]
        raise ValueError(
            f"{argument}: there is no user {user[1:]}: write the whole path, or ./{text} for a name with ~"
        )
    return expanded


def _is_utf8(text: str) -> bool:
    """False for what Python makes of bytes of a command line that are not UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _printable(text: str) -> str:
    """A text as a message can show it, in one line."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\n", "\\n").replace("\0", "\\0")
