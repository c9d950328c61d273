"""The flags of the scripts: one dataclass per concern, one field per flag, with its help and its checks.

`parser.py` reads them. The Trainer's own flags are in `training/flags.py`, so that programs without a model start without
torch. `SECTIONS` has the titles of `--help` by the first flag below each. `--help` shows the first sentence of a flag's
help, `--help all` shows all of it.
"""

import csv
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from transformers.hf_argparser import HfArg

FILE_ENDINGS = ".tsv .csv .xlsx .txt .jsonl .parquet .fa, also compressed"
EXCEL_ENDINGS = (".xlsx", ".xlsm")
HELD_OUT_PERCENTAGE = 10.0  # of the rows, for validation and for the final score


def flag(default: Any, help: str) -> Any:
    """Returns the field of a flag."""
    return HfArg(default=default, help=help)


def split_names(names: str | None) -> list[str]:
    """Splits a comma-separated flag; a name that contains a comma is in double quotes.

    >>> split_names("a, b,"), split_names(None), split_names('"log2, mean",b')
    (['a', 'b'], [], ['log2, mean', 'b'])
    """
    return [name for name in _cells(names or "") if name]


def _cells(names: str) -> list[str]:
    """The names between commas, without blanks around them; those that are empty, too."""
    try:
        cells = next(csv.reader([names], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ValueError(f"{names!r}: names are comma-separated, one with a comma in double quotes ({error})") from None
    return [cell.strip() for cell in cells] or [""]


@dataclass
class ModelArguments:
    """Which network, and which k-mers it reads."""

    SECTIONS: ClassVar[dict[str, str]] = {"model_name_or_path": "Model"}

    model_name_or_path: str | None = flag(None, "Checkpoint: a folder or Hub name. Default: from scratch.")
    model_revision: str = flag("main", "Branch, tag or commit of a checkpoint on the Hub.")
    model_type: str = flag(
        "bert",
        "Architecture of a new model: bert, modernbert, kmer_conv, ... The default is as large as BERT-base and needs GPUs; "
        "for one CPU take --config recipes/native/pretrain_mlm.yaml.",
    )
    config_overrides: str | None = flag(None, "Settings of a new model, such as hidden_size=128,num_hidden_layers=4.")
    k: int | None = flag(None, "Bases per k-mer, 1 to 8. Default: the checkpoint's, otherwise 6.")
    stride: int | None = flag(None, "Bases from one k-mer to the next. Default: the checkpoint's, otherwise 1.")
    alphabet: str | None = flag(
        None,
        "Letters of k-mers, in the order of ids. ACGTN makes N a letter like the others. Default: the checkpoint's, otherwise ATCG.",
    )

    def __post_init__(self) -> None:
        if self.model_name_or_path and self.config_overrides:
            raise ValueError(
                f"--config_overrides {self.config_overrides!r} has no effect on the checkpoint "
                f"{self.model_name_or_path!r}, which has its own settings: leave out one of the two"
            )

    @property
    def checkpoint(self) -> dict[str, str | None]:
        """Which checkpoint, as the functions of `models/loading.py` take it."""
        return {"model_name_or_path": self.model_name_or_path, "model_revision": self.model_revision}

    @property
    def kmers(self) -> dict[str, Any]:
        """Which k-mers, as `load_tokenizer` takes it."""
        return {"k": self.k, "stride": self.stride, "alphabet": self.alphabet}

    @property
    def architecture(self) -> dict[str, str | None]:
        """Which network a new model is, as `load_config` takes it."""
        return {"model_type": self.model_type, "config_overrides": self.config_overrides}


@dataclass
class RegressionModelArguments(ModelArguments):
    """Which network, which k-mers, and how many ways to read them."""

    model_type: str = flag(
        "kmer_conv",
        "Architecture of a new model: kmer_conv, bert, modernbert, ... If it is not given, and no recipe or checkpoint, all "
        "settings are those of recipes/best.",
    )
    reading_frames: int | None = flag(
        None,
        "Split the k-mers into this many sets (every n-th k-mer), read each set by itself and average the outputs. Only for "
        "bert; with k sets, the k-mers of a set do not overlap.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_counts(self, "reading_frames")
        if self.reading_frames and self.stride not in (None, 1):
            raise ValueError(f"--stride {self.stride}: --reading_frames needs k-mers of stride 1; leave --stride out")

    @property
    def kmers(self) -> dict[str, Any]:
        """Which k-mers, as `load_tokenizer` takes it."""
        return super().kmers | {"reading_frames": self.reading_frames}


@dataclass
class SequenceDataArguments:
    """Which rows, and how they are divided."""

    SECTIONS: ClassVar[dict[str, str]] = {
        "train_file": "Data",
        "split_column": "Which rows are held out",
        "flank_file": "Flanks and length",
    }

    train_file: str | None = flag(None, f"Training rows: {FILE_ENDINGS}.")
    validation_file: str | None = flag(
        None,
        "Held-out rows to score during training, same formats. They choose the best checkpoint, if --load_best_model_at_end.",
    )
    test_file: str | None = flag(None, "Held-out rows to score after training, same formats.")
    sheet: str | None = flag(None, "Sheet of the Excel files. Default: the only one with rows, or with DNA.")
    dataset_name: str | None = flag(None, "Dataset on the Hub (or its local folder) instead of files.")
    dataset_config_name: str | None = flag(None, "Configuration of the Hub dataset.")
    train_split_name: str = flag("train", "Split of the Hub dataset to train on.")
    validation_split_name: str = flag("validation", "Split of the Hub dataset to score during training, if any.")
    test_split_name: str = flag("test", "Split of the Hub dataset to score after training, if any.")
    sequence_column: str = flag(
        "sequence", "Column with the DNA. In a file without a column of that name, the one that has DNA is taken."
    )
    id_column: str | None = flag(
        None, "Column with the rows' ids, which must all differ. Default: id, if there is one."
    )
    on_bad_rows: Literal["error", "drop"] = flag(
        "error",
        "Rows without DNA or a number: stop, or leave them out. They are listed in rejected_rows.tsv in the output folder. More "
        "than half of a file's rows are never left out.",
    )
    streaming: bool = flag(
        False,
        "Read Parquet shards while training, without a token cache. --train_file is then a folder or a glob, or give "
        "--dataset_name; no rows are held out, and repeated sequences are not looked for.",
    )
    duplicates: Literal["error", "keep", "drop", "average"] = flag(
        "error",
        "Sequences that occur twice in a table. Stop with an error, use all of them (keep), the first (drop), or one row with the "
        "mean of their values (average); the last two count a sequence and its reverse complement as one where --strands does.",
    )
    leaks: Literal["error", "drop"] = flag(
        "error",
        "Training rows whose sequence or group held-out rows have, too. Stop with an error, or leave them out of the training "
        "rows (drop); reverse complements count where --strands says so. All are listed in leaking_rows.tsv in --output_dir. Only "
        "rows that files or --split_column divide can leak.",
    )
    max_train_samples: int | None = flag(None, "Use at most this many training rows, drawn at random.")
    max_eval_samples: int | None = flag(None, "Use at most this many validation rows, drawn at random.")
    token_cache_dir: str | None = flag(None, "Folder for tokenised rows. Default: in the datasets cache.")
    split_column: str | None = flag(None, "Column of --train_file that says train, validation or test.")
    group_column: str | None = flag(None, "Column (locus, gene, ...) whose rows stay in one split.")
    cluster_file: str | None = flag(
        None,
        "Clusters of the rows of --train_file that stay in one split. CD-HIT's .clstr, MMseqs2's .tsv, or a table of id and "
        "cluster; not with --validation_file or --test_file.",
    )
    similar_sequences: float | None = flag(
        None,
        "Rows that are at least this identical (0.95: 95 %) stay in one split. They are found here, no cluster file is "
        "needed; in rows that files or Hub splits divide, they are an error.",
    )
    strands: Literal["auto", "one", "both"] = flag(
        "auto",
        "Whether a sequence and its reverse complement count as one (both) when rows are held out, or as two (one). auto: "
        "as one if the network reads both strands, such as kmer_conv.",
    )
    validation_split_percentage: float = flag(
        HELD_OUT_PERCENTAGE, "Percentage of rows to hold out if no validation rows are given."
    )
    test_split_percentage: float = flag(0.0, "Percentage of rows to hold out if no test rows are given.")
    validation_rows: int | None = flag(None, "Exact number of validation rows, instead of a percentage.")
    test_rows: int | None = flag(None, "Exact number of test rows, instead of a percentage.")
    split_seed: int = flag(42, "Seed of the held-out rows; independent of --seed.")
    flank_file: str | None = flag(
        None,
        "Plasmid in which the sequences were measured: FASTA, text or JSON. Its bases are added around every sequence.",
    )
    flank_length: int | None = flag(
        None,
        "Plasmid bases to read on each side of a sequence. Missing ones are added, further ones are cut "
        "off; needs --flank_file, or a checkpoint that was trained with flanks. Default: 150, or the checkpoint's.",
    )
    flank_insert: str | None = flag(
        None,
        "Part of the plasmid that the sequences replace: START:END (0-based) or its letters. Default: the longest run of N.",
    )
    max_seq_length: int | None = flag(
        None,
        "Read at most this many tokens of a sequence, from the left. 110 bases are 107 tokens: 105 6-mers, [CLS] and [SEP].",
    )

    def __post_init__(self) -> None:
        if not self.train_file and not self.dataset_name:
            raise ValueError("no data: give --train_file (a table or FASTA file) or --dataset_name (a Hub dataset)")
        if not self.sequence_column:
            raise ValueError("--sequence_column is empty: name the column with the DNA")
        if self.train_file and self.dataset_name:
            raise ValueError(f"--train_file {self.train_file!r} and --dataset_name {self.dataset_name!r}: give one")
        _check_sheet(self, "train_file", "validation_file", "test_file")
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
                raise ValueError(f"--{name} {getattr(self, name)}: allowed is from 0 to below 100")
        if self.validation_split_percentage + self.test_split_percentage >= 100:
            raise ValueError(
                f"--validation_split_percentage {self.validation_split_percentage} and --test_split_percentage "
                f"{self.test_split_percentage} leave no training rows: allowed is a sum below 100"
            )
        for split in ("validation", "test"):
            if getattr(self, f"{split}_rows") and (getattr(self, f"{split}_file") or self.split_column):
                raise ValueError(f"--{split}_rows: a file or --split_column already says which these are: give one")
        if self.flank_insert and not self.flank_file:
            raise ValueError(f"--flank_insert {self.flank_insert!r} needs --flank_file, the plasmid that it is in")
        _check_counts(self, "split_seed", "flank_length", least=0)
        _check_counts(self, "validation_rows", "test_rows", "max_train_samples", "max_eval_samples", "max_seq_length")


def _check_streaming(arguments: SequenceDataArguments) -> None:
    """Raises ValueError for flags that need all training rows before the first batch."""
    for name, value in (("duplicates", "drop"), ("duplicates", "average"), ("leaks", "drop")):
        if getattr(arguments, name) == value:
            raise ValueError(
                f"--{name} {value} needs all training rows before the first batch: leave out --streaming, or it"
            )
    for name in (
        *("split_column", "group_column", "cluster_file", "similar_sequences", "validation_rows", "test_rows"),
        *("test_split_percentage", "max_train_samples", "top_fraction", "folds", "fold_column", "train_fraction"),
    ):
        if value := getattr(arguments, name, None):
            raise ValueError(
                f"--{name} {value} needs all training rows before the first batch: leave out --streaming, or it; rows to "
                "validate and test on come from --validation_file and --test_file"
            )
    if arguments.on_bad_rows != "error":
        raise ValueError(
            f"--on_bad_rows {arguments.on_bad_rows}: with --streaming each row is checked when it is read: leave out one of "
            "the two"
        )
    if arguments.validation_split_percentage not in (0, SequenceDataArguments.validation_split_percentage):
        raise ValueError(
            f"--validation_split_percentage {arguments.validation_split_percentage}: with --streaming no rows are held "
            "out: leave it out and give --validation_file"
        )


def _check_sheet(arguments: Any, *names: str) -> None:
    """Raises ValueError if a sheet is named, but none of the files is of Excel."""
    files = [file for name in names if (file := getattr(arguments, name))]
    if arguments.sheet and not any(ending in file.lower() for file in files for ending in EXCEL_ENDINGS):
        flags = ", ".join(f"--{name}" for name in names)
        raise ValueError(f"--sheet {arguments.sheet!r} is of an Excel file (.xlsx), but none is given in {flags}")


def _check_counts(arguments: Any, *names: str, least: int = 1) -> None:
    for name in names:
        if (value := getattr(arguments, name)) is not None and value < least:
            raise ValueError(f"--{name} {value}: allowed is {least} or more")


@dataclass
class PretrainingDataArguments(SequenceDataArguments):
    """Which DNA to read, how to cut it and what to hide in it."""

    SECTIONS: ClassVar[dict[str, str]] = SequenceDataArguments.SECTIONS | {
        "top_fraction": "Windows and most expressed rows",
        "masking": "Masking",
    }

    duplicates: Literal["error", "keep", "drop"] = flag(
        "keep", "Sequences that occur twice: stop with an error, train on all of them (keep) or on the first (drop)."
    )
    top_fraction: float | None = flag(
        None,
        "Keep only this share of the training rows, those with the highest values. Rows that tie with the last are kept.",
    )
    label_column: str | None = flag(None, "Column that --top_fraction goes by. Default: expression.")
    window_length: int | None = flag(None, "Bases of the windows that longer sequences are cut into.")
    window_step: int | None = flag(None, "Bases from window to window. Default: --window_length.")
    short_windows: float = flag(0.0, "Share of windows with a random, shorter length; DNABERT: 0.5.")
    masking: Literal["bases", "dnabert", "tokens"] = flag(
        "bases",
        "Hide bases with every k-mer that spells them, DNABERT's spans of k tokens, or single tokens. Of the tokens that "
        "dnabert and tokens choose, 80 % are masked, 10 % replaced and 10 % left as they are; tokens is for k-mers that do "
        "not overlap.",
    )
    mlm_probability: float | None = flag(
        None,
        "Share of bases (with --masking tokens, of tokens) to hide. 15 % of the bases mask about 26 % of the 6-mers; with "
        "--masking dnabert it is the number of spans per token. Default: 0.15; with dnabert 0.15/k.",
    )
    mask_span_length: int | None = flag(None, "Neighbouring bases hidden together by --masking bases. Default: 6.")
    mask_region: str | None = flag(None, "Bases that may be hidden: START:END, 0-based, half-open, such as 17:-13.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mlm_probability is not None and not 0 < self.mlm_probability < 1:
            raise ValueError(f"--mlm_probability {self.mlm_probability}: allowed is above 0 and below 1")
        if self.top_fraction is not None and not 0 < self.top_fraction < 1:
            raise ValueError(f"--top_fraction {self.top_fraction}: allowed is above 0 and below 1")
        if self.label_column and not self.top_fraction:
            raise ValueError(f"--label_column {self.label_column} is only used by --top_fraction: give both or neither")
        self.label_column = self.label_column or "expression"
        _check_counts(self, "mask_span_length", "window_length", "window_step")
        if self.masking == "bases":
            self.mask_span_length = self.mask_span_length or 6
        elif self.mask_span_length:
            raise ValueError(
                f"--mask_span_length {self.mask_span_length} has no effect with --masking {self.masking}: leave it out, or "
                "write none if a recipe sets it"
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
                f"--window_step {self.window_step}: allowed is up to --window_length, which must be given, too"
            )

    @property
    def mask(self) -> dict[str, Any]:
        """What to hide, as `build_masking` takes it."""
        names = ("masking", "mlm_probability", "mask_span_length", "mask_region")
        return {name: getattr(self, name) for name in names}


@dataclass
class RegressionDataArguments(SequenceDataArguments):
    """Which rows, and which measured values to fit."""

    SECTIONS: ClassVar[dict[str, str]] = SequenceDataArguments.SECTIONS | {
        "label_column": "Labels",
        "folds": SequenceDataArguments.SECTIONS["split_column"],
    }

    label_column: str = flag(
        "expression",
        "Column with the measured values; several are comma-separated. A name with a comma is in double quotes. In a file without "
        "a column of the default name, the only one that has numbers is taken.",
    )
    test_split_percentage: float | None = flag(
        None,
        "Percentage of rows to hold out for the final score. Default: 10; 0 if files, columns or numbers of rows say which rows "
        "are held out, or with --validation_split_percentage 0.",
    )
    similar_sequences: float | None = flag(
        None,
        "Rows that are at least this identical (0.95: 95 %) stay in one split. They are found here, no cluster file is "
        "needed; in rows that files or Hub splits divide, they are an error. Default: 0.9 for rows that are divided here, up to "
        "a million; 1 means equal ones only.",
    )
    keep_columns: str | None = flag(
        None,
        "Other columns to write next to the predictions of held-out rows, comma-separated.",
    )
    label_unit: str = flag("", "Unit of the measured values, for the model card and the figures.")
    label_transform: Literal["none", "log2", "log10", "ln"] = flag(
        "none",
        "Learn the logarithm of the measured values. The model then predicts, and all files and figures have, the logarithm; its "
        "unit says so, and run_predict.py --label_column transforms measured values in the same way.",
    )
    label_pseudocount: float = flag(
        0.0, "Added to every value before the logarithm, so that 0 has one, such as 1 for counts."
    )
    replicate_columns: str | None = flag(
        None,
        "Columns of repeated measurements, comma-separated. From them the verdict says the highest r that is possible.",
    )
    max_predict_samples: int | None = flag(None, "Use at most this many test rows, drawn at random.")
    folds: int | None = flag(
        None,
        "Cross-validate: train a model for each of this many folds, on the others. "
        "Every row is predicted by the model that has not seen it, and the mean of the models is the result. Test rows are in "
        "no fold; groups, clusters and similar sequences stay in one.",
    )
    fold_column: str | None = flag(
        None, "Column (0 to 4, chromosome, ...) that says the fold of each row, instead of --folds."
    )

    train_fraction: float | None = flag(
        None,
        "Train on this share of the training rows (0.25: a quarter), drawn in whole groups. Learning curves use it.",
    )
    sample_seed: int | None = flag(None, "Seed of --train_fraction. Default: --split_seed.")

    def __post_init__(self) -> None:
        if self.test_split_percentage is None:
            others = ("validation_file", "test_file", "dataset_name", "split_column", "streaming")
            others += ("validation_rows", "test_rows")
            is_said = any(getattr(self, name) for name in others) or not self.validation_split_percentage
            self.test_split_percentage = 0.0 if is_said else HELD_OUT_PERCENTAGE
        super().__post_init__()
        _check_counts(self, "sample_seed", least=0)
        if self.train_fraction is not None and not 0 < self.train_fraction <= 1:
            raise ValueError(f"--train_fraction {self.train_fraction}: allowed is above 0, up to 1")
        if self.sample_seed is not None and not self.train_fraction:
            raise ValueError(f"--sample_seed {self.sample_seed} is only used by --train_fraction: give both or neither")
        _check_counts(self, "max_predict_samples")
        _check_counts(self, "label_pseudocount", least=0)
        if self.label_pseudocount and self.label_transform == "none":
            raise ValueError(
                f"--label_pseudocount {self.label_pseudocount:g} is only used by --label_transform: give both or neither"
            )
        _check_counts(self, "folds", least=2)
        if self.folds and self.fold_column:
            raise ValueError(
                f"--folds {self.folds} and --fold_column {self.fold_column} both divide the rows: give one"
            )
        if self.duplicates == "average" and self.replicate_columns:
            raise ValueError(
                f"--replicate_columns {self.replicate_columns} is of single rows, but --duplicates average makes one row of "
                "several: leave one out"
            )
        if self.cross_validates and self.validation_file:
            raise ValueError(
                f"--validation_file {self.validation_file}: with --folds or --fold_column each fold validates the model of the "
                "others: leave it out, or name it --test_file"
            )
        if len(set(self.label_columns)) != len(self.label_columns) or not all(self.label_columns):
            raise ValueError(f"--label_column {self.label_column!r}: give each name once, comma-separated")

    @property
    def cross_validates(self) -> bool:
        """Whether a model is trained for each of several folds."""
        return bool(self.folds or self.fold_column)

    @property
    def label_columns(self) -> list[str]:
        """Names of the measured columns, in the order of the model's outputs."""
        return _cells(self.label_column)

    @property
    def kept_columns(self) -> list[str]:
        """Names of the columns that are carried to the predictions."""
        return split_names(self.keep_columns)

    @property
    def label_setting(self) -> dict[str, Any] | None:
        """What measured values become, as `LabelTransform.of` takes it; None for themselves."""
        if self.label_transform == "none":
            return None
        return {"name": self.label_transform, "pseudocount": self.label_pseudocount}

    @property
    def replicates(self) -> list[str]:
        """Names of the columns of repeated measurements."""
        return split_names(self.replicate_columns)


@dataclass
class LearningCurveArguments:
    """How many rows, and how often, to train on for a learning curve."""

    SECTIONS: ClassVar[dict[str, str]] = {"fractions": "Learning curve"}

    fractions: str = flag("0.125,0.25,0.5,1", "Shares of the training rows to train on, three or more.")
    seeds: str = flag("0,1,2", "Seeds: each draws other rows, and begins with other weights.")
    more_rows: str | None = flag(
        None, "How many more rows you might measure, comma-separated. Default: as many again as there are."
    )
    launcher: str = flag(
        "", "Command that starts each training, such as 'accelerate launch --config_file accelerate_config.yaml'."
    )

    def __post_init__(self) -> None:
        if len(self.shares) < 3 or not all(0 < share <= 1 for share in self.shares):
            raise ValueError(
                f"--fractions {self.fractions}: allowed are three or more different numbers above 0, up to 1"
            )
        if not self.seed_numbers or min(self.seed_numbers) < 0:
            raise ValueError(f"--seeds {self.seeds}: allowed are different whole numbers, 0 or more")
        if any(number < 1 for number in self.added_rows):
            raise ValueError(f"--more_rows {self.more_rows}: allowed are whole numbers, 1 or more")

    @property
    def shares(self) -> list[float]:
        """The shares of the training rows, rising."""
        return sorted(set(_numbers("fractions", self.fractions, float)))

    @property
    def seed_numbers(self) -> list[int]:
        """The seeds, each once."""
        return list(dict.fromkeys(_numbers("seeds", self.seeds, int)))

    @property
    def added_rows(self) -> list[int]:
        """How many more rows there might be, rising; empty if that is not said."""
        return sorted(set(_numbers("more_rows", self.more_rows or "", int)))


def _numbers(name: str, text: str, kind: type) -> list[Any]:
    """Numbers between commas; ValueError for something else."""
    try:
        return [kind(cell) for cell in text.split(",") if cell.strip()]
    except ValueError:
        raise ValueError(f"--{name} {text}: allowed are numbers between commas") from None


@dataclass
class PredictionArguments:
    """Which models, which sequences, and where to write."""

    SECTIONS: ClassVar[dict[str, str]] = {
        "model_name_or_path": "Models and input",
        "output_file": "Output and intervals",
        "tokens_per_batch": "Computing",
    }

    model_name_or_path: str | None = flag(None, "Model: a folder or Hub name; several, comma-separated, are averaged.")
    model_revision: str = flag("main", "Branch, tag or commit of models on the Hub.")
    input_file: str | None = flag(None, f"Sequences: {FILE_ENDINGS}.")
    sheet: str | None = flag(None, "Sheet of an Excel file. Default: the only one with rows, or with DNA.")
    dataset_name: str | None = flag(None, "Dataset on the Hub (or its local folder) instead of a file.")
    dataset_config_name: str | None = flag(None, "Configuration of the Hub dataset.")
    dataset_split: str = flag("test", "Split of the Hub dataset to predict for.")
    sequence_column: str = flag(
        "sequence", "Column with the DNA. In a table without a column of that name, the one that has DNA is taken."
    )
    id_column: str | None = flag(
        None, "Column with the rows' ids. Default: id, if there is one, otherwise line or row numbers."
    )
    label_column: str | None = flag(
        None, "Column of measured values, written as observed. For several outputs one of each name, comma-separated."
    )
    keep_columns: str | None = flag(
        None,
        "Other columns of the input, comma-separated, to write after the predictions' own, as text. For tables; a FASTA file has none.",
    )
    max_seq_length: int | None = flag(
        None,
        "Read at most this many tokens of a sequence, from the left. 110 bases are 107 tokens: 105 6-mers, [CLS] and [SEP].",
    )
    output_file: str | None = flag(None, "File to write: .tsv .csv .parquet; for the challenge .json or .txt.")
    overwrite: bool = flag(False, "Replace an existing --output_file.")
    keys_file: str | None = flag(
        None,
        "JSON object, such as sample_submission.json, whose 0-based rows alone are written. Only for .json output.",
    )
    calibration_file: str | None = flag(
        None,
        "Predictions of rows that were not trained on, with their measured values, for intervals. Adds lower and upper, as "
        "wide as the errors there; for one model use its own validation_predictions.tsv.",
    )
    interval_coverage: float | None = flag(
        None, "Share of measured values that intervals should hold, above 0 and below 1. Default: 0.9."
    )
    tokens_per_batch: int | None = flag(
        None, "Tokens in a batch on each device, padding included. Default: 4096 on a CPU, 65536 on a GPU."
    )
    bf16: bool = flag(False, "Compute in bfloat16: faster on recent GPUs and CPUs, about three digits.")
    use_cpu: bool = flag(False, "Compute on CPUs even if there is a GPU.")
    reverse_complement: bool = flag(
        False,
        "Average the predictions for both strands of what the model reads, flanks included. Only for a model trained on "
        "both strands, or a measurement without direction; a promoter in a plasmid has one.",
    )

    def __post_init__(self) -> None:
        if not split_names(self.model_name_or_path) or not self.output_file:
            raise ValueError("give --model_name_or_path (a model of run_finetune_regression.py) and --output_file")
        if bool(self.input_file) == bool(self.dataset_name):
            raise ValueError("give one of --input_file (a table or FASTA file) and --dataset_name (a Hub dataset)")
        if self.interval_coverage is not None and not self.calibration_file:
            raise ValueError("--interval_coverage needs errors to learn from: give --calibration_file (see its help)")
        _check_sheet(self, "input_file")
        _check_counts(self, "max_seq_length", "tokens_per_batch")


@dataclass
class ExportArguments:
    """Which model, and in which form it is given away."""

    SECTIONS: ClassVar[dict[str, str]] = {"model_name_or_path": "Model and output"}

    model_name_or_path: str | None = flag(
        None, "Model: a folder or Hub name; several, comma-separated, become one model, their mean."
    )
    model_revision: str = flag("main", "Branch, tag or commit of models on the Hub.")
    output_dir: str | None = flag(None, "Folder to write, new or empty.")
    format: Literal["folder"] = flag("folder", "What to write: a folder with the model, its tokenizer, code and card.")

    def __post_init__(self) -> None:
        if not split_names(self.model_name_or_path) or not self.output_dir:
            raise ValueError(
                "give --model_name_or_path (a model of run_finetune_regression.py) and --output_dir (a new folder)"
            )


@dataclass
class EvaluationArguments:
    """What to compare, and where to write."""

    SECTIONS: ClassVar[dict[str, str]] = {"predictions_file": "Input and output"}

    predictions_file: str | None = flag(None, "Predictions: a table, or what the challenge asks for.")
    output_dir: str | None = flag(None, "Folder for metrics.json, report.html and the figures.")
    overwrite_output_dir: bool = flag(
        False, "Replace the results of an earlier evaluation in --output_dir. Other files stay."
    )
    baseline_file: str | None = flag(None, "Another model's table for the same rows, in any order.")
    challenge_dir: str | None = flag(None, "Folder of the DREAM Challenge 2022, for its official score.")
    leaderboard: Literal["public", "private"] | None = flag(
        None, "Rows of the official score. Default: private if the labelled test file is there."
    )
    replicate_columns: str | None = flag(
        None,
        "Columns of repeated measurements, comma-separated, from which the highest r that a model can have is estimated.",
    )
    replicate_file: str | None = flag(
        None, "Table (.tsv .csv .xlsx .parquet) with --replicate_columns. Default: the predictions file."
    )
    sheet: str | None = flag(
        None, "Sheet of an Excel --replicate_file (.xlsx) to read. Default: the only one that has rows."
    )
    run_dir: str | None = flag(None, "Output folder of a training run, to draw its curves.")
    unit: str = flag("", "Unit of the measured values, for the axes of the figures.")

    def __post_init__(self) -> None:
        if not self.predictions_file or not self.output_dir:
            raise ValueError("give --predictions_file (a table that run_predict.py wrote) and --output_dir (a folder)")
        if self.replicate_file and not self.replicate_columns:
            raise ValueError("--replicate_file is read for --replicate_columns: name them, comma-separated")
        _check_sheet(self, "replicate_file")
        if self.leaderboard and not self.challenge_dir:
            raise ValueError("--leaderboard says which official score: give --challenge_dir (the challenge's folder)")
        if self.baseline_file and self.challenge_dir:
            raise ValueError("--baseline_file has no official score with --challenge_dir: score it by a second command")
