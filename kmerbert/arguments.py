"""Command lines of the scripts: what can be asked for, and how it is read.

One dataclass per concern, one field per flag. `parse` reads the command line and `--config recipe.yaml`; `run` turns a
user's mistake into one line. The Trainer's own flags are in `training.py`, so that programs without a model start
without torch. This module reads no data and builds nothing.
"""

import difflib
import json
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from transformers.hf_argparser import HfArg, HfArgumentParser, string_to_bool

# Flags of older tutorials, of the Hugging Face example scripts and of DNABERT, and what to write today.
OLD_FLAGS = {
    flag: advice
    for flags, advice in (
        ("block_size", "--max_seq_length (in tokens) or --window_length (in bases)"),
        ("do_lower_case", "nothing: lower and upper case are read alike"),
        ("fp16_backend torch_dtype", "--bf16"),
        ("group_by_length pad_to_max_length", "nothing: batches are padded to their own longest sequence"),
        ("hub_token", "nothing, it would be saved and uploaded: set HF_TOKEN, or run `hf auth login`"),
        ("batch_size", "--per_device_train_batch_size"),
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


@dataclass
class ModelArguments:
    """Which network, and which k-mers it reads."""

    model_name_or_path: str | None = HfArg(default=None, help="Checkpoint (folder or Hub name). Default: from scratch.")
    model_revision: str = HfArg(default="main", help="Branch, tag or commit of a checkpoint on the Hub.")
    model_type: str = HfArg(default="bert", help="Architecture when training from scratch: bert, modernbert, ...")
    config_overrides: str | None = HfArg(default=None, help="Its settings, e.g. hidden_size=128,num_hidden_layers=4.")
    k: int | None = HfArg(default=None, help="Bases per k-mer, 1 to 8. Default: the checkpoint's, else 6.")
    stride: int | None = HfArg(default=None, help="Bases from k-mer to k-mer. Default: the checkpoint's, else 1.")
    alphabet: str | None = HfArg(default=None, help="Letters in id order. Default: the checkpoint's, else ATCG.")

    def __post_init__(self) -> None:
        if self.model_name_or_path and self.config_overrides:
            raise ValueError(
                f"--config_overrides {self.config_overrides!r} has no effect on the checkpoint "
                f"{self.model_name_or_path!r}, which brings its own settings: leave out one of the two"
            )


@dataclass
class SequenceDataArguments:
    """Which rows, and how they are divided."""

    train_file: str | None = HfArg(default=None, help="Training rows: .tsv .csv .txt .jsonl .parquet .fa, also .gz.")
    validation_file: str | None = HfArg(default=None, help="Rows to choose the checkpoint on, same formats.")
    test_file: str | None = HfArg(default=None, help="Rows to report on after training, same formats.")
    dataset_name: str | None = HfArg(default=None, help="Dataset on the Hub (or its local folder) instead of files.")
    dataset_config_name: str | None = HfArg(default=None, help="Configuration of the Hub dataset.")
    train_split_name: str = HfArg(default="train", help="Split of the Hub dataset to train on.")
    validation_split_name: str = HfArg(default="validation", help="Split of the Hub dataset to choose on, if there.")
    test_split_name: str = HfArg(default="test", help="Split of the Hub dataset to report on, if there.")
    sequence_column: str = HfArg(default="sequence", help="Column with the DNA sequences.")
    id_column: str | None = HfArg(default=None, help="Column with a name for each row; names may not repeat.")
    split_column: str | None = HfArg(default=None, help="Column of --train_file: train, validation or test.")
    group_column: str | None = HfArg(default=None, help="Column (locus, gene, ...) whose rows stay on one side.")
    validation_split_percentage: float = HfArg(default=10.0, help="Percent to hold out where no such rows are given.")
    test_split_percentage: float = HfArg(default=0.0, help="Percent to hold out where no such rows are given.")
    validation_rows: int | None = HfArg(default=None, help="Exact number of validation rows, instead of a percentage.")
    test_rows: int | None = HfArg(default=None, help="Exact number of test rows, instead of a percentage.")
    split_seed: int = HfArg(default=42, help="Seed of the held-out rows; independent of --seed.")
    max_train_samples: int | None = HfArg(default=None, help="Use at most this many training rows.")
    max_eval_samples: int | None = HfArg(default=None, help="Use at most this many validation rows.")
    max_seq_length: int | None = HfArg(
        default=None, help="Cut right ends off to this many tokens, special ones included."
    )
    duplicates: Literal["error", "keep"] = HfArg(default="error", help="Sequences found twice: refuse, or keep all.")
    token_cache_dir: str | None = HfArg(default=None, help="Folder for tokenised rows. Default: in the datasets cache.")

    def __post_init__(self) -> None:
        if not self.train_file and not self.dataset_name:
            raise ValueError("no data: give --train_file (a table or FASTA file) or --dataset_name (a Hub dataset)")
        if not self.sequence_column:
            raise ValueError("--sequence_column is empty: name the column with the DNA")
        if self.train_file and self.dataset_name:
            raise ValueError(f"--train_file {self.train_file!r} and --dataset_name {self.dataset_name!r}: give one")
        if self.dataset_name and (self.validation_file or self.test_file or self.split_column):
            raise ValueError("--dataset_name has its own splits: drop --validation_file, --test_file, --split_column")
        if self.split_column and self.validation_file:
            raise ValueError("--split_column and --validation_file both name the validation rows: give one")
        for name in ("validation_split_percentage", "test_split_percentage"):
            if not 0 <= getattr(self, name) < 100:
                raise ValueError(f"--{name} {getattr(self, name)}: allowed is 0 up to, but not, 100")
        if self.validation_split_percentage + self.test_split_percentage >= 100:
            raise ValueError("--validation_split_percentage and --test_split_percentage leave no training rows")
        for split in ("validation", "test"):
            if getattr(self, f"{split}_rows") and (getattr(self, f"{split}_file") or self.split_column):
                raise ValueError(f"--{split}_rows: a file or --split_column already says which these are: give one")
        _check_counts(self, "split_seed", least=0)
        _check_counts(self, "validation_rows", "test_rows", "max_train_samples", "max_eval_samples", "max_seq_length")


def _check_counts(arguments: Any, *names: str, least: int = 1) -> None:
    for name in names:
        if (value := getattr(arguments, name)) is not None and value < least:
            raise ValueError(f"--{name} {value}: allowed is {least} or more")


@dataclass
class PretrainingDataArguments(SequenceDataArguments):
    """Which DNA to read, how to cut it and what to hide in it."""

    duplicates: Literal["error", "keep"] = HfArg(default="keep", help="Sequences found twice: refuse, or keep all.")
    window_length: int | None = HfArg(default=None, help="Bases of the windows that longer sequences are cut into.")
    window_step: int | None = HfArg(default=None, help="Bases from window to window. Default: the window length.")
    masking: Literal["bases", "dnabert"] = HfArg(
        default="bases", help="bases: mask all k-mers that spell a hidden base. dnabert: spans of k tokens, 80/10/10."
    )
    mlm_probability: float | None = HfArg(
        default=None, help="bases: share of hidden bases (default 0.15). dnabert: spans per token (default 0.15/k)."
    )
    mask_span_length: int = HfArg(default=6, help="bases: neighbouring bases that are hidden together.")
    mask_region: str | None = HfArg(default=None, help="Bases to hide, START:END, 0-based, half-open, e.g. 17:-13.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mlm_probability is not None and not 0 < self.mlm_probability < 1:
            raise ValueError(f"--mlm_probability {self.mlm_probability}: allowed is above 0 and below 1")
        _check_counts(self, "mask_span_length", "window_length", "window_step")
        if self.window_step and self.window_step > (self.window_length or 0):
            raise ValueError(
                f"--window_step {self.window_step}: allowed is up to --window_length, which must be given too"
            )


@dataclass
class RegressionDataArguments(SequenceDataArguments):
    """Which rows, and which measured values to fit."""

    label_column: str = HfArg(default="expression", help="Column of measured values; several are comma-separated.")
    label_unit: str = HfArg(default="", help="Unit of the measured values, for the model card and the figures.")
    max_predict_samples: int | None = HfArg(default=None, help="Use at most this many test rows.")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_counts(self, "max_predict_samples")
        if len(set(self.label_columns)) != len(self.label_columns) or not all(self.label_columns):
            raise ValueError(f"--label_column {self.label_column!r}: names must be given once each, comma-separated")

    @property
    def label_columns(self) -> list[str]:
        """Names of the measured columns, in the order of the model's outputs."""
        return [name.strip() for name in self.label_column.split(",")]


class _Parser(HfArgumentParser):
    """The Hugging Face parser, whose errors can be caught and whose flags must be spelt out."""

    def __init__(self, dataclass_types: Sequence[type], description: str | None = None) -> None:
        super().__init__(list(dataclass_types), description=description, allow_abbrev=False)
        self.add_argument("--config", metavar="RECIPE.yaml", help="File of flags and values; the command line wins.")
        self.flags = {action.dest: action for action in reversed(self._actions)}
        self.switches = {name for name, action in self.flags.items() if action.type is string_to_bool}
        for name in self.switches:  # also those whose default is None
            self.flags[name].nargs, self.flags[name].const = "?", True

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


def run(main: Callable[[], Any]) -> None:
    """Runs a script's `main`; a mistake of the user's ends in one line and exit status 2.

    Set the environment variable KMERBERT_DEBUG=1 to see the traceback as well.
    """
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command with --resume_from_checkpoint true goes on from the last checkpoint")
    except (ValueError, OSError, ImportError) as error:  # ImportError: a package that only some flag needs
        if os.environ.get("KMERBERT_DEBUG"):
            raise
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
