"""Paths of the command line: one mechanism for every flag that is a path."""

import dataclasses
import doctest
import os
from argparse import Namespace
from pathlib import Path

import pytest

from kmerbert.cli import flags, paths
from kmerbert.cli.parser import parse
from kmerbert.cli.paths import expand_path, expand_paths, is_path
from kmerbert.cli.programs import ProgramParser
from kmerbert.training.flags import KmerTrainingArguments
from tests.support.messages import fails

GROUPS = [
    *(flags.PretrainingDataArguments, flags.RegressionDataArguments, flags.RegressionModelArguments),
    *(flags.PredictionArguments, flags.EvaluationArguments, KmerTrainingArguments),
]
# Their names or help have such a word, but they name no file: parts of the Hub, switches, formats and folders' kinds.
NO_PATHS = [
    "dataset_config_name",
    "dataset_split",
    "train_split_name",
    "validation_split_name",
    "test_split_name",
    "split_column",
    "sequence_column",
    "group_column",
    "label_column",
    "id_column",
    "streaming",
    "overwrite",
    "overwrite_output_dir",
    "replicate_columns",
    "model_type",
    "config_overrides",
    "push_to_hub",
    "hub_model_id",
    "duplicates",
]


def test_examples() -> None:
    assert doctest.testmod(paths).failed == 0


@pytest.mark.parametrize("group", GROUPS)
def test_every_flag_that_names_a_file_or_folder_is_a_path(group: type) -> None:
    for field in dataclasses.fields(group):
        words = field.name.split("_")
        if {"file", "dir", "path", "folder"} & set(words) and field.name not in NO_PATHS:
            assert is_path(field.name), field.name


@pytest.mark.parametrize(
    "flag", ["train_file", "output_dir", "flank_file", "model_name_or_path", "resume_from_checkpoint"]
)
def test_the_home_folder_is_filled_in(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert expand_path("~/runs/x.tsv", flag) == "/home/ada/runs/x.tsv"
    assert expand_path("runs/~x.tsv", flag) == "runs/~x.tsv"
    assert expand_path("", flag) == ""
    with fails(f"`{flag}`", "no user nobody-of-this-name"):
        expand_path("~nobody-of-this-name/x", flag)


def test_each_of_several_models_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert expand_path("~/a, ~/b,you/c", "model_name_or_path") == "/home/ada/a,/home/ada/b,you/c"
    assert expand_path("~/a,b.tsv", "train_file") == "/home/ada/a,b.tsv"  # a name may have a comma


@pytest.mark.parametrize(
    "url", ["s3://bucket/x.tsv", "gs://b/x", "file:///tmp/x.tsv", "file:/tmp/x", "https://a.org/x.tsv"]
)
@pytest.mark.parametrize("flag", ["train_file", "output_dir", "output_file", "model_name_or_path", "token_cache_dir"])
def test_urls_are_no_paths(url: str, flag: str) -> None:
    with fails(f"`{flag}` {url}", "URL", "this machine"):
        expand_path(url, flag)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://huggingface.co/you/expression", "you/expression"),
        ("https://huggingface.co/datasets/you/rows/tree/main", "you/rows"),
        ("hf://datasets/you/rows", "you/rows"),
    ],
)
def test_addresses_on_the_hub_say_the_name(url: str, name: str) -> None:
    with fails("`dataset_name`", "URL", name):
        expand_path(url, "dataset_name")


def test_a_drive_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere, its path would be the name of a new folder here."""
    monkeypatch.setattr(paths, "IS_WINDOWS", True)
    assert expand_path("C:/data/x.tsv", "train_file") == "C:/data/x.tsv"
    monkeypatch.setattr(paths, "IS_WINDOWS", False)
    for path in ("C:/data/x.tsv", "d:\\runs", "\\\\server\\runs"):
        with fails(f"`output_dir` {path}", "Windows"):
            expand_path(path, "output_dir")
    assert expand_path("a:b", "output_dir") == "a:b"


def test_names_that_are_not_utf_8() -> None:
    name = os.fsdecode(b"caf\xe9")
    with fails("`output_dir` caf\\udce9", "UTF-8"):
        expand_path(name, "output_dir")
    with fails("`label_unit`", "UTF-8"):
        expand_paths(Namespace(label_unit=name, k=6))


def test_a_working_folder_that_is_not_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    os.mkdir(folder)
    monkeypatch.chdir(os.fsdecode(folder))
    with fails("`output_dir` run", "UTF-8"):
        expand_path("run", "output_dir")
    assert expand_path("run", "train_file") == "run"  # is only read


def test_line_breaks_are_no_part_of_a_path() -> None:
    with fails("`train_file` a\\nb.tsv", "line break"):
        expand_path("a\nb.tsv", "train_file")


def test_recipes_and_flags_go_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "recipe.yaml").write_text("predictions_file: ~/p.tsv\n")
    (args,) = parse([flags.EvaluationArguments], ["--config", "~/recipe.yaml", "--output_dir", "~/e"])
    assert (args.predictions_file, args.output_dir) == (f"{tmp_path}/p.tsv", f"{tmp_path}/e")
    (tmp_path / "recipe.yaml").write_text("predictions_file: s3://bucket/p.tsv\n")
    with fails("`predictions_file` s3://bucket/p.tsv"):
        parse([flags.EvaluationArguments], ["--config", "~/recipe.yaml", "--output_dir", "e"])
    with fails("`config` s3://bucket/r.yaml"):
        parse([flags.EvaluationArguments], ["--config", "s3://bucket/r.yaml"])


def test_variables_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_DATA", "/lab")
    monkeypatch.delenv("NO_LAB", raising=False)
    assert expand_path("$LAB_DATA/x.tsv", "train_file") == "/lab/x.tsv"
    assert expand_path("runs/${LAB_DATA}x", "output_dir") == "runs//labx"
    assert expand_path("cost$LAB_DATA", "output_dir") == "cost$LAB_DATA"  # inside a name
    for text in ("$NO_LAB/x", "${NO_LAB}/x", "${}/x"):
        with fails(f"`output_dir` {text}", "variable"):
            expand_path(text, "output_dir")
    monkeypatch.setenv("HOME", "")
    with fails("`output_dir` ~/x", "HOME"):
        expand_path("~/x", "output_dir")
    monkeypatch.chdir(tmp_path)
    Path("$LAB_DATA").touch()
    assert expand_path("$LAB_DATA", "train_file") == "$LAB_DATA"  # it is there


def test_an_empty_path_only_takes_back_what_a_recipe_says(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("calibration_file: c.tsv\n")
    words = ["--model_name_or_path", "m", "--input_file", "a.tsv", "--output_file", "p.tsv"]
    (args,) = parse([flags.PredictionArguments], [*words, "--config", str(recipe), "--calibration_file="])
    assert not args.calibration_file
    for name in ("--calibration_file=", "--keys_file= ", "--config="):
        with fails(f"`{name[2:].split('=')[0]}` is empty"):
            parse([flags.PredictionArguments], [*words, name])


@pytest.mark.parametrize(
    "text", ["user@host:/data/x", "host:/x", "S3://b/x", "zip::s3://b/x", " s3://b/x", "hf://you/x"]
)
def test_places_elsewhere(text: str) -> None:
    for flag in ("train_file", "output_file", "token_cache_dir", "deepspeed"):
        with fails(f"`{flag}`", "URL"):
            expand_path(text, flag)


def test_pipes_and_devices(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for text in (tmp_path / "pipe", "-", "/dev/null"):
        for flag in ("train_file", "output_file", "output_dir", "model_name_or_path"):
            with fails(f"`{flag}` {text}", "pipes", "devices"):
                expand_path(str(text), flag)
    with fails("`output_dir` /dev/fd/1", "pipes"):
        expand_path("/dev/fd/1", "output_dir")


def test_links_and_names_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for flag in ("train_file", "output_dir", "run_dir"):
        with fails(f"`{flag}` {tmp_path}/broken", f"link to {tmp_path}/gone"):
            expand_path(f"{tmp_path}/broken", flag)
        with fails(f"`{flag}` {tmp_path}/loop", "symbolic links"):
            expand_path(f"{tmp_path}/loop", flag)
        with fails(f"`{flag}`", "too long"):
            expand_path("x" * 300, flag)
    with fails("`output_file`", "180 bytes"):
        expand_path("\u00e9" * 91, "output_file")
    assert expand_path(f"{tmp_path}/new", "output_dir") == f"{tmp_path}/new"


def test_folders_and_files_of_the_other_kind(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").touch()
    for flag, path, needed in (("output_dir", tmp_path / "a.tsv", "folder"), ("test_file", tmp_path, "file")):
        with fails(f"`{flag}` {path} is a ", f"name a {needed}"):
            expand_path(str(path), flag)
    assert expand_path(str(tmp_path), "train_file") == str(tmp_path)  # shards


def test_inputs_are_never_outputs(tmp_path: Path) -> None:
    table, run = tmp_path / "a.tsv", tmp_path / "run"
    (run / "checkpoint-1").mkdir(parents=True)
    table.touch()
    (tmp_path / "hard.tsv").hardlink_to(table)
    (tmp_path / "soft.tsv").symlink_to(table)
    for name in ("hard.tsv", "soft.tsv", "run/../a.tsv"):
        with fails(f"`output_file` {tmp_path / name}", "`input_file`"):
            expand_paths(Namespace(input_file=str(table), output_file=str(tmp_path / name)))
    values = {"output_dir": str(run), "overwrite_output_dir": True, "resume_from_checkpoint": None}
    for model in (run, run / "checkpoint-1", tmp_path / "run" / "." / "checkpoint-1"):
        with fails(f"`model_name_or_path` {model}", f"`output_dir` {run}", "`overwrite_output_dir`"):
            expand_paths(Namespace(model_name_or_path=str(model), **values))
    expand_paths(Namespace(model_name_or_path=str(run), **values | {"overwrite_output_dir": False}))


def test_predictions_are_no_part_of_a_model_or_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    (tmp_path / "predictions.tsv").touch()
    for flag, names in (("model_name_or_path", ["config.json"]), ("dataset_name", ["config.json", "new.tsv"])):
        for name in names:
            with fails(f"`output_file` {tmp_path / name}", f"`{flag}` {tmp_path}"):
                expand_paths(Namespace(**{flag: str(tmp_path)}, output_file=str(tmp_path / name)))
    for name in ("predictions.tsv", "submission.json"):
        expand_paths(Namespace(model_name_or_path=f"you/a,{tmp_path}", output_file=str(tmp_path / name)))


def test_models_with_a_comma_in_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada, bo")
    text = expand_path('~/a,"b,c"', "model_name_or_path")
    assert flags.split_names(text) == ["/home/ada, bo/a", "b,c"]


def test_json_in_the_place_of_a_file() -> None:
    assert expand_path('{"zero": "s3://b"}', "deepspeed") == '{"zero": "s3://b"}'


def test_programs_of_data_and_baselines_use_the_same_parser() -> None:
    root = Path(__file__).parents[2]
    for path in [*root.glob("data/*.py"), *root.glob("baselines/*.py")]:
        text = path.read_text()
        assert "ArgumentParser(" not in text and "type=Path" not in text
    with fails("`output_file` s3://b/x", "URL"):
        parser = ProgramParser()
        parser.add_argument("--output_file")
        parser.parse_args(["--output_file", "s3://b/x"])


@pytest.mark.parametrize("letter", ["\r", "\x1b", "\x85", "\u2028"])
def test_characters_that_end_or_change_a_line(letter: str) -> None:
    with fails("`output_dir` a\\", "control characters"):
        expand_path(f"a{letter}b", "output_dir")
