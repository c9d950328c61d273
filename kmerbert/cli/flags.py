"""What the scripts can be asked for: one dataclass per concern, one field per flag, with its help and its checks.

`command_line.py` reads them. The Trainer's own flags are in `training.py`, so that programs without a model start without
torch. This module reads no data and builds nothing.
"""

from dataclasses import dataclass
from typing import Any, Literal

from transformers.hf_argparser import HfArg


@dataclass
class ModelArguments:
    """Which network, and which k-mers it reads."""

    model_name_or_path: str | None = HfArg(default=None, help="Checkpoint (folder or Hub name). Default: from scratch.")
    model_revision: str = HfArg(default="main", help="Branch, tag or commit of a checkpoint on the Hub.")
    model_type: str = HfArg(
        default="bert", help="Architecture when training from scratch: bert, modernbert, kmer_conv, ..."
    )
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
class RegressionModelArguments(ModelArguments):
    """Which network, which k-mers, and how many ways to read them."""

    reading_frames: int | None = HfArg(
        default=None, help="Read k-mers in this many frames and average the outputs; k frames: k-mers do not overlap."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_counts(self, "reading_frames")
        if self.reading_frames and self.stride not in (None, 1):
            raise ValueError(f"--stride {self.stride}: --reading_frames takes its k-mers from stride 1; leave it out")


@dataclass
class SequenceDataArguments:
    """Which rows, and how they are divided."""

    train_file: str | None = HfArg(default=None, help="Training rows: .tsv .csv .txt .jsonl .parquet .fa, also .gz.")
    validation_file: str | None = HfArg(default=None, help="Rows to choose the checkpoint on, same formats.")
    test_file: str | None = HfArg(default=None, help="Rows to report on after training, same formats.")
    dataset_name: str | None = HfArg(default=None, help="Dataset on the Hub (or its local folder) instead of files.")
    dataset_config_name: str | None = HfArg(default=None, help="Configuration of the Hub dataset.")
    streaming: bool = HfArg(
        default=False,
        help="Read Parquet shards (--train_file: a folder or a glob; or --dataset_name) while training, without a token "
        "cache. No rows are held out, and repeats are not looked for.",
    )
    train_split_name: str = HfArg(default="train", help="Split of the Hub dataset to train on.")
    validation_split_name: str = HfArg(default="validation", help="Split of the Hub dataset to choose on, if there.")
    test_split_name: str = HfArg(default="test", help="Split of the Hub dataset to report on, if there.")
    sequence_column: str = HfArg(default="sequence", help="Column with the DNA sequences.")
    id_column: str | None = HfArg(default=None, help="Column of the rows' names, each once. Default: id, if there.")
    split_column: str | None = HfArg(default=None, help="Column of --train_file: train, validation or test.")
    group_column: str | None = HfArg(default=None, help="Column (locus, gene, ...) whose rows stay on one side.")
    cluster_file: str | None = HfArg(
        default=None,
        help="Clusters that stay on one side: CD-HIT's .clstr, MMseqs2's .tsv, or a table of id and cluster. Only for rows "
        "of one table, not with --validation_file or --test_file.",
    )
    similar_sequences: float | None = HfArg(
        default=None,
        help="Sequences at least this identical (0.95) stay on one side; found here, no cluster file needed. Only for rows "
        "of one table, not with --validation_file or --test_file.",
    )
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
    flank_file: str | None = HfArg(default=None, help="Plasmid (FASTA, text, JSON) whose bases go around sequences.")
    flank_length: int | None = HfArg(
        default=None, help="Bases of the plasmid on each side of the insert. Default: 150 of --flank_file."
    )
    flank_insert: str | None = HfArg(
        default=None,
        help="The insert in the plasmid: START:END (0-based) or its letters. Default: the longest run of N.",
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
        if self.streaming:
            _check_streaming(self)
        elif self.dataset_name and (self.validation_file or self.test_file or self.split_column):
            raise ValueError("--dataset_name has its own splits: drop --validation_file, --test_file, --split_column")
        if self.split_column and self.validation_file:
            raise ValueError("--split_column and --validation_file both name the validation rows: give one")
        if self.similar_sequences is not None and not 0.5 < self.similar_sequences <= 1:
            raise ValueError(f"--similar_sequences {self.similar_sequences}: allowed is above 0.5, up to 1")
        for name in ("cluster_file", "similar_sequences"):
            if self.split_column and getattr(self, name):
                raise ValueError(f"--{name} has no effect on rows that --split_column divides: give one")
        for name in ("validation_split_percentage", "test_split_percentage"):
            if not 0 <= getattr(self, name) < 100:
                raise ValueError(f"--{name} {getattr(self, name)}: allowed is 0 up to, but not, 100")
        if self.validation_split_percentage + self.test_split_percentage >= 100:
            raise ValueError("--validation_split_percentage and --test_split_percentage leave no training rows")
        for split in ("validation", "test"):
            if getattr(self, f"{split}_rows") and (getattr(self, f"{split}_file") or self.split_column):
                raise ValueError(f"--{split}_rows: a file or --split_column already says which these are: give one")
        if self.flank_insert and not self.flank_file:
            raise ValueError(f"--flank_insert {self.flank_insert!r} needs --flank_file, the plasmid that it is in")
        _check_counts(self, "split_seed", "flank_length", least=0)
        _check_counts(self, "validation_rows", "test_rows", "max_train_samples", "max_eval_samples", "max_seq_length")


def _check_streaming(arguments: Any) -> None:
    """Refuses what needs to see all training rows before the first batch."""
    for name in (
        *("split_column", "group_column", "cluster_file", "similar_sequences", "validation_rows", "test_rows"),
        *("test_split_percentage", "max_train_samples", "top_fraction"),
    ):
        if value := getattr(arguments, name, None):
            raise ValueError(
                f"--{name} {value} needs all training rows before the first batch: leave out --streaming, or it; rows to "
                "validate and test on come from --validation_file and --test_file"
            )
    if arguments.validation_split_percentage not in (0, SequenceDataArguments.validation_split_percentage):
        raise ValueError(
            f"--validation_split_percentage {arguments.validation_split_percentage}: with --streaming no rows are held "
            "out: leave it out and give --validation_file"
        )


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
    short_windows: float = HfArg(
        default=0.0, help="Share of the windows that get a random, shorter length; DNABERT: 0.5."
    )
    top_fraction: float | None = HfArg(
        default=None,
        help="Keep the rows of --train_file with the highest values: this share, and all ties of the last.",
    )
    label_column: str | None = HfArg(default=None, help="Column that --top_fraction counts by. Default: expression.")
    masking: Literal["bases", "dnabert", "tokens"] = HfArg(
        default="bases",
        help="bases: mask all k-mers that spell a hidden base. dnabert: spans of k tokens, 80/10/10. tokens: single "
        "tokens, 80/10/10, for k-mers that do not overlap.",
    )
    mlm_probability: float | None = HfArg(
        default=None,
        help="bases, tokens: share that is hidden (default 0.15). dnabert: spans per token (default 0.15/k).",
    )
    mask_span_length: int | None = HfArg(
        default=None, help="bases: neighbouring bases that are hidden together. Default: 6."
    )
    mask_region: str | None = HfArg(default=None, help="Bases to hide, START:END, 0-based, half-open, e.g. 17:-13.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mlm_probability is not None and not 0 < self.mlm_probability < 1:
            raise ValueError(f"--mlm_probability {self.mlm_probability}: allowed is above 0 and below 1")
        if self.top_fraction is not None and not 0 < self.top_fraction < 1:
            raise ValueError(f"--top_fraction {self.top_fraction}: allowed is above 0 and below 1")
        if self.label_column and not self.top_fraction:
            raise ValueError(
                f"--label_column {self.label_column} says what --top_fraction counts by: give both or none"
            )
        self.label_column = self.label_column or "expression"
        _check_counts(self, "mask_span_length", "window_length", "window_step")
        if self.masking == "bases":
            self.mask_span_length = self.mask_span_length or 6
        elif self.mask_span_length:
            raise ValueError(
                f"--mask_span_length {self.mask_span_length} has no effect with --masking {self.masking}: leave it out, or "
                "`none` where a recipe says it"
            )
        if not 0 <= self.short_windows <= 1 or (self.short_windows and (self.window_step or not self.window_length)):
            raise ValueError(
                f"--short_windows {self.short_windows}: allowed is 0 to 1, with --window_length and without --window_step"
            )
        for name in ("cluster_file", "similar_sequences"):
            if getattr(self, name) and self.window_length:
                raise ValueError(f"--{name} is about whole sequences: give it or --window_length")
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


@dataclass
class PredictionArguments:
    """Which models, which sequences, and where to write."""

    model_name_or_path: str | None = HfArg(
        default=None, help="Model (folder or Hub name); several, comma-separated, are averaged."
    )
    model_revision: str = HfArg(default="main", help="Branch, tag or commit of models on the Hub.")
    input_file: str | None = HfArg(default=None, help="Sequences: .tsv .csv .txt .jsonl .parquet .fa, also .gz.")
    dataset_name: str | None = HfArg(default=None, help="Dataset on the Hub (or its local folder) instead of a file.")
    dataset_config_name: str | None = HfArg(default=None, help="Configuration of the Hub dataset.")
    dataset_split: str = HfArg(default="test", help="Split of the Hub dataset to predict for.")
    output_file: str | None = HfArg(
        default=None, help="File to write: .tsv .csv .parquet; challenge: .json (leaderboard), .txt (final)."
    )
    overwrite: bool = HfArg(default=False, help="Replace an --output_file that is there already.")
    keys_file: str | None = HfArg(
        default=None,
        help="JSON object, e.g. sample_submission.json: write these 0-based rows only, for a .json output.",
    )
    sequence_column: str = HfArg(default="sequence", help="Column with the DNA sequences.")
    id_column: str | None = HfArg(
        default=None, help="Column with names of the rows. Default: id, where there is one, else line or row numbers."
    )
    label_column: str | None = HfArg(
        default=None, help="Column of measured values, written as observed; for several outputs one of each name."
    )
    calibration_file: str | None = HfArg(
        default=None,
        help="Predictions beside measured values of rows that the model was not trained on, such as its "
        "validation_predictions.tsv: adds intervals, lower and upper, as wide as its errors there.",
    )
    interval_coverage: float | None = HfArg(
        default=None, help="Share of measured values that intervals are to hold, above 0 and below 1. Default: 0.9."
    )
    max_seq_length: int | None = HfArg(
        default=None, help="Cut right ends off to this many tokens, special ones included."
    )
    tokens_per_batch: int | None = HfArg(
        default=None, help="Tokens in a batch on each device, padding included. Default: 4096 on a CPU, else 65536."
    )
    bf16: bool = HfArg(default=False, help="Compute in bfloat16: faster on recent GPUs and CPUs, about three digits.")
    use_cpu: bool = HfArg(default=False, help="Compute on CPUs even where there is a GPU.")
    reverse_complement: bool = HfArg(
        default=False,
        help="Average the predictions for both strands of what the model reads, flanks included. Only for a model trained "
        "on both strands or a measurement without direction, which promoters in a plasmid do not give.",
    )

    def __post_init__(self) -> None:
        if not listed(self.model_name_or_path) or not self.output_file:
            raise ValueError("give --model_name_or_path (a model of run_finetune_regression.py) and --output_file")
        if bool(self.input_file) == bool(self.dataset_name):
            raise ValueError("give one of --input_file (a table or FASTA file) and --dataset_name (a Hub dataset)")
        if self.interval_coverage is not None and not self.calibration_file:
            raise ValueError("--interval_coverage needs errors to learn from: give --calibration_file (see its help)")
        for name in ("max_seq_length", "tokens_per_batch"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"--{name} {value}: allowed is 1 or more")


def listed(names: str | None) -> list[str]:
    """Divides names at commas."""
    return [name.strip() for name in (names or "").split(",") if name.strip()]


@dataclass
class EvaluationArguments:
    """What to compare, and where to write."""

    predictions_file: str | None = HfArg(default=None, help="Predictions: a table, or what the challenge asks for.")
    output_dir: str | None = HfArg(default=None, help="Folder for metrics.json and the figures.")
    baseline_file: str | None = HfArg(default=None, help="Another model's table for the same rows, in any order.")
    challenge_dir: str | None = HfArg(default=None, help="Folder of the DREAM Challenge 2022, for its official score.")
    leaderboard: Literal["public", "private"] | None = HfArg(
        default=None, help="Rows of the official score (default: private where the labelled test file is there)."
    )
    run_dir: str | None = HfArg(default=None, help="Output folder of a training run, to draw its curves.")
    replicate_columns: str | None = HfArg(
        default=None, help="Columns of single measurements, comma-separated, for the best r that any model can have."
    )
    replicate_file: str | None = HfArg(
        default=None, help="Table (.tsv .csv .parquet) with --replicate_columns. Default: the predictions file."
    )
    unit: str = HfArg(default="", help="Unit of the measured values, for the axes of the figures.")
    overwrite_output_dir: bool = HfArg(default=False, help="Replace the results that --output_dir already holds.")

    def __post_init__(self) -> None:
        if not self.predictions_file or not self.output_dir:
            raise ValueError("give --predictions_file (a table that run_predict.py wrote) and --output_dir (a folder)")
        if self.replicate_file and not self.replicate_columns:
            raise ValueError("--replicate_file is read for --replicate_columns: name them, comma-separated")
        if self.leaderboard and not self.challenge_dir:
            raise ValueError("--leaderboard says which official score: give --challenge_dir (the challenge's folder)")
        if self.baseline_file and self.challenge_dir:
            raise ValueError(
                "--baseline_file has no official score beside --challenge_dir: score it by a second command"
            )
