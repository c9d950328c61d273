"""The flags' own checks: values out of range, flags that exclude each other, flags that need another one."""

from typing import Any

import pytest

from kmerbert.cli.flags import (
    EvaluationArguments,
    ModelArguments,
    PredictionArguments,
    PretrainingDataArguments,
    RegressionDataArguments,
    RegressionModelArguments,
)
from kmerbert.cli.parser import parse
from tests.support.messages import fails

FILE = "--train_file a.tsv"


def read(dataclass_type: type, line: str) -> Any:
    """Parses a command line of one dataclass."""
    return parse([dataclass_type], line.split())[0]


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("", ("--train_file", "--dataset_name")),
        (f"{FILE} --dataset_name d", ("--train_file 'a.tsv'", "--dataset_name 'd'")),
        ("--dataset_name d --test_file t.tsv", ("--dataset_name", "--test_file")),
        ("--dataset_name d --validation_file t.tsv", ("--dataset_name", "--validation_file")),
        ("--dataset_name d --split_column s", ("--dataset_name", "--split_column")),
        (f"{FILE} --split_column s --validation_file v", ("--split_column", "--validation_file")),
        (f"{FILE} --validation_split_percentage 100", ("--validation_split_percentage 100.0",)),
        (f"{FILE} --test_split_percentage -1", ("--test_split_percentage -1.0",)),
        (f"{FILE} --test_split_percentage nan", ("--test_split_percentage nan",)),
        (
            f"{FILE} --validation_split_percentage 60 --test_split_percentage 40",
            ("--validation_split_percentage", "--test_split_percentage", "no training rows"),
        ),
        (f"{FILE} --validation_rows 0", ("--validation_rows 0", "1 or more")),
        (f"{FILE} --test_rows -2", ("--test_rows -2", "1 or more")),
        (f"{FILE} --split_seed -1", ("--split_seed -1", "0 or more")),
        (f"{FILE} --sequence_column=", ("--sequence_column",)),
        (f"{FILE} --max_train_samples 0", ("--max_train_samples 0", "1 or more")),
        (f"{FILE} --max_eval_samples 0", ("--max_eval_samples 0", "1 or more")),
        (f"{FILE} --max_predict_samples 0", ("--max_predict_samples 0", "1 or more")),
        (f"{FILE} --max_seq_length 0", ("--max_seq_length 0", "1 or more")),
        (f"{FILE} --validation_rows 3 --validation_file v", ("--validation_rows", "--split_column")),
        (f"{FILE} --test_rows 3 --split_column s", ("--test_rows", "--split_column")),
        (f"{FILE} --duplicates first", ("--duplicates", "'first'")),
        (f"{FILE} --similar_sequences 0.5", ("--similar_sequences 0.5", "above 0.5")),
        (f"{FILE} --similar_sequences 1.1", ("--similar_sequences 1.1", "up to 1")),
        (f"{FILE} --split_column s --similar_sequences 0.9", ("--similar_sequences", "--split_column")),
        (f"{FILE} --split_column s --cluster_file c.tsv", ("--cluster_file", "--split_column")),
        (f"{FILE} --label_column a,a", ("--label_column 'a,a'", "once")),
        (f"{FILE} --label_column a,,b", ("--label_column 'a,,b'",)),
        (f'{FILE} --label_column "a,b', ("'\"a,b'", "double quotes")),
        (f"{FILE} --label_column=", ("--label_column ''",)),
        (f"{FILE} --flank_length -1", ("--flank_length -1", "0 or more")),
        (f"{FILE} --flank_insert 3:9", ("--flank_insert '3:9'", "--flank_file")),
    ],
)
def test_wrong_regression_data(line: str, parts: tuple[str, ...]) -> None:
    with fails(*parts):
        read(RegressionDataArguments, line)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("--mlm_probability 0", ("--mlm_probability 0.0", "above 0 and below 1")),
        ("--mlm_probability 1", ("--mlm_probability 1.0",)),
        ("--mlm_probability nan", ("--mlm_probability nan",)),
        ("--mask_span_length 0", ("--mask_span_length 0", "1 or more")),
        ("--window_length 0", ("--window_length 0", "1 or more")),
        ("--window_length 9 --window_step 0", ("--window_step 0", "1 or more")),
        ("--window_step 5", ("--window_step 5", "--window_length")),
        ("--window_length 9 --window_step 10", ("--window_step 10", "up to --window_length")),
        ("--similar_sequences 0.9 --window_length 9", ("--similar_sequences", "--window_length")),
        ("--cluster_file c.tsv --window_length 9", ("--cluster_file", "--window_length")),
        ("--top_fraction 0", ("--top_fraction 0.0", "above 0 and below 1")),
        ("--top_fraction 1", ("--top_fraction 1.0",)),
        ("--label_column activity", ("--label_column activity", "--top_fraction")),
        ("--short_windows 0.5", ("--short_windows 0.5", "--window_length")),
        ("--short_windows 2 --window_length 9", ("--short_windows 2.0", "0 to 1")),
        ("--short_windows 1 --window_length 9 --window_step 9", ("--short_windows 1.0", "--window_step")),
        ("--masking spans", ("--masking", "'spans'")),
        ("--masking tokens --mask_span_length 6", ("--mask_span_length 6", "--masking tokens")),
        ("--masking dnabert --mask_span_length 2", ("--mask_span_length 2", "--masking dnabert")),
    ],
)
def test_wrong_pretraining_data(line: str, parts: tuple[str, ...]) -> None:
    with fails(*parts):
        read(PretrainingDataArguments, f"{FILE} {line}")


@pytest.mark.parametrize(
    ("flag", "shown"),
    [
        ("--split_column s", "--split_column s"),
        ("--group_column locus", "--group_column locus"),
        ("--cluster_file c.tsv", "--cluster_file c.tsv"),
        ("--similar_sequences 0.9", "--similar_sequences 0.9"),
        ("--validation_rows 3", "--validation_rows 3"),
        ("--test_rows 3", "--test_rows 3"),
        ("--test_split_percentage 5", "--test_split_percentage 5.0"),
        ("--validation_split_percentage 5", "--validation_split_percentage 5.0"),
        ("--max_train_samples 9", "--max_train_samples 9"),
        ("--top_fraction 0.5", "--top_fraction 0.5"),
    ],
)
def test_streaming_excludes_what_needs_all_rows_first(flag: str, shown: str) -> None:
    with fails(shown, "--streaming", "--validation_file"):
        read(PretrainingDataArguments, f"{FILE} --streaming {flag}")


@pytest.mark.parametrize(
    "line",
    [FILE, "--dataset_name d --validation_file v.tsv --test_file t.tsv", f"{FILE} --validation_split_percentage 0"],
)
def test_streaming_allows_files_of_validation_and_test_rows(line: str) -> None:
    assert read(RegressionDataArguments, f"{line} --streaming").streaming


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("--output_file p.tsv --input_file a.tsv", ("--model_name_or_path",)),
        ("--model_name_or_path , --output_file p.tsv --input_file a.tsv", ("--model_name_or_path",)),
        ("--model_name_or_path m --input_file a.tsv", ("--output_file",)),
        ("--model_name_or_path m --output_file p.tsv", ("--input_file", "--dataset_name")),
        ("--model_name_or_path m --output_file p --input_file a --dataset_name d", ("--input_file", "--dataset_name")),
        (
            "--model_name_or_path m --output_file p --input_file a --interval_coverage 0.8",
            ("--interval_coverage", "--calibration_file"),
        ),
        ("--model_name_or_path m --output_file p --input_file a --max_seq_length 0", ("--max_seq_length 0",)),
        ("--model_name_or_path m --output_file p --input_file a --tokens_per_batch 0", ("--tokens_per_batch 0",)),
    ],
)
def test_wrong_prediction_arguments(line: str, parts: tuple[str, ...]) -> None:
    with fails(*parts):
        read(PredictionArguments, line)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("--output_dir e", ("--predictions_file",)),
        ("--predictions_file p.tsv", ("--output_dir",)),
        ("--predictions_file p --output_dir e --replicate_file r", ("--replicate_file", "--replicate_columns")),
        ("--predictions_file p --output_dir e --leaderboard public", ("--leaderboard", "--challenge_dir")),
        ("--predictions_file p --output_dir e --baseline_file b --challenge_dir c", ("--baseline_file", "--challenge_dir")),
    ],
)  # fmt: skip
def test_wrong_evaluation_arguments(line: str, parts: tuple[str, ...]) -> None:
    with fails(*parts):
        read(EvaluationArguments, line)


def test_overrides_do_not_go_with_a_checkpoint() -> None:
    with fails("--config_overrides 'hidden_size=8'", "'runs/a'"):
        read(ModelArguments, "--model_name_or_path runs/a --config_overrides hidden_size=8")


def test_frames_come_from_stride_1() -> None:
    with fails("--stride 3", "--reading_frames"):
        read(RegressionModelArguments, "--reading_frames 3 --stride 3")
    with fails("--reading_frames 0", "1 or more"):
        read(RegressionModelArguments, "--reading_frames 0")
    assert read(RegressionModelArguments, "--reading_frames 3 --stride 1").kmers["reading_frames"] == 3


def test_label_columns_and_defaults() -> None:
    (data,) = parse([RegressionDataArguments], [*FILE.split(), "--label_column", "a, b ,c"])
    assert data.label_columns == ["a", "b", "c"]
    (data,) = parse([RegressionDataArguments], [*FILE.split(), "--label_column", '"log2 (a/b), mean", c'])
    assert data.label_columns == ["log2 (a/b), mean", "c"]
    assert data.duplicates == "error"
    assert read(PretrainingDataArguments, FILE).duplicates == "keep"
    assert read(PretrainingDataArguments, FILE).label_column == "expression"


def test_each_script_has_its_own_default_network() -> None:
    assert read(ModelArguments, "").architecture["model_type"] == "bert"
    assert read(RegressionModelArguments, "").architecture["model_type"] == "kmer_conv"


def test_values_of_the_flags_by_argument_of_the_library() -> None:
    model = read(RegressionModelArguments, "--k 3 --alphabet ACGTN --config_overrides hidden_size=8")
    assert model.checkpoint == {"model_name_or_path": None, "model_revision": "main"}
    assert model.kmers == {"k": 3, "stride": None, "alphabet": "ACGTN", "reading_frames": None}
    assert model.architecture == {"model_type": "kmer_conv", "config_overrides": "hidden_size=8"}
    assert read(PretrainingDataArguments, f"{FILE} --mask_region 3:-2").mask == {
        "masking": "bases", "mlm_probability": None, "mask_span_length": 6, "mask_region": "3:-2"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "span"),
    [
        ("", 6),
        ("--mask_span_length 2", 2),
        ("--masking tokens", None),
        ("--masking dnabert", None),
        ("--masking tokens --mask_span_length none", None),
    ],
)
def test_span_length_belongs_to_masked_bases(line: str, span: int | None) -> None:
    assert read(PretrainingDataArguments, f"{FILE} {line}").mask_span_length == span
