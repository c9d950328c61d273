"""Command lines and recipes: what is read, what wins, and what is refused in which words."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from transformers.hf_argparser import HfArg

from kmerbert.cli.flags import ModelArguments, PretrainingDataArguments, RegressionDataArguments
from kmerbert.cli.parser import OLD_FLAGS, parse
from kmerbert.cli.run import run
from kmerbert.training.flags import KmerTrainingArguments


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
    found = getattr(flags("--config", recipe(tmp_path, text)), field)
    assert found == value
    assert type(found) is type(value)


def test_recipe_mapping_reaches_the_trainer(tmp_path: Path) -> None:
    text = "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 1e-6}\nlearning_rate: 2e-4\n"
    words = ["--config", recipe(tmp_path, text), "--output_dir", str(tmp_path / "run")]
    (training,) = parse([KmerTrainingArguments], words)
    assert training.lr_scheduler_kwargs == {"min_lr": 1e-6}
    assert training.learning_rate == 2e-4


@pytest.mark.parametrize("spelling", [["--config", "{}"], ["--config={}"]])
def test_command_line_wins_wherever_the_recipe_stands(spelling: list[str], tmp_path: Path) -> None:
    words = [word.format(recipe(tmp_path, "rate: 0.1\nrows: 4\non: false\n")) for word in spelling]
    for found in (flags(*words, "--rate", "0.2", "--on"), flags("--rate", "0.2", "--on", *words)):
        assert (found.rate, found.rows, found.on) == (0.2, 4, True)


def test_none_takes_back_what_a_recipe_says(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rows: 7\n")
    assert flags("--config", str(tmp_path / "a.yaml"), "--rows", "none").rows is None
    with pytest.raises(ValueError, match="^argument --rate: invalid float value: 'none'$"):
        flags("--rate", "none")


def test_last_recipe_counts(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("rows: 5")
    assert flags("--config", recipe(tmp_path, "rows: 4"), "--config", str(tmp_path / "other.yaml")).rows == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x"], "^unexpected word 'x': values follow a --flag"),
        (["--rows", "1", "stray"], "^unexpected word 'stray'"),
        (["-k", "3"], "^unexpected word '-k'"),
        (["--on", "--no_on=true"], "no_on"),
        (["--roes", "1"], r"^unknown argument --roes: did you mean --rows\?$"),
        (["--qqqqqq", "1"], "^unknown argument --qqqqqq: --help lists all$"),
        (["--no_rows"], "^unknown argument --no_rows"),
        (["--row", "1"], r"did you mean --rows\?"),
        (["--rows"], "^argument --rows: expected one value"),
        (["--word", "-3:-1"], r"^argument --word: expected one value \(one that begins with - is written --flag=-VALUE\)$"),
        (["--rows", "many"], "^argument --rows: invalid int value: 'many'$"),
        (["--rate", "0,1"], "^argument --rate: invalid float value: '0,1'$"),
        (["--off", "maybe"], "^argument --off: .*maybe"),
        (["--config"], "^argument --config: expected one value"),
        (["--config", "absent.yaml"], "^--config absent.yaml: No such file"),
    ],
)  # fmt: skip
def test_refused_words(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flags(*words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("roes: 1", r"recipe.yaml: unknown argument roes: did you mean rows\?$"),
        ("kmer: 1", "recipe.yaml: kmer is not used here: write --k$"),
        ("no_on: true", "recipe.yaml: unknown argument no_on"),
        ("config: a.yaml", "recipe.yaml: unknown argument config"),
        ("rows: many", "^argument --rows: invalid int value: 'many'$"),
        ("- a\n- b", "recipe.yaml is no mapping: needed are lines of `flag: value`$"),
        ("just words", "recipe.yaml is no mapping"),
        ("", "recipe.yaml is no mapping"),
        ("rows: [1", "recipe.yaml is not YAML: "),
        ("a: b: c", "recipe.yaml is not YAML: "),
        ("? [1]\n: 2", "recipe.yaml is not YAML: "),
        ("\tx: 1", "recipe.yaml is not YAML: "),
    ],
)
def test_refused_recipes(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as found:
        flags("--config", recipe(tmp_path, text))
    assert "\n" not in str(found.value)


def test_recipe_that_is_no_text_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"recipe.yaml is not YAML"):
        flags("--config", str(tmp_path / "recipe.yaml"))
    with pytest.raises(ValueError, match="--config .*: Is a directory"):
        flags("--config", str(tmp_path))


GROUPS = (ModelArguments, RegressionDataArguments, KmerTrainingArguments)


@pytest.mark.parametrize("flag", OLD_FLAGS)
def test_old_flags_say_what_to_write(flag: str) -> None:
    with pytest.raises(ValueError, match=f"^--{flag} is not used here: write ") as found:
        parse(GROUPS, [f"--{flag}", "1"])
    assert str(found.value).endswith(OLD_FLAGS[flag])


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
    with pytest.raises(ValueError, match=f"^unknown argument --{old}: did you mean --{new}\\?$"):
        parse(GROUPS, [f"--{old}", "1"])


def test_old_mask_probability() -> None:
    with pytest.raises(ValueError, match="did you mean --mlm_probability"):
        parse([PretrainingDataArguments], ["--mask_probability", "0.1"])


def test_several_groups_share_a_command_line(tmp_path: Path) -> None:
    words = [
        "--train_file",
        "a.tsv",
        "--k",
        "3",
        "--output_dir",
        str(tmp_path / "run"),
        "--no_load_best_model_at_end",
        "--bf16",
        "false",
    ]
    model, data, training = parse(GROUPS, words)
    assert (model.k, data.train_file, training.load_best_model_at_end, training.bf16) == (3, "a.tsv", False, False)


def test_help_lists_flags_and_exits(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as found:
        parse(GROUPS, ["--help"], description="What it does.")
    assert not found.value.code
    text = capsys.readouterr().out
    assert "What it does." in text
    assert "--config RECIPE.yaml" in text
    assert "--validation_split_percentage" in text


def fail(error: BaseException) -> None:
    """Raises what it is given."""
    raise error


@pytest.mark.parametrize(
    "error", [ValueError("a\n  b\tc"), OSError("a b c"), FileNotFoundError("a b c"), ImportError("a b c")]
)
def test_run_prints_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as found:
        run(lambda: fail(error))
    assert found.value.code == 2
    assert capsys.readouterr().err == "error: a b c\n"


def test_run_prints_once_for_all_processes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit) as found:
        run(lambda: fail(ValueError("a")))
    assert found.value.code == 2
    assert capsys.readouterr().err == ""


def test_run_says_a_line_once_in_a_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever process comes first; what another one suffers from it is no news."""
    for rank, error, said in (
        (1, ValueError("a"), "error: a\n"),
        (0, ValueError("a"), ""),
        (2, OSError("b"), "error: b\n"),
        (3, RuntimeError("connection closed by peer"), ""),
    ):
        (tmp_path / str(rank)).mkdir()
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / str(rank) / "error.json"))
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        with pytest.raises(SystemExit) as found:
            run(lambda error=error: fail(error))
        assert found.value.code == 2
        assert capsys.readouterr().err == said


def test_run_lets_a_bug_through_in_a_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0").mkdir()
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "0" / "error.json"))
    with pytest.raises(RuntimeError, match="a bug"):
        run(lambda: fail(RuntimeError("a bug")))


def test_run_speaks_up_where_a_launch_left_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "gone" / "1" / "error.json"))
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit):
        run(lambda: fail(ValueError("a")))
    assert capsys.readouterr().err == "error: a\n"


def test_run_shows_the_traceback_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMERBERT_DEBUG", "1")
    with pytest.raises(ValueError, match="^a$"):
        run(lambda: fail(ValueError("a")))


def test_run_lets_bugs_through_and_explains_an_interruption() -> None:
    with pytest.raises(TypeError):
        run(lambda: fail(TypeError("a bug")))
    with pytest.raises(SystemExit, match="--resume_from_checkpoint true"):
        run(lambda: fail(KeyboardInterrupt()))


def test_parsing_starts_without_torch() -> None:
    """Programs without a model start in a moment."""
    code = "import sys, kmerbert.cli.flags, kmerbert.cli.parser; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2], check=False).returncode
        == 0
    )
