"""How the scripts read their command lines: flags, `--config recipe.yaml`, and one line for a user's mistake.

`parse` reads both into dataclasses; `run` turns a mistake into one line. Which flags there are is in `arguments.py` and,
for training, in `training.py`. This module reads no data and builds nothing, and starts without torch.
"""

import difflib
import json
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers.hf_argparser import HfArgumentParser, string_to_bool

# Flags of older tutorials, of the Hugging Face example scripts and of DNABERT, and what to write today.
OLD_FLAGS = {
    flag: advice
    for flags, advice in (
        ("block_size", "--max_seq_length (in tokens) or --window_length (in bases)"),
        ("do_lower_case", "nothing: lower and upper case are read alike"),
        ("fp16_backend torch_dtype", "--bf16"),
        ("group_by_length pad_to_max_length", "nothing: batches are padded to their own longest sequence"),
        ("hub_token", "nothing, it would be saved and uploaded: set HF_TOKEN, or run `hf auth login`"),
        ("batch_size", "--per_device_train_batch_size, or --tokens_per_batch to predict"),
        ("kmer", "--k"),
        ("line_by_line", "nothing: every row is a sequence of its own"),
        ("lr", "--learning_rate"),
        ("logging_dir", "the environment variable TENSORBOARD_LOGGING_DIR"),
        ("max_length", "--max_seq_length (in tokens, special tokens included)"),
        ("no_cuda", "--use_cpu"),
        ("num_labels", "nothing: one output per name in --label_column"),
        ("preprocessing_num_workers", "nothing: one process reads millions of rows a minute"),
        ("save_safetensors", "nothing: weights are always saved as safetensors"),
        ("text_column_name text_column_names", "--sequence_column"),
        ("tokenizer_name", "--k, --stride and --alphabet, or a checkpoint that holds its tokenizer"),
        ("validation_split", "--validation_split_percentage"),
        ("warmup_ratio", "--warmup_steps 0.1 (a number below 1 is a share of all steps)"),
    )
    for flag in flags.split()
}


class _Parser(HfArgumentParser):
    """The Hugging Face parser, whose errors can be caught and whose flags must be spelt out."""

    def __init__(self, dataclass_types: Sequence[type], description: str | None = None) -> None:
        super().__init__(list(dataclass_types), description=description, allow_abbrev=False)
        self.add_argument("--config", metavar="RECIPE.yaml", help="File of flags and values; the command line wins.")
        self.flags = {action.dest: action for action in reversed(self._actions)}
        self.switches = {name for name, action in self.flags.items() if action.type is string_to_bool}
        for name in self.switches:  # also those whose default is None
            self.flags[name].nargs, self.flags[name].const = "?", True
        for action in self.flags.values():
            if action.default is None and action.type in (int, float):
                action.type = _number_or_none(action.type)

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"(--\w+)/--[\w-]+", r"\1", message)
        raise ValueError(message.replace("one argument", "one value (one that begins with - is written --flag=-VALUE)"))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Namespace, list[str]]:
        found, strays = super().parse_known_args(args, namespace)
        if strays:
            self.error(f"unexpected word {strays[0]!r}: values follow a --flag, in quotes if they have blanks")
        return found, strays

    def check(self, name: str, prefix: str, place: str = "") -> None:
        """Refuses a flag (prefix `--`) or key of a recipe (no prefix) that there is not."""
        if name in OLD_FLAGS:
            raise ValueError(f"{place}{prefix}{name} is not used here: write {OLD_FLAGS[name]}")
        if name not in self.flags:
            near = difflib.get_close_matches(name, self.flags, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else "--help lists all"
            raise ValueError(f"{place}unknown argument {prefix}{name}: {hint}")


def _number_or_none(number: type) -> Callable[[str], Any]:
    """Reads a number, or `none`, with which the command line takes back what a recipe says."""

    def read(text: str) -> Any:
        return None if text.lower() == "none" else number(text)

    read.__name__ = number.__name__  # argparse names it in its message
    return read


def parse(
    dataclass_types: Sequence[type], argv: Sequence[str] | None = None, description: str | None = None
) -> tuple[Any, ...]:
    """Reads the command line, and the recipe that `--config` names, into dataclasses.

    Args:
        dataclass_types: one dataclass per group of flags.
        argv: the words of the command line; None for the program's own.
        description: first lines of `--help`.

    Returns:
        One filled dataclass per type, in the same order.

    Raises:
        ValueError: for an unknown flag or key (with a suggestion), a value of the wrong kind, an unreadable recipe.
    """
    parser = _Parser(dataclass_types, description)
    words = list(sys.argv[1:] if argv is None else argv)
    recipes = [following for word, following in pairwise(words) if word == "--config"]
    recipes += [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
    words = (_recipe_words(Path(recipes[-1]), parser) if recipes else []) + words
    for position, word in enumerate(words):
        if word.startswith("--"):
            name = word[2:].partition("=")[0].replace("-", "_")
            if word[:5] in ("--no_", "--no-") and name[3:] in parser.switches and "=" not in word:
                words[position] = f"--{name[3:]}=false"
            else:
                parser.check(name, "--")
    try:
        *groups, _ = parser.parse_args_into_dataclasses(words, look_for_args_file=False)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{error.doc!r} is no JSON ({error}): write '{{\"name\": 1}}', or a mapping in a recipe"
        ) from None
    return tuple(groups)


def _recipe_words(path: Path, parser: _Parser) -> list[str]:
    """Writes a recipe as the words of a command line, so that both go through the same checks."""
    try:
        # Every value stays the text it is, for the flag's own type to read: YAML itself takes 1e-4 for a word.
        recipe = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    except OSError as error:
        raise ValueError(f"--config {path}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(recipe, dict):
        raise ValueError(f"--config {path} is no mapping: needed are lines of `flag: value`")
    words = []
    for key, value in recipe.items():
        parser.check("config in a recipe" if key == "config" else key, "", f"--config {path}: ")
        if isinstance(value, list) and parser.flags[key].nargs == "+":
            words += [f"--{key}", *value]
        elif value not in ("", "~", "null"):
            words.append(f"--{key}={_recipe_value(key, value)}")
    return words


def _recipe_value(key: str, value: Any) -> str:
    if isinstance(value, dict) and key == "config_overrides":
        value = [f"{name}={setting}" for name, setting in value.items()]
    if isinstance(value, list):
        return ",".join(map(str, value))
    return json.dumps(_typed(value)) if isinstance(value, dict) else value


def _typed(value: Any) -> Any:
    """The value that a recipe's text means in JSON: 1e-6 is a number, cosine is a word."""
    if isinstance(value, dict):
        return {name: _typed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    try:
        return json.loads(value)
    except ValueError:
        return value
