"""--help: the example on top, then every flag once, in sections; --help all shows the Trainer's other flags, too."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import pytest
from transformers import TrainingArguments
from transformers.hf_argparser import HfArg

import run_evaluate
import run_finetune_regression
import run_predict
import run_pretrain_mlm
from kmerbert.cli.flags import (
    EvaluationArguments,
    ModelArguments,
    PredictionArguments,
    PretrainingDataArguments,
    RegressionDataArguments,
    RegressionModelArguments,
)
from kmerbert.cli.parser import parse
from kmerbert.training.flags import KmerTrainingArguments, PretrainingArguments, RegressionArguments

TRAINER_SECTION = "Other flags of the Hugging Face Trainer"
GENERAL = {"config", "help"}
SCRIPTS = {
    run_finetune_regression: (RegressionDataArguments, RegressionModelArguments, RegressionArguments),
    run_pretrain_mlm: (PretrainingDataArguments, ModelArguments, PretrainingArguments),
    run_predict: (PredictionArguments,),
    run_evaluate: (EvaluationArguments,),
}
scripts = pytest.mark.parametrize(("script", "groups"), SCRIPTS.items(), ids=[script.__name__ for script in SCRIPTS])
Help = Callable[..., str]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Help:
    """Returns what a program prints for words of its command line, on a terminal 120 letters wide."""

    def show(main: Callable[[Sequence[str]], Any], *words: str, width: int = 120) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert not stopped.value.code
        output = capsys.readouterr()
        assert not output.err
        return output.out

    return show


def sections_of(text: str) -> dict[str, list[str]]:
    """Names of the flags by the headings that they are below."""
    sections: dict[str, list[str]] = {}
    for line in text.splitlines():
        if heading := re.fullmatch(r"(\w[\w ]*):", line):
            sections[heading[1]] = names = []
        elif flag := re.match(r"  --(\w+)( |$)", line):
            names.append(flag[1])
    return sections


def fields_of(*dataclass_types: type) -> set[str]:
    """Names of all flags of some dataclasses."""
    return {field.name for group in dataclass_types for field in dataclasses.fields(group) if field.init}


def help_of(flag: str, text: str) -> str:
    """What a help text says about a flag, as one line."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if re.match(rf"  --{flag}( |$)", line))
    end = next(number for number in range(start + 1, len(lines)) if not lines[number].startswith(" " * 10))
    return " ".join(" ".join(lines[start:end]).split()[1:])


@scripts
def test_every_flag_is_in_exactly_one_section(script: Any, groups: tuple[type, ...], show: Help) -> None:
    sections = sections_of(show(script.main, "--help", "all"))
    names = [name for section in sections.values() for name in section]
    assert sorted(names) == sorted(fields_of(*groups) | GENERAL)
    assert all(sections.values())
    assert (TRAINER_SECTION in sections) == (script in (run_finetune_regression, run_pretrain_mlm))


@scripts
def test_short_help_has_all_flags_but_most_of_the_trainers(script: Any, groups: tuple[type, ...], show: Help) -> None:
    text, full = show(script.main, "--help"), sections_of(show(script.main, "--help", "all"))
    others = full.pop(TRAINER_SECTION, [])
    assert sections_of(text) == full
    assert set(others) <= fields_of(KmerTrainingArguments)
    if others:
        assert f"--help all explains these in full and {len(others)} more" in text.splitlines()[-2]
    else:
        assert "--help all" not in text


def test_all_flags_of_the_trainer_are_listed(show: Help) -> None:
    text = show(run_finetune_regression.main, "--help", "all")
    names = {name for section in sections_of(text).values() for name in section}
    assert names >= fields_of(TrainingArguments)
    assert len(fields_of(TrainingArguments)) > 90
    assert len(text.splitlines()) > 200


@scripts
def test_description_with_an_example_is_on_top(script: Any, groups: tuple[type, ...], show: Help) -> None:
    text = show(script.main, "--help")
    assert text.startswith(script.__doc__.strip())
    first_lines = text.splitlines()[:20]
    assert any(re.match(rf"    python {script.__name__}\.py --\w+ ", line) for line in first_lines)


@pytest.mark.parametrize("script", [run_finetune_regression, run_pretrain_mlm])
def test_short_help_is_two_screens(script: Any, show: Help) -> None:
    lines = show(script.main, "--help").splitlines()
    assert 80 <= len(lines) <= 120
    assert max(map(len, lines)) <= 125  # the description is not wrapped


def test_headings_of_the_training_script(show: Help) -> None:
    sections = sections_of(show(run_finetune_regression.main, "--help"))
    assert list(sections) == [
        *("Data", "Which rows are held out", "Flanks and length", "Labels", "Model", "Output", "Training"),
        "Help and recipes",
    ]
    for heading, names in KmerTrainingArguments.SHOWN_FLAGS.items():
        assert sections[heading] == names.split()
    for flag, heading in (
        *(("train_file", "Data"), ("similar_sequences", "Which rows are held out"), ("label_column", "Labels")),
        *(("max_seq_length", "Flanks and length"), ("reading_frames", "Model"), ("output_dir", "Output")),
        *(("learning_rate", "Training"), ("loss", "Training"), ("config", "Help and recipes")),
    ):
        assert flag in sections[heading]


@dataclasses.dataclass
class Flags:
    """One flag of every kind of help."""

    SECTIONS: ClassVar[dict[str, str]] = {"rate": "Numbers", "name": "Texts"}

    rate: float = HfArg(default=0.5, help="Share of rows, such as 0.1. Rows are drawn. Default is a half.")
    rows: int | None = HfArg(default=None, help="Rows to read. More are not looked at. Default: all.")
    name: str = HfArg(default="", help="100%% of a name without full stop")
    on: bool = HfArg(default=True, help="Whether it is on.")
    off: bool = HfArg(default=False, help="Whether it is off.")
    kind: Literal["a", "b", "c"] = HfArg(default="b", help="Which kind.")


def test_short_help_is_the_first_sentence_and_the_default(show: Help) -> None:
    short, full = (
        show(lambda words: parse([Flags], words, "What."), *words) for words in (["--help"], ["--help", "all"])
    )
    assert sections_of(short) == {
        "Numbers": ["rate", "rows"], "Texts": ["name", "on", "off", "kind"], "Help and recipes": ["config", "help"]
    }  # fmt: skip
    for flag, in_short, in_full in (
        ("rate", "Share of rows, such as 0.1. (0.5)", "Share of rows, such as 0.1. Rows are drawn. Default is a half. (0.5)"),
        ("rows", "Rows to read. Default: all.", "Rows to read. More are not looked at. Default: all."),
        ("name", "100% of a name without full stop.", "100% of a name without full stop"),
        ("on", "Whether it is on. (true)", "Whether it is on. (true)"),
        ("off", "Whether it is off.", "Whether it is off."),
        ("kind", "Which kind. (b; or a, c)", "Which kind. (b; or a, c)"),
    ):  # fmt: skip
        assert (help_of(flag, short), help_of(flag, full)) == (in_short, in_full)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--rate", "0.1", "--help"], ["--no_such_flag", "-h"]])
def test_help_is_shown_wherever_it_stands(words: list[str], show: Help) -> None:
    assert show(lambda words: parse([Flags], words, "What."), *words).startswith("What.\n\nNumbers:\n  --rate ")


def test_help_all_in_either_spelling(show: Help) -> None:
    assert show(run_pretrain_mlm.main, "--help=all") == show(run_pretrain_mlm.main, "--help", "all")


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_help_fits_the_terminal(width: int, show: Help) -> None:
    text = show(lambda words: parse([RegressionDataArguments], words), "--help", "all", width=width)
    assert max(map(len, text.splitlines())) <= min(width, 120)
    assert sections_of(text) == sections_of(show(lambda words: parse([RegressionDataArguments], words), "--help"))
