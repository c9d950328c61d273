"""Command lines of the scripts: what can be asked for, and how it is read.

One dataclass per concern, one field per flag. `parse` reads the command line and `--config recipe.yaml`; `run` turns a
user's mistake into one line. The Trainer's own flags are in `training.py`, so that programs without a model start
without torch. This module reads no data and builds nothing.
"""

import difflib
import os
import sys
from argparse import ArgumentDefaultsHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from transformers.hf_argparser import HfArg, HfArgumentParser

# Flags of older tutorials, of the Hugging Face example scripts and of DNABERT, and what to write today.
OLD_FLAGS = {
    "block_size": "--max_seq_length (in tokens) or --window_length (in bases)",
    "do_lower_case": "nothing: lower and upper case are read alike",
    "do_regression": "nothing: this script always fits numbers",
    "evaluation_strategy": "--eval_strategy",
    "fp16_backend": "--bf16",
    "group_by_length": "nothing: batches are padded to their own longest sequence",
    "hub_token": "the environment variable HF_TOKEN, or `hf auth login` (a token given here would be saved and uploaded)",
    "kmer": "--k",
    "label_column_name": "--label_column",
    "label_column_names": "--label_column",
    "line_by_line": "nothing: every row is a sequence of its own",
    "logging_dir": "the environment variable TENSORBOARD_LOGGING_DIR",
    "max_length": "--max_seq_length (in tokens, special tokens included)",
    "mask_probability": "--mlm_probability",
    "metric_name": "--metric_for_best_model",
    "no_cuda": "--use_cpu",
    "num_labels": "nothing: one output per name in --label_column",
    "pad_to_max_length": "nothing: batches are padded to their own longest sequence",
    "per_gpu_eval_batch_size": "--per_device_eval_batch_size",
    "per_gpu_train_batch_size": "--per_device_train_batch_size",
    "preprocessing_num_workers": "nothing: one process reads millions of rows a minute",
    "save_safetensors": "nothing: weights are always saved as safetensors",
    "sequence_column_name": "--sequence_column",
    "text_column_name": "--sequence_column",
    "text_column_names": "--sequence_column",
    "tokenizer_name": "--k, --stride and --alphabet, or a checkpoint that holds its tokenizer",
    "torch_dtype": "--bf16",
    "use_fast_tokenizer": "nothing: there is one tokenizer",
    "validation_split": "--validation_split_percentage",
    "warmup_ratio": "--warmup_steps 0.1 (a number below 1 is a share of all steps)",
}


@dataclass
class ModelArguments:
    """Which network, and which k-mers it reads."""

    model_name_or_path: str | None = HfArg(
        default=None, help="Checkpoint to start from: a folder or a Hub name. Left out: train from scratch."
    )
    model_revision: str = HfArg(default="main", help="Branch, tag or commit of a checkpoint on the Hub.")
    model_type: str = HfArg(default="bert", help="Architecture when training from scratch: bert, modernbert, ...")
    config_overrides: str | None = HfArg(
        default=None,
        help="Settings of a new architecture that differ from its defaults: hidden_size=128,num_hidden_layers=4,...",
    )
    k: int | None = HfArg(default=None, help="Bases per k-mer, 1 to 8. Default: the checkpoint's, else 6.")
    stride: int | None = HfArg(
        default=None, help="Bases between the starts of two k-mers, 1 to k. Default: the checkpoint's, else 1."
    )
    alphabet: str | None = HfArg(
        default=None, help="Letters of the k-mers, in the order of their ids. Default: the checkpoint's, else ATCG."
    )

    def __post_init__(self) -> None:
        if self.model_name_or_path and self.config_overrides:
            raise ValueError(
                f"--config_overrides {self.config_overrides!r} has no effect on the checkpoint "
                f"{self.model_name_or_path!r}, which brings its own settings: leave out one of the two"
            )


@dataclass
class SequenceDataArguments:
    """Which rows, and how they are divided."""

    train_file: str | None = HfArg(
        default=None,
        help="Training rows: .tsv .csv .txt .jsonl .parquet .fa, each also .gz; `-` columns need a header.",
    )
    validation_file: str | None = HfArg(default=None, help="Rows to choose the checkpoint on, same formats.")
    test_file: str | None = HfArg(default=None, help="Rows to report on after training, same formats.")
    dataset_name: str | None = HfArg(default=None, help="Dataset on the Hub (or its local folder) instead of files.")
    dataset_config_name: str | None = HfArg(default=None, help="Configuration of the Hub dataset.")
    train_split_name: str = HfArg(default="train", help="Split of the Hub dataset to train on.")
    validation_split_name: str = HfArg(
        default="validation", help="Split of the Hub dataset to choose on, if it exists."
    )
    test_split_name: str = HfArg(default="test", help="Split of the Hub dataset to report on, if it exists.")
    sequence_column: str = HfArg(default="sequence", help="Column with the DNA.")
    id_column: str | None = HfArg(default=None, help="Column with a name for each row; names may not repeat.")
    split_column: str | None = HfArg(
        default=None, help="Column of --train_file that says train, validation or test for each row."
    )
    group_column: str | None = HfArg(
        default=None, help="Column (locus, gene, cluster) whose rows must stay on one side of every split."
    )
    validation_split_percentage: float = HfArg(
        default=10.0, help="Percent of the training rows to hold out for validation when no validation rows are given."
    )
    test_split_percentage: float = HfArg(
        default=0.0, help="Percent of the training rows to hold out for the test when no test rows are given."
    )
    validation_rows: int | None = HfArg(default=None, help="Exact number of validation rows, instead of a percentage.")
    test_rows: int | None = HfArg(default=None, help="Exact number of test rows, instead of a percentage.")
    split_seed: int = HfArg(default=42, help="Seed of the held-out rows; independent of --seed.")
    max_train_samples: int | None = HfArg(default=None, help="Use at most this many training rows.")
    max_eval_samples: int | None = HfArg(default=None, help="Use at most this many validation rows.")
    max_seq_length: int | None = HfArg(
        default=None,
        help="Cut longer sequences at their right end to this many tokens, special tokens included. "
        "Default: nothing is cut, and a sequence too long for the model is an error.",
    )
    duplicates: Literal["error", "keep"] = HfArg(
        default="error", help="A sequence found twice in the same split: refuse, or keep every row (replicates)."
    )
    token_cache_dir: str | None = HfArg(
        default=None, help="Folder for the tokenised rows. Default: a folder in the Hugging Face datasets cache."
    )

    def __post_init__(self) -> None:
        if not self.train_file and not self.dataset_name:
            raise ValueError("no data: give --train_file (a table or FASTA file) or --dataset_name (a Hub dataset)")
        if self.train_file and self.dataset_name:
            raise ValueError(f"--train_file {self.train_file!r} and --dataset_name {self.dataset_name!r}: give one")
        if self.dataset_name and (self.validation_file or self.test_file or self.split_column):
            raise ValueError(
                "--dataset_name brings its own splits: drop --validation_file, --test_file, --split_column"
            )
        if self.split_column and self.validation_file:
            raise ValueError("--split_column and --validation_file both name the validation rows: give one")
        for name in ("validation_split_percentage", "test_split_percentage"):
            if not 0 <= getattr(self, name) < 100:
                raise ValueError(f"--{name} {getattr(self, name)}: allowed is 0 up to, but not, 100")
        if self.validation_split_percentage + self.test_split_percentage >= 100:
            raise ValueError("--validation_split_percentage and --test_split_percentage leave no training rows")
        for name in ("validation_rows", "test_rows", "max_train_samples", "max_eval_samples", "max_seq_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} {value}: allowed is 1 or more")


@dataclass
class PretrainingDataArguments(SequenceDataArguments):
    """Which DNA to read, how to cut it and what to hide in it."""

    duplicates: Literal["error", "keep"] = HfArg(
        default="keep", help="A sequence found twice in the same split: refuse, or keep every row."
    )
    window_length: int | None = HfArg(
        default=None, help="Cut longer sequences into windows of this many bases. Default: sequences stay whole."
    )
    window_step: int | None = HfArg(
        default=None, help="Bases between the starts of two windows. Default: the window length (no overlap)."
    )
    masking: Literal["bases", "dnabert"] = HfArg(
        default="bases",
        help="bases: hide bases by masking every k-mer that spells them. dnabert: spans of k tokens, 80/10/10 per token.",
    )
    mlm_probability: float | None = HfArg(
        default=None,
        help="bases: expected share of hidden bases (default 0.15). dnabert: probability of a span at a token "
        "(default 0.15/k, which masks 14 to 15 percent of the tokens).",
    )
    mask_span_length: int = HfArg(default=6, help="bases: neighbouring bases that are hidden together.")
    mask_region: str | None = HfArg(
        default=None, help="Bases that may be hidden, START:END, 0-based, END not included; 17:-13 is the GPRA insert."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mlm_probability is not None and not 0 < self.mlm_probability < 1:
            raise ValueError(f"--mlm_probability {self.mlm_probability}: allowed is above 0 and below 1")
        if self.mask_span_length < 1:
            raise ValueError(f"--mask_span_length {self.mask_span_length}: allowed is 1 base or more")
        if self.window_step is not None and self.window_length is None:
            raise ValueError(f"--window_step {self.window_step} needs --window_length")
        for name in ("window_length", "window_step"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} {value}: allowed is 1 base or more")


@dataclass
class RegressionDataArguments(SequenceDataArguments):
    """Which rows, and which measured values to fit."""

    label_column: str = HfArg(
        default="expression", help="Column with the measured value; several, comma-separated, for several outputs."
    )
    label_unit: str = HfArg(default="", help="Unit of the measured values, for the model card and the figures.")
    max_predict_samples: int | None = HfArg(default=None, help="Use at most this many test rows.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_predict_samples is not None and self.max_predict_samples < 1:
            raise ValueError(f"--max_predict_samples {self.max_predict_samples}: allowed is 1 or more")
        if len(set(self.label_columns)) != len(self.label_columns) or not all(self.label_columns):
            raise ValueError(f"--label_column {self.label_column!r}: names must be given once each, comma-separated")

    @property
    def label_columns(self) -> list[str]:
        """Names of the measured columns, in the order of the model's outputs."""
        return [name.strip() for name in self.label_column.split(",")]


class _Parser(HfArgumentParser):
    """The Hugging Face parser, whose errors can be caught and whose flags must be spelt out."""

    def __init__(self, dataclass_types: Sequence[type], description: str | None = None) -> None:
        super().__init__(
            list(dataclass_types),
            description=description,
            allow_abbrev=False,
            formatter_class=ArgumentDefaultsHelpFormatter,
        )
        self.add_argument("--config", metavar="RECIPE.yaml", help="File of flags and values; the command line wins.")

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


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
    known = {action.dest for action in parser._actions}
    recipe = parser.parse_known_args(_without_required(words))[0].config if "--help" not in words else None
    if recipe:
        words = _recipe_words(Path(recipe), known) + words
    for word in words:
        if word.startswith("--"):
            _check_flag(word[2:].split("=")[0].replace("-", "_"), known, "--")
    *groups, _ = parser.parse_args_into_dataclasses(words, look_for_args_file=False)
    return tuple(groups)


def _without_required(words: list[str]) -> list[str]:
    """The words that name the recipe, so that it can be found before required flags are checked."""
    for position, word in enumerate(words):
        if word.startswith("--config="):
            return [word]
        if word == "--config":
            return words[position : position + 2]
    return []


def _check_flag(name: str, known: set[str], prefix: str) -> None:
    if name in OLD_FLAGS:
        raise ValueError(f"{prefix}{name} is not used here: write {OLD_FLAGS[name]}")
    if name not in known and name.removeprefix("no_") not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {prefix}{near[0]}?" if near else "--help lists all"
        raise ValueError(f"unknown argument {prefix}{name}: {hint}")


def _recipe_words(path: Path, known: set[str]) -> list[str]:
    """Writes a recipe as the words of a command line, so that both go through the same checks."""
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"--config {path}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(recipe, dict):
        raise ValueError(f"--config {path} holds {type(recipe).__name__}: needed are lines of `flag: value`")
    words = []
    for key, value in recipe.items():
        try:
            _check_flag(str(key), known - {"config"}, "")
        except ValueError as error:
            raise ValueError(f"--config {path}: {error}") from None
        if isinstance(value, dict):
            value = ",".join(f"{name}={setting}" for name, setting in value.items())
        if isinstance(value, list):
            words += [f"--{key}", *map(str, value)]
        elif value is not None:
            words.append(f"--{key}={value}")
    return words


def run(main: Callable[[], Any]) -> None:
    """Runs a script's `main`; a mistake of the user's ends in one line and exit status 2.

    Set the environment variable KMERBERT_DEBUG=1 to see the traceback as well.
    """
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command with --resume_from_checkpoint true goes on from the last checkpoint")
    except (ValueError, OSError) as error:
        if os.environ.get("KMERBERT_DEBUG"):
            raise
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
