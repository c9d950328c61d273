"""Paths on the command line and in recipes: the home folder and variables are filled in and the name is checked, once, before
anything is read.

A flag is a path if its name says so, so that a new flag is treated like the others. Whether an input exists, and what is in
it, is for those to say who read it.
"""

import csv
import errno
import os
import re
import stat
from argparse import Namespace
from collections.abc import Collection, Sequence
from pathlib import Path

# Names of flags whose value is a path; those of the second kind may name something on the Hub instead, or say whether to
# resume; those of the third may have JSON instead.
PATH_NAME = re.compile(r"(?:.*_)?(?:file|dir)")
PATH_OR_HUB_NAMES = frozenset({"config", "dataset_name", "model_name_or_path", "resume_from_checkpoint"})
PATH_OR_JSON_NAMES = frozenset({"accelerator_config", "deepspeed", "fsdp_config"})
LISTS = frozenset({"model_name_or_path"})  # several paths, comma-separated
WRITTEN = frozenset({"output_file", "output_dir", "token_cache_dir"})
FILE_OR_FOLDER = frozenset({"train_file"})  # with `streaming` it is a folder or a glob
# With two letters or more before the colon: C:/data is a drive of Windows. A name on another computer, as scp takes it, is no
# path here either, nor is what fsspec chains with ::.
URL = re.compile(r"[A-Za-z0-9][\w+.@-]+:(?:/|:)")
HUB_URL = re.compile(r"(?:https?://(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://)(?:datasets/|models/)?([\w.-]+/[\w.-]+)")
# A drive or a computer of Windows; on another system, such a name would be that of a file in the working folder.
IS_WINDOWS = os.name == "nt"
WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
# A name that begins with a $ after a slash, or is in braces; a $ inside a name is part of it.
VARIABLE = re.compile(r"(?:^|(?<=/))\$([A-Za-z_]\w*)|\$\{([^{}]*)\}")
# Open files under other names, which can be no output. /dev/shm is a folder like others.
DEVICES = re.compile(r"/dev/(?:std(?:in|out|err)|null|full|zero|tty|fd/.*|pts/.*)|/proc/.*")
# In bytes. File systems end at 255, and the name of an unfinished file is longer than its final one.
LONGEST_OUTPUT_NAME = 180


def is_path(name: str) -> bool:
    """Tells whether a flag, named without dashes, is a path.

    >>> is_path("train_file"), is_path("output_dir"), is_path("config"), is_path("label_column")
    (True, True, True, False)
    """
    return name in PATH_OR_HUB_NAMES | PATH_OR_JSON_NAMES or PATH_NAME.fullmatch(name) is not None


def expand_paths(values: Namespace, may_be_empty: Collection[str] = ()) -> None:
    """Fills in and checks all paths of a command line, and checks that its other texts are UTF-8.

    Args:
        values: All flags and their values; paths are replaced by whole ones.
        may_be_empty: Flags of which an empty value means that there is no path.

    Raises:
        ValueError: As for `expand_path`; a path is empty; or an input would be replaced or deleted.
    """
    for name, value in vars(values).items():
        texts = value if isinstance(value, list) else [value]
        for text in texts:
            if isinstance(text, str) and not is_path(name) and not _is_utf8(text):
                raise ValueError(
                    f"`{name}` {_printable(text)} is not UTF-8, which it would be saved as: write it in UTF-8"
                )
        if isinstance(value, str) and is_path(name):
            if not value.strip() and name not in may_be_empty:
                raise ValueError(f"`{name}` is empty: name a path, or leave the flag out")
            setattr(values, name, expand_path(value, name))
    _check_inputs_are_kept(values)


def expand_path(text: str, name: str) -> str:
    """Returns the path, or the comma-separated paths, of a flag, with `~`, `~user`, `$NAME` and `${NAME}` filled in.

    Args:
        text: What the user wrote; empty for no path.
        name: Name of the flag, without dashes.

    Raises:
        ValueError: A path is a URL, a pipe, a link to nothing, a file where a folder is needed or the reverse; is not UTF-8,
            has a character that no path can have, is too long, or names an unknown user or variable.

    >>> expand_path("runs/a,runs/b", "model_name_or_path")
    'runs/a,runs/b'
    """
    parts = _parts(text) if name in LISTS else [text]
    paths = [_expand(part, name) for part in parts]
    return ",".join(f'"{path}"' if "," in path and name in LISTS else path for path in paths)


def _parts(text: str) -> Sequence[str]:
    """The paths of a list; one that contains a comma is in double quotes, as for `flags.split_names`."""
    try:
        return [part.strip() for part in next(csv.reader([text], skipinitialspace=True, strict=True), [""])]
    except csv.Error:  # said by who reads the list
        return text.split(",")


def _expand(text: str, name: str) -> str:
    argument = f"`{name}` {_printable(text)}"
    if CONTROL.search(text):
        raise ValueError(
            f"{argument}: a path here cannot have line breaks, tabs or control characters: correct the name"
        )
    if not text or (name in PATH_OR_JSON_NAMES and text.lstrip().startswith("{")):
        return text
    path = _fill_in_home(_fill_in_variables(text, argument), text, argument)
    # What is written is also known by its whole path, to libraries that take UTF-8 only.
    if not _is_utf8(path) or (name in WRITTEN and not _is_utf8(os.path.realpath(path))):
        raise ValueError(
            f"{argument}: the name is not UTF-8, so that a model there cannot be saved or loaded: rename it"
        )
    if URL.match(path.strip()):
        if name in PATH_OR_HUB_NAMES and (repository := HUB_URL.match(path.strip())):
            raise ValueError(f"{argument} is a URL: what is on the Hub is named without its address, {repository[1]}")
        if path.lower().startswith("file:"):
            local = "/" + path[5:].lstrip("/")
            raise ValueError(f"{argument} is a URL: allowed are files and folders of this machine; write {local}")
        advice = "name one, and copy the result" if name in WRITTEN else "copy it here first, or mount it"
        raise ValueError(f"{argument} is a URL: allowed are files and folders of this machine; {advice}")
    if not IS_WINDOWS and WINDOWS.match(path):
        raise ValueError(f"{argument} is a path of Windows: write the path that this system has for it")
    _check_place(path, name, argument)
    return path


def _fill_in_variables(text: str, argument: str) -> str:
    if "$" not in text or os.path.lexists(text):
        return text
    for match in VARIABLE.finditer(text):
        variable = match[1] or match[2]
        if not os.environ.get(variable):
            raise ValueError(f"{argument}: the environment variable {variable} is not set: write the whole path")
    return VARIABLE.sub(lambda match: os.environ[match[1] or match[2]], text)


def _fill_in_home(path: str, text: str, argument: str) -> str:
    if not text.startswith("~"):  # a ~ out of a variable is part of a name
        return path
    user = path[1:].partition("/")[0]
    if not user and not os.path.isabs(os.environ.get("HOME", "/")):
        raise ValueError(f"{argument}: the environment variable HOME is not a whole path: write the whole path")
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ValueError(f"{argument}: there is no user {user}: write the whole path, or ./{text} for a name with ~")
    return expanded


def _check_place(path: str, name: str, argument: str) -> None:
    """Checks what is where a path leads; nothing there is right for what is written, and said by others for what is read."""
    is_written = name in WRITTEN
    if path == "-" or (is_written and DEVICES.fullmatch(os.path.abspath(path))):
        raise ValueError(_no_pipe(argument, is_written))
    if name == "output_file" and (path.endswith("/") or len(os.fsencode(os.path.basename(path))) > LONGEST_OUTPUT_NAME):
        raise ValueError(f"{argument}: allowed are names of files of at most {LONGEST_OUTPUT_NAME} bytes: name another")
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno == errno.ENOENT and os.path.islink(path):
            raise ValueError(
                f"{argument} is a link to {_printable(os.readlink(path))}, which does not exist: correct the link, or name "
                "another path"
            ) from None
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            raise ValueError(f"{argument}: {error.strerror}: name another path") from None
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(_no_pipe(argument, is_written))
    if not PATH_NAME.fullmatch(name) or name in FILE_OR_FOLDER:
        return
    needs_folder = name.endswith("dir")
    if stat.S_ISDIR(mode) and not needs_folder:
        raise ValueError(f"{argument} is a folder: name a file{' in it' * is_written}")
    if stat.S_ISREG(mode) and needs_folder:
        raise ValueError(f"{argument} is a file: name a folder")


def _no_pipe(argument: str, is_written: bool) -> str:
    if is_written:
        return (
            f"{argument}: standard output (stdout), pipes and devices are not written: name a file or folder on a disk"
        )
    return (
        f"{argument}: standard input (stdin), pipes and devices are read only once, but inputs here are read twice: write the "
        "data to a file, and name that"
    )


def _check_inputs_are_kept(values: Namespace) -> None:
    """Raises ValueError if what is read is the file to write, or in a folder whose earlier run is deleted."""
    paths = {name: value for name, value in vars(values).items() if isinstance(value, str) and value and is_path(name)}
    is_cleared = getattr(values, "overwrite_output_dir", False) and hasattr(values, "resume_from_checkpoint")
    output_file, run = paths.get("output_file"), paths.get("output_dir") if is_cleared else None
    for name in [name for name in paths if name not in WRITTEN | {"resume_from_checkpoint"}]:
        for path in filter(os.path.exists, _parts(paths[name]) if name in LISTS else [paths[name]]):
            if output_file and os.path.exists(output_file) and os.path.samefile(path, output_file):
                raise ValueError(
                    f"`output_file` {output_file} is the `{name}` itself, which is never replaced: name another"
                )
            if output_file and _is_part_of(output_file, path, name):
                raise ValueError(
                    f"`output_file` {output_file} is in the folder of `{name}` {path}, which would read it as a part of itself: "
                    "name another"
                )
            if run and _is_in(path, run):
                raise ValueError(
                    f"`{name}` {path} is in `output_dir` {run}, whose run `overwrite_output_dir` deletes: name another folder"
                )


def _is_part_of(output_file: str, path: str, name: str) -> bool:
    """Tells whether a file would be read with a folder: anything with a data set, and with a model what it has already.

    Tables in a model's folder, such as its earlier predictions, are no part of the model.
    """
    if name == "dataset_name":
        return os.path.isdir(path) and _is_in(output_file, path)
    is_of_model = (
        name == "model_name_or_path" and output_file.endswith((".json", ".txt")) and os.path.exists(output_file)
    )
    return is_of_model and os.path.samefile(os.path.dirname(output_file) or ".", path)


def _is_in(path: str, folder: str) -> bool:
    """Tells whether a path is a folder or in it, through links and in whatever spelling."""
    whole = Path(os.path.realpath(path))
    folders = [place for place in (whole, *whole.parents) if place.exists()]  # what is to be written is not there yet
    return os.path.exists(folder) and any(place.samefile(folder) for place in folders)


def _is_utf8(text: str) -> bool:
    """False for what Python makes of bytes of a command line that are not UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _printable(text: str) -> str:
    """A text as a message can show it, in one line."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return CONTROL.sub(lambda match: repr(match[0])[1:-1].replace("\\x00", "\\0"), text)
