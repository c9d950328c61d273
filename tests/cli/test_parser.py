"""Command lines and recipes: what is read, what wins, and what is an error."""

import dataclasses
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from transformers.hf_argparser import HfArg

from kmerbert.cli.flags import (
    EvaluationArguments,
    ModelArguments,
    PredictionArguments,
    PretrainingDataArguments,
    RegressionDataArguments,
)
from kmerbert.cli.parser import ALIASES, OLD_FLAGS, names_any, parse, without_flags
from kmerbert.training.flags import KmerTrainingArguments
from tests.support.messages import fails


@dataclass
class Flags:
    """One flag of every kind."""

    rate: float = HfArg(default=0.5)
    rows: int | None = HfArg(default=None)
    word: str | None = HfArg(default=None)
    on: bool = HfArg(default=True)
    off: bool = HfArg(default=False)
    unset: bool | None = HfArg(default=None)
    words: list[str] = field(default_factory=list)
    config_overrides: str | None = HfArg(default=None)


def flags(*words: str) -> Flags:
    """Parses words into the flags above."""
    return parse([Flags], words)[0]


def recipe(folder: Path, text: str) -> str:
    """Writes a recipe and returns its path."""
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_defaults() -> None:
    assert flags() == Flags()


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--off"], True),
        (["--off", "true"], True),
        (["--off=True"], True),
        (["--off", "false"], False),
        (["--off=0"], False),
        (["--off", "--no_off"], False),
        (["--no_off"], False),
        (["--no-off"], False),
    ],
)
def test_switch_that_is_off(words: list[str], value: bool) -> None:
    assert flags(*words).off is value


@pytest.mark.parametrize(
    ("words", "value"),
    [([], True), (["--on"], True), (["--on", "false"], False), (["--no_on"], False), (["--no-on"], False)],
)
def test_switch_that_is_on(words: list[str], value: bool) -> None:
    assert flags(*words).on is value


@pytest.mark.parametrize(
    ("words", "value"), [([], None), (["--unset"], True), (["--unset", "no"], False), (["--no_unset"], False)]
)
def test_switch_without_default(words: list[str], value: bool | None) -> None:
    assert flags(*words).unset is value


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("rate: 1e-4", "rate", 1e-4),
        ("rate: 3", "rate", 3.0),
        ("rows: 7", "rows", 7),
        ("rows: null", "rows", None),
        ("rows: ~", "rows", None),
        ("rows:", "rows", None),
        ("on: false", "on", False),
        ("off: true", "off", True),
        ("off: True", "off", True),
        ("unset: yes", "unset", True),
        ("word: on", "word", "on"),
        ("word: 12e4567", "word", "12e4567"),
        ("word: 0123", "word", "0123"),
        ("word: a b", "word", "a b"),
        ("word: -3:-1", "word", "-3:-1"),
        ("word: [a, b]", "word", "a,b"),
        ("words: [a, b]", "words", ["a", "b"]),
        ("config_overrides: {hidden_size: 16, hidden_act: gelu}", "config_overrides", "hidden_size=16,hidden_act=gelu"),
        ("config_overrides: hidden_size=16,hidden_act=gelu", "config_overrides", "hidden_size=16,hidden_act=gelu"),
        ("word: {min_lr: 1e-6, cycles: 2, on: true, name: cosine}", "word", '{"min_lr": 1e-06, "cycles": 2, "on": true, "name": "cosine"}'),
        ("word: {outer: {inner: [1, x]}}", "word", '{"outer": {"inner": [1, "x"]}}'),
    ],
)  # fmt: skip
def test_recipe_values(text: str, field: str, value: object, tmp_path: Path) -> None:
    read_value = getattr(flags("--config", recipe(tmp_path, text)), field)
    assert read_value == value
    assert type(read_value) is type(value)


def test_recipe_mapping_reaches_the_trainer(tmp_path: Path) -> None:
    text = "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 1e-6}\nlearning_rate: 2e-4\n"
    words = ["--config", recipe(tmp_path, text), "--output_dir", str(tmp_path / "run")]
    (training,) = parse([KmerTrainingArguments], words)
    assert training.lr_scheduler_kwargs == {"min_lr": 1e-6}
    assert training.learning_rate == 2e-4


@pytest.mark.parametrize("spelling", [["--config", "{}"], ["--config={}"]])
def test_command_line_wins_wherever_the_recipe_stands(spelling: list[str], tmp_path: Path) -> None:
    words = [word.format(recipe(tmp_path, "rate: 0.1\nrows: 4\non: false\n")) for word in spelling]
    for values in (flags(*words, "--rate", "0.2", "--on"), flags("--rate", "0.2", "--on", *words)):
        assert (values.rate, values.rows, values.on) == (0.2, 4, True)


def test_none_takes_back_what_a_recipe_says(tmp_path: Path) -> None:
    assert flags("--config", recipe(tmp_path, "rows: 7\n"), "--rows", "none").rows is None
    with fails("--rate", "'none'"):
        flags("--rate", "none")


def test_last_recipe_counts(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("rows: 5")
    assert flags("--config", recipe(tmp_path, "rows: 4"), "--config", str(tmp_path / "other.yaml")).rows == 5


def with_default(default: str, *words: str) -> Flags:
    """Parses words into the flags above, with a recipe that is read where no other is named."""
    return parse([Flags], words, default_recipe=Path(default))[0]


def test_default_recipe_is_read_if_no_other_is_named(tmp_path: Path) -> None:
    default = recipe(tmp_path, "rate: 0.1\nrows: 4\non: false\n")
    values = with_default(default)
    assert (values.rate, values.rows, values.on, values.off) == (0.1, 4, False, False)


def test_command_line_wins_over_the_default_recipe(tmp_path: Path) -> None:
    default = recipe(tmp_path, "rate: 0.1\nrows: 4\non: false\n")
    values = with_default(default, "--rate", "0.2", "--on", "--rows=none")
    assert (values.rate, values.rows, values.on) == (0.2, None, True)


@pytest.mark.parametrize("spelling", [["--config", "{}"], ["--config={}"]])
def test_config_replaces_the_default_recipe(spelling: list[str], tmp_path: Path) -> None:
    default = recipe(tmp_path, "rate: 0.1\nrows: 4\n")
    (tmp_path / "other.yaml").write_text("rows: 5\n")
    values = with_default(default, *(word.format(tmp_path / "other.yaml") for word in spelling))
    assert (values.rate, values.rows) == (0.5, 5)  # nothing of the default recipe is left


def test_mistakes_in_the_default_recipe_are_errors(tmp_path: Path) -> None:
    with fails("recipe.yaml", "roes", "rows"):
        with_default(recipe(tmp_path, "roes: 1"))
    with fails(f"--config {tmp_path}/absent.yaml"):
        with_default(f"{tmp_path}/absent.yaml")


@pytest.mark.parametrize(
    ("argv", "is_there"),
    [
        ([], False),
        (["--config", "a.yaml"], True),
        (["--config=a.yaml"], True),
        (["--k", "3", "--model_type=bert"], True),
        (["--model-type", "bert"], True),
        (["--model-type=bert"], True),
        (["--config_overrides", "hidden_size=8"], False),
        (["--conf", "a.yaml"], False),
        (["config"], False),
        (["-config", "a.yaml"], False),
        (["--label_column", "config"], False),
        (["--label_column=model_type"], False),
    ],
)
def test_names_any(argv: list[str], is_there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names_any(argv, ("config", "model_type")) is is_there
    monkeypatch.setattr(sys, "argv", ["--config", *argv])  # the first word is the program's name
    assert names_any(None, ("config", "model_type")) is is_there
    assert not names_any(argv, ())


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["x"], ("'x'", "--flag")),
        (["--rows", "1", "stray"], ("'stray'",)),
        (["-k", "3"], ("'-k'",)),
        (["--on", "--no_on=true"], ("no_on",)),
        (["--roes", "1"], ("--roes", "--rows?")),
        (["--qqqqqq", "1"], ("--qqqqqq", "--help all")),
        (["--no_rows"], ("--no_rows",)),
        (["--row", "1"], ("--row:", "--rows?")),
        (["--rows"], ("--rows", "one value")),
        (["--word", "-3:-1"], ("--word", "--flag=-VALUE")),
        (["--rows", "many"], ("--rows", "'many'")),
        (["--rate", "0,1"], ("--rate", "'0,1'")),
        (["--off", "maybe"], ("--off", "maybe")),
        (["--config"], ("--config", "one value")),
        (["--config", "absent.yaml"], ("--config absent.yaml", "No such file")),
    ],
)
def test_wrong_words(words: list[str], parts: tuple[str, ...]) -> None:
    with fails(*parts):
        flags(*words)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("roes: 1", ("recipe.yaml", "roes", "rows?")),
        ("kmer: 1", ("recipe.yaml", "kmer")),
        ("no_on: true", ("recipe.yaml", "no_on")),
        ("config: a.yaml", ("recipe.yaml", "config")),
        ("rows: many", ("--rows", "'many'")),
        ("- a\n- b", ("recipe.yaml", "`flag: value`")),
        ("just words", ("recipe.yaml", "`flag: value`")),
        ("", ("recipe.yaml", "`flag: value`")),
        ("rows: [1", ("recipe.yaml", "not YAML")),
        ("a: b: c", ("recipe.yaml", "not YAML")),
        ("? [1]\n: 2", ("recipe.yaml", "not YAML")),
        ("\tx: 1", ("recipe.yaml", "not YAML")),
        ("[" * 100_000, ("recipe.yaml", "not YAML", "nested")),
        ("rows: " + "[" * 100_000, ("recipe.yaml", "not YAML", "nested")),
    ],
)
def test_wrong_recipes(text: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    with fails(*parts):
        flags("--config", recipe(tmp_path, text))


def test_recipe_that_is_not_text_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\x00")
    with fails(f"--config {tmp_path}/recipe.yaml", "not YAML"):
        flags("--config", str(tmp_path / "recipe.yaml"))
    with fails(f"--config {tmp_path}", "Is a directory"):
        flags("--config", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("rows: 1\nrate: 0.1\nrows: 2", ("recipe.yaml", "line 3", "rows", "twice")),
        ("a: &a [x]\nword: *a", ("recipe.yaml", "line 2")),
        ("words: [a, --rate=9]", ("recipe.yaml", "words", "'--rate=9'")),
        ("words: [[a]]", ("recipe.yaml", "words", "['a']")),
        ("word: [a, [b]]", ("recipe.yaml", "word", "['b']")),
        ("word: " + "x" * 1_000_001, ("recipe.yaml", "1,000,007")),
    ],
)
def test_recipes_that_could_mean_something_else(text: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    with fails(*parts):
        flags("--config", recipe(tmp_path, text))


def test_an_anchored_value_is_read(tmp_path: Path) -> None:
    values = flags("--config", recipe(tmp_path, "rate: &a 0.25\nword: *a\n"))
    assert (values.rate, values.word) == (0.25, "0.25")


def test_the_last_of_two_spellings_of_config_counts(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("rows: 5")
    assert flags(f"--config={recipe(tmp_path, 'rows: 4')}", "--config", str(tmp_path / "other.yaml")).rows == 5


@pytest.mark.parametrize("name", ALIASES)
def test_other_names_suggest_flags_that_the_script_has(name: str) -> None:
    assert name not in OLD_FLAGS
    for groups in (GROUPS, (PredictionArguments,), (EvaluationArguments,)):
        known = {field.name for group in groups for field in dataclasses.fields(group)} | {"config"}
        if name in known:
            continue
        with fails(f"--{name}:") as caught:
            parse(groups, [f"--{name}", "1"])
        suggested = re.findall(r"--(\w+)", str(caught.value).split(": ", 1)[1])
        assert set(suggested) <= known | {"help"}
        assert set(ALIASES[name]) & known <= set(suggested)


GROUPS = (ModelArguments, RegressionDataArguments, KmerTrainingArguments)


@pytest.mark.parametrize("flag", OLD_FLAGS)
def test_old_flags_say_what_to_write(flag: str) -> None:
    with fails(f"--{flag} ", OLD_FLAGS[flag]):
        parse(GROUPS, [f"--{flag}", "1"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("evaluation_strategy", "eval_strategy"),
        ("label_column_name", "label_column"),
        ("label_column_names", "label_column"),
        ("per_gpu_eval_batch_size", "per_device_eval_batch_size"),
        ("per_gpu_train_batch_size", "per_device_train_batch_size"),
        ("sequence_column_name", "sequence_column"),
    ],
)
def test_old_flags_that_resemble_the_new_one(old: str, new: str) -> None:
    with fails(f"--{old}:", f"--{new}?"):
        parse(GROUPS, [f"--{old}", "1"])


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_numbers_are_finite(value: str, tmp_path: Path) -> None:
    with fails("--rate", str(float(value)), "finite"):
        flags(f"--rate={value}")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"rate: {value}\n")
    with fails("--rate", "finite"):
        flags(f"--config={recipe}")


def test_old_mask_probability() -> None:
    with fails("--mask_probability", "--mlm_probability?"):
        parse([PretrainingDataArguments], ["--mask_probability", "0.1"])


def test_several_groups_share_a_command_line(tmp_path: Path) -> None:
    line = f"--train_file a.tsv --k 3 --output_dir {tmp_path}/run --no_load_best_model_at_end --bf16 false"
    model, data, training = parse(GROUPS, line.split())
    assert (model.k, data.train_file, training.load_best_model_at_end, training.bf16) == (3, "a.tsv", False, False)


def test_parsing_starts_without_torch() -> None:
    """Programs without a model start in a moment."""
    code = "import sys, kmerbert.cli.flags, kmerbert.cli.parser; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2], check=True)


def test_values_that_are_nested_too_deeply(tmp_path: Path) -> None:
    deep = '{"a": ' * 100_000
    for words in (["--lr_scheduler_kwargs", deep], [f"--lr_scheduler_kwargs={deep}"]):
        with fails("--lr_scheduler_kwargs", "nested"):
            parse([KmerTrainingArguments], ["--output_dir", str(tmp_path / "run"), *words])


def test_lists_of_columns_whose_names_have_commas(tmp_path: Path) -> None:
    text = 'train_file: a.tsv\nlabel_column: ["log2 (a/b), mean", c]\n'
    (data,) = parse([RegressionDataArguments], ["--config", recipe(tmp_path, text)])
    assert data.label_columns == ["log2 (a/b), mean", "c"]


def test_a_command_line_without_some_flags() -> None:
    words = ["--a", "1", "--b=2", "--a=3", "--two-words", "x", "--c", "--b", "4"]
    assert without_flags(words, ["a", "two_words"]) == ["--b=2", "--c", "--b", "4"]
