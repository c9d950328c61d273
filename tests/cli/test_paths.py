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


def test_a_drive_of_windows_is_no_url() -> None:
    assert expand_path("C:/data/x.tsv", "train_file") == "C:/data/x.tsv"


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
