"""The flags' own checks: what cannot be asked for together, and in which words it is refused."""

import pytest

from kmerbert.cli.flags import (
    ModelArguments,
    PretrainingDataArguments,
    RegressionDataArguments,
    RegressionModelArguments,
)
from kmerbert.cli.parser import parse

FILE = ["--train_file", "a.tsv"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "^no data: give --train_file .* or --dataset_name"),
        ([*FILE, "--dataset_name", "d"], "^--train_file 'a.tsv' and --dataset_name 'd': give one$"),
        (["--dataset_name", "d", "--test_file", "t.tsv"], "^--dataset_name has its own splits: drop .*--test_file"),
        (["--dataset_name", "d", "--split_column", "s"], "^--dataset_name has its own splits"),
        ([*FILE, "--split_column", "s", "--validation_file", "v"], "^--split_column and --validation_file both"),
        ([*FILE, "--validation_split_percentage", "100"], "^--validation_split_percentage 100.0: allowed is 0 up to"),
        ([*FILE, "--test_split_percentage", "-1"], "^--test_split_percentage -1.0: allowed is 0 up to"),
        ([*FILE, "--test_split_percentage", "nan"], "^--test_split_percentage nan: allowed is 0 up to"),
        ([*FILE, "--validation_split_percentage", "60", "--test_split_percentage", "40"], "leave no training rows"),
        ([*FILE, "--validation_rows", "0"], "^--validation_rows 0: allowed is 1 or more$"),
        ([*FILE, "--test_rows", "-2"], "^--test_rows -2: allowed is 1 or more$"),
        ([*FILE, "--split_seed", "-1"], "^--split_seed -1: allowed is 0 or more$"),
        ([*FILE, "--sequence_column="], "^--sequence_column is empty: name the column with the DNA$"),
        ([*FILE, "--max_train_samples", "0"], "^--max_train_samples 0: allowed is 1 or more$"),
        ([*FILE, "--max_eval_samples", "0"], "^--max_eval_samples 0: allowed is 1 or more$"),
        ([*FILE, "--max_predict_samples", "0"], "^--max_predict_samples 0: allowed is 1 or more$"),
        ([*FILE, "--max_seq_length", "0"], "^--max_seq_length 0: allowed is 1 or more$"),
        ([*FILE, "--validation_rows", "3", "--validation_file", "v"], "^--validation_rows: .* give one$"),
        ([*FILE, "--test_rows", "3", "--split_column", "s"], "^--test_rows: .* give one$"),
        ([*FILE, "--duplicates", "drop"], "^argument --duplicates: invalid choice: 'drop'"),
        ([*FILE, "--similar_sequences", "0.5"], "^--similar_sequences 0.5: allowed is above 0.5, up to 1$"),
        ([*FILE, "--similar_sequences", "1.1"], "^--similar_sequences 1.1"),
        (
            [*FILE, "--split_column", "s", "--similar_sequences", "0.9"],
            "^--similar_sequences has no effect on rows that",
        ),
        ([*FILE, "--split_column", "s", "--cluster_file", "c.tsv"], "^--cluster_file has no effect on rows that"),
        ([*FILE, "--label_column", "a,a"], "^--label_column 'a,a': names must be given once each"),
        ([*FILE, "--label_column", "a,,b"], "^--label_column 'a,,b'"),
        ([*FILE, "--label_column", ""], "^--label_column ''"),
    ],
)
def test_refused_regression_data(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse([RegressionDataArguments], words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mlm_probability", "0"], "^--mlm_probability 0.0: allowed is above 0 and below 1$"),
        (["--mlm_probability", "1"], "^--mlm_probability 1.0"),
        (["--mlm_probability", "nan"], "^--mlm_probability nan"),
        (["--mask_span_length", "0"], "^--mask_span_length 0: allowed is 1 or more$"),
        (["--window_length", "0"], "^--window_length 0: allowed is 1 or more$"),
        (["--window_length", "9", "--window_step", "0"], "^--window_step 0: allowed is 1 or more$"),
        (["--window_step", "5"], "^--window_step 5: allowed is up to --window_length"),
        (["--window_length", "9", "--window_step", "10"], "^--window_step 10: allowed is up to --window_length"),
        (["--similar_sequences", "0.9", "--window_length", "9"], "^--similar_sequences is about whole sequences"),
        (["--top_fraction", "0"], "^--top_fraction 0.0: allowed is above 0 and below 1$"),
        (["--top_fraction", "1"], "^--top_fraction 1.0"),
        (["--short_windows", "0.5"], "^--short_windows 0.5: allowed is 0 to 1, with --window_length"),
        (["--short_windows", "2", "--window_length", "9"], "^--short_windows 2.0: allowed is 0 to 1"),
        (["--short_windows", "1", "--window_length", "9", "--window_step", "9"], "^--short_windows 1.0: .* without"),
        (["--flank_length", "-1"], "^--flank_length -1: allowed is 0 or more$"),
        (["--flank_insert", "3:9"], "^--flank_insert '3:9' needs --flank_file"),
        (["--masking", "spans"], "^argument --masking: invalid choice: 'spans'"),
        (
            ["--masking", "tokens", "--mask_span_length", "6"],
            "^--mask_span_length 6 has no effect with --masking tokens: leave it out, or `none` where a recipe says it$",
        ),
        (
            ["--masking", "dnabert", "--mask_span_length", "2"],
            "^--mask_span_length 2 has no effect with --masking dnabert",
        ),
    ],
)
def test_refused_pretraining_data(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse([PretrainingDataArguments], [*FILE, *words])


def test_overrides_of_a_checkpoint_are_refused() -> None:
    with pytest.raises(
        ValueError, match="^--config_overrides 'hidden_size=8' has no effect on the checkpoint 'runs/a'"
    ):
        parse([ModelArguments], ["--model_name_or_path", "runs/a", "--config_overrides", "hidden_size=8"])


def test_frames_come_from_stride_1() -> None:
    with pytest.raises(
        ValueError, match=r"^--stride 3: --reading_frames takes its k-mers from stride 1; leave it out$"
    ):
        parse([RegressionModelArguments], ["--reading_frames", "3", "--stride", "3"])
    with pytest.raises(ValueError, match=r"^--reading_frames 0: allowed is 1 or more$"):
        parse([RegressionModelArguments], ["--reading_frames", "0"])


def test_label_columns_and_defaults() -> None:
    (data,) = parse([RegressionDataArguments], [*FILE, "--label_column", "a, b ,c"])
    assert data.label_columns == ["a", "b", "c"]
    assert data.duplicates == "error"
    assert parse([PretrainingDataArguments], FILE)[0].duplicates == "keep"


def test_the_span_length_is_that_of_bases() -> None:
    words = {"bases": [], "tokens": ["--masking", "tokens"], "dnabert": ["--masking", "dnabert"]}
    found = {name: parse([PretrainingDataArguments], [*FILE, *own])[0].mask_span_length for name, own in words.items()}
    assert found == {"bases": 6, "tokens": None, "dnabert": None}
    assert parse([PretrainingDataArguments], [*FILE, "--mask_span_length", "2"])[0].mask_span_length == 2
    taken_back = parse([PretrainingDataArguments], [*FILE, "--masking", "tokens", "--mask_span_length", "none"])[0]
    assert taken_back.mask_span_length is None
