"""How the scripts read their command lines: flags, `--config recipe.yaml`, and help in sections.

`parse` reads both into dataclasses; `run.py` turns a mistake into one line. Which flags there are is in `flags.py` and, for
training, in `training/flags.py`.
"""

import dataclasses
import difflib
import json
import math
import re
import shutil
import sys
import textwrap
from argparse import Action, Namespace
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers.hf_argparser import HfArgumentParser, string_to_bool

from kmerbert.cli.paths import expand_path, expand_paths

# Flags of older tutorials, of the Hugging Face example scripts and of DNABERT, and what to write today.
OLD_FLAGS = {
    flag: advice
    for flags, advice in (
        ("block_size", "use --max_seq_length (in tokens) or --window_length (in bases)"),
        ("do_lower_case", "leave it out: lower and upper case are read alike"),
        ("fp16_backend torch_dtype", "use --bf16"),
        ("group_by_length pad_to_max_length", "leave it out: batches are padded to their own longest sequence"),
        ("hub_token", "leave it out, it would be saved and uploaded; set HF_TOKEN or run `hf auth login`"),
        ("line_by_line", "leave it out: every row is a sequence of its own"),
        ("logging_dir", "set the environment variable TENSORBOARD_LOGGING_DIR"),
        ("max_length", "use --max_seq_length (in tokens, special tokens included)"),
        ("no_cuda", "use --use_cpu"),
        ("num_labels", "leave it out: one output per name in --label_column"),
        ("preprocessing_num_workers", "leave it out: one process reads millions of rows a minute"),
        ("save_safetensors", "leave it out: weights are always saved as safetensors"),
        ("text_column_name text_column_names", "use --sequence_column"),
        ("tokenizer_name", "use --k, --stride and --alphabet, or a checkpoint that contains its tokenizer"),
        ("warmup_ratio", "use --warmup_steps 0.1 (a number below 1 is a share of all steps)"),
    )
    for flag in flags.split()
}
# Other names that people give to flags, and what they may mean: those that a script has are suggested.
ALIASES = {
    alias: flags.split()
    for aliases, flags in (
        ("batch_size bs train_batch_size", "per_device_train_batch_size tokens_per_batch"),
        ("eval_batch_size", "per_device_eval_batch_size"),
        ("ckpt checkpoint checkpoint_dir model_path", "model_name_or_path resume_from_checkpoint"),
        ("cpu device gpu no_gpu", "use_cpu"),
        ("config_file recipe yaml", "config"),
        ("data data_dir data_path dataset input input_path", "train_file input_file predictions_file dataset_name"),
        ("early_stopping patience", "early_stopping_patience"),
        ("epoch epochs max_epochs n_epochs nb_epochs num_epochs", "num_train_epochs"),
        ("eval_file dev_file val val_file valid valid_file validation", "validation_file"),
        ("fasta fasta_file", "train_file input_file"),
        ("force overwrite", "overwrite overwrite_output_dir"),
        ("grad_accum gradient_accumulation", "gradient_accumulation_steps"),
        ("id ids", "id_column"),
        ("kmer kmer_size ksize", "k"),
        ("label labels target targets target_column y", "label_column"),
        ("learn_rate lr", "learning_rate"),
        ("log_to logger tracker", "report_to"),
        ("max_len max_length_tokens seq_len seq_length", "max_seq_length"),
        ("metric", "metric_for_best_model"),
        ("model model_dir model_name pretrained_model", "model_name_or_path model_type"),
        ("n_steps num_steps steps", "max_steps"),
        ("num_workers workers", "dataloader_num_workers"),
        ("optimizer", "optim"),
        ("out out_dir outdir output output_folder output_path result_dir results save_dir", "output_file output_dir"),
        ("out_file", "output_file"),
        ("plasmid", "flank_file"),
        ("pred predictions prediction_file preds", "predictions_file"),
        ("push upload", "push_to_hub"),
        ("random_seed random_state rng_seed", "seed"),
        ("repo repo_id", "hub_model_id"),
        ("restart resume", "resume_from_checkpoint"),
        ("scheduler lr_scheduler", "lr_scheduler_type"),
        ("seq seq_column sequences", "sequence_column"),
        ("test test_data", "test_file"),
        ("train train_data training_file", "train_file"),
        ("units", "label_unit unit"),
        ("validation_split val_split", "validation_split_percentage"),
        ("warmup", "warmup_steps"),
        ("wd", "weight_decay"),
    )
    for alias in aliases.split()
}
# Flags in which a comma may be part of a name in quotes; see `flags.split_names`.
LISTS_OF_NAMES = ("keep_columns", "label_column", "model_name_or_path", "replicate_columns")
# A longer file is a table or a model that was given by mistake, and would take minutes to read as YAML.
MOST_RECIPE_BYTES = 1_000_000


class _Parser(HfArgumentParser):
    """The Hugging Face parser, whose errors can be caught, whose flags cannot be abbreviated, and whose help is short."""

    def __init__(self, dataclass_types: Sequence[type], description: str = "") -> None:
        super().__init__(list(dataclass_types), allow_abbrev=False, add_help=False)
        self.add_argument(
            "--config", metavar="RECIPE.yaml", help="YAML file of flags and values; the command line wins."
        )
        self.add_argument("--help", nargs="?", const="", choices=["", "all"], help="Show this; all: show every flag.")
        self.description = description
        self.flags: dict[str, Action] = {action.dest: action for action in reversed(self._actions)}
        self.of_recipe: set[str] = set()  # names of the flags that a recipe sets
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
        values, strays = super().parse_known_args(args, namespace)
        if strays:
            self.error(f"unexpected {strays[0]!r}: values follow a --flag, in quotes if they have blanks")
        for name, value in vars(values).items():
            if isinstance(value, float) and not math.isfinite(value):
                self.error(f"--{name} {value}: allowed are finite numbers")
        expand_paths(values, self.of_recipe)  # --flag= takes back what a recipe says
        return values, strays

    def check(self, name: str, prefix: str, location: str = "") -> None:
        """Raises ValueError for an unknown flag (prefix `--`) or key of a recipe (no prefix)."""
        if name in OLD_FLAGS:
            raise ValueError(f"{location}{prefix}{name} is not used here: {OLD_FLAGS[name]}")
        if name not in self.flags:
            near = [flag for flag in ALIASES.get(name, ()) if flag in self.flags]
            near = near or difflib.get_close_matches(name, self.flags, n=1)
            choice = f" or {prefix}".join(near)
            hint = f"did you mean {prefix}{choice}?" if near else "--help all lists all flags"
            raise ValueError(f"{location}unknown argument {prefix}{name}: {hint}")

    def sections(self) -> dict[str, list[str]]:
        """Names of the flags by the titles of their sections; fields without a section, such as the Trainer's, by ''."""
        sections: dict[str, list[str]] = {}
        for dataclass_type in self.dataclass_types:
            title, titles = "", getattr(dataclass_type, "SECTIONS", {})
            for field in dataclasses.fields(dataclass_type):
                title = titles.get(field.name, title)
                if field.init and field.name not in sections.setdefault(title, []):
                    sections[title].append(field.name)
            if hasattr(dataclass_type, "SHOWN_FLAGS"):  # of so many that they are named apart
                for title, words in dataclass_type.SHOWN_FLAGS.items():
                    names = words.split()
                    sections[title] = [name for name in names if name in sections[""]]
                    sections[""] = [name for name in sections[""] if name not in names]
        return sections

    def help_text(self, show_all: bool) -> str:
        """The description, then the flags in sections: the first sentence of each, or everything."""
        lines, width = [self.description.strip(), ""], min(shutil.get_terminal_size((120, 0)).columns, 120)
        sections = self.sections()
        others = sections.pop("", [])
        sections["Help and recipes"] = ["config", "help"]
        if show_all and others:
            sections["Other flags of the Hugging Face Trainer"] = others
        for title, names in sections.items():
            lines.append(f"{title}:")
            for name in names:
                lines += self._help_lines(name, width, show_all)
            lines.append("")
        if others and not show_all:
            lines += [
                f"--help all explains these in full and {len(others)} more flags of the Hugging Face Trainer.",
                "",
            ]
        return "\n".join(lines)

    def _help_lines(self, name: str, width: int, show_all: bool) -> list[str]:
        action = self.flags[name]
        text = " ".join((action.help or "").replace("%%", "%").split())
        if not show_all:
            first, default = re.match(
                r"(.*?\.)(?:\s.*?)?(Default: .*)?$", text + "." * (not text.endswith("."))
            ).groups()
            text = first if not default or default in first else f"{first} {default}"
        default = ""
        if name != "help" and "Default:" not in text and action.default not in (None, "", False):
            value = str(action.default).lower() if isinstance(action.default, bool) else action.default
            value = getattr(value, "value", value)
            others = [choice for choice in action.choices or () if choice != value]
            alternatives = f"; or {', '.join(others)}" if 0 < len(others) < 4 else ""
            default = f" ({value}{alternatives})"
        head = f"  --{name}"
        body = textwrap.wrap(text + default, width - 34, break_on_hyphens=False) or [""]
        lines = [f"{head:<33} {body[0]}"] if len(head) < 33 else [head, " " * 34 + body[0]]
        return lines + [" " * 34 + line for line in body[1:]]


def _number_or_none(number: type) -> Callable[[str], Any]:
    """Reads a number, or `none`, with which the command line takes back what a recipe says."""

    def read(text: str) -> Any:
        return None if text.lower() == "none" else number(text)

    read.__name__ = number.__name__  # argparse names it in its message
    return read


def names_any(argv: Sequence[str] | None, flags: Collection[str]) -> bool:
    """Tells whether a command line has one of the flags, which are named without dashes.

    Args:
        argv: The command line; None for the program's own.
        flags: Names of the flags.
    """
    words = sys.argv[1:] if argv is None else argv
    return any(word.startswith("--") and word[2:].partition("=")[0].replace("-", "_") in flags for word in words)


def without_flags(argv: Sequence[str], flags: Collection[str]) -> list[str]:
    """Returns a command line without some flags, which are named without dashes and have one value each.

    >>> without_flags(["--a", "1", "--b=2", "--a=3", "--c"], ["a"])
    ['--b=2', '--c']
    """
    kept, is_value = [], False
    for word in argv:
        is_named = word.startswith("--") and word[2:].partition("=")[0].replace("-", "_") in flags
        if not (is_named or is_value):
            kept.append(word)
        is_value = is_named and "=" not in word
    return kept


def parse(
    dataclass_types: Sequence[type],
    argv: Sequence[str] | None = None,
    description: str = "",
    default_recipe: Path | None = None,
) -> tuple[Any, ...]:
    """Reads the command line, and the recipe that `--config` names, into dataclasses.

    Args:
        dataclass_types: One dataclass per group of flags.
        argv: The command line; None for the program's own.
        description: First lines of `--help`.
        default_recipe: Recipe to read if `--config` names none.

    Returns:
        One filled dataclass per type, in the same order.

    Raises:
        ValueError: A flag or key is unknown (with a suggestion), a value is of the wrong kind, or a recipe cannot be read.
    """
    parser = _Parser(dataclass_types, description)
    words = list(sys.argv[1:] if argv is None else argv)
    if "-h" in words or names_any(words, ("help",)):
        shows_all = "--help=all" in words or any(pair in (("-h", "all"), ("--help", "all")) for pair in pairwise(words))
        print(parser.help_text(shows_all))
        sys.exit(0)
    recipes = [
        following if word == "--config" else word.removeprefix("--config=")
        for word, following in pairwise([*words, ""])
        if word.startswith("--config=") or (word == "--config" and following)
    ]
    recipe = Path(expand_path(recipes[-1], "config")) if recipes and recipes[-1] else default_recipe
    words = (_recipe_words(recipe, parser) if recipe else []) + words
    for position, word in enumerate(words):
        if word.startswith("--"):
            name = word[2:].partition("=")[0].replace("-", "_")
            if word[:5] in ("--no_", "--no-") and name[3:] in parser.switches and "=" not in word:
                words[position] = f"--{name[3:]}=false"
            else:
                parser.check(name, "--")
    try:
        *groups, _ = parser.parse_args_into_dataclasses(words, look_for_args_file=False)
    except RecursionError:
        deepest = max(range(len(words)), key=lambda position: words[position].count("[") + words[position].count("{"))
        flag = words[deepest - 1] if not words[deepest].startswith("--") else words[deepest].partition("=")[0]
        raise ValueError(
            f"{flag}: its brackets are nested too deeply for JSON: write '{{\"name\": 1}}', or a mapping in a recipe"
        ) from None
    except json.JSONDecodeError as error:
        pairs = ((*word.partition("=")[::2], following) for word, following in pairwise([*words, ""]))
        flag = next((name for name, *values in pairs if error.doc in values), "value")
        raise ValueError(
            f"{flag} {error.doc!r} is not JSON ({error}): write '{{\"name\": 1}}', or a mapping in a recipe"
        ) from None
    return tuple(groups)


class _RecipeLoader(yaml.BaseLoader):
    """Reads every value as text, for the flag's own type to read: YAML itself reads 1e-4 as a word.

    A key that occurs twice is an error, and so is a list or mapping in several places, which a few lines can multiply to any
    size.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        mark, is_alias = self.peek_event().start_mark, self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if is_alias and not isinstance(node, yaml.ScalarNode):
            raise yaml.YAMLError(f"line {mark.line + 1}: write the list or mapping out where it is used again")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            keys = [(key.value, key.start_mark.line + 1) for key, _ in node.value]
            repeated = next((key, line) for n, (key, line) in enumerate(keys) if key in dict(keys[:n]))
            raise yaml.YAMLError("line {1}: {0} occurs twice: leave one out".format(*repeated))
        return mapping


def _recipe_words(path: Path, parser: _Parser) -> list[str]:
    """Writes a recipe as the words of a command line, so that both go through the same checks."""
    try:
        if (size := path.stat().st_size) > MOST_RECIPE_BYTES:
            raise ValueError(f"--config {path} has {size:,} bytes: a recipe has at most {MOST_RECIPE_BYTES:,}")
        recipe = yaml.load(path.read_text(encoding="utf-8"), _RecipeLoader)
        if not isinstance(recipe, dict):
            raise ValueError(f"--config {path} is not a mapping: it must consist of lines `flag: value`")
        words = []
        for key, value in recipe.items():
            parser.check("config in a recipe" if key == "config" else key, "", f"--config {path}: ")
            if isinstance(value, list) and parser.flags[key].nargs == "+":
                words += [f"--{key}", *_plain(key, value, path)]
            elif value not in ("", "~", "null"):
                words.append(f"--{key}={_recipe_value(key, value, path)}")
                parser.of_recipe.add(key)
    except OSError as error:
        raise ValueError(f"--config {path}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {path} is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError(f"--config {path} is not YAML that can be read: its brackets are nested too deeply") from None
    return words


def _plain(key: str, values: Sequence[Any], path: Path) -> list[str]:
    """The values of a list, which must be words: a list in it means nothing, and a flag in it would be taken for one."""
    for value in values:
        if not isinstance(value, str) or value.startswith("--"):
            raise ValueError(f"--config {path}: {key} contains {value!r}: allowed is a list of words or numbers")
    return list(values)


def _recipe_value(key: str, value: Any, path: Path) -> str:
    if isinstance(value, dict) and key == "config_overrides":
        value = [f"{name}={setting}" for name, setting in value.items()]
    if isinstance(value, list):
        value = _plain(key, value, path)
        if key in LISTS_OF_NAMES:
            value = [f'"{name}"' if "," in name and '"' not in name else name for name in value]
        return ",".join(value)
    return json.dumps(_typed(value)) if isinstance(value, dict) else value


def _typed(value: Any) -> Any:
    """The value that a recipe's text means in JSON: 1e-6 is a number, cosine is a word."""
    if isinstance(value, dict):
        return {name: _typed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
