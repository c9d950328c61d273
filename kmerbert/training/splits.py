"""From flags to splits: which files and columns are read, which rows train, validate and test, which are an error."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from transformers import PretrainedConfig, TrainingArguments

from kmerbert.cli.flags import RegressionDataArguments, SequenceDataArguments
from kmerbert.dna.sequences import canonical
from kmerbert.errors import counted
from kmerbert.predicting.table import check_kept
from kmerbert.reading.bad_rows import BadRowsError
from kmerbert.reading.guess import guess_columns
from kmerbert.reading.labels import LabelTransform
from kmerbert.reading.plasmid import read_flanks
from kmerbert.reading.rows import RowSpec, check_unknown, hash_texts, names_in
from kmerbert.reading.shards import Shards, open_shards
from kmerbert.reading.sources import FileSource, HubSource, Source, as_text, check_named, has_column, load_hub_dataset
from kmerbert.reading.training_sample import TrainingSample
from kmerbert.splitting.duplicates import Merged, merge_copies
from kmerbert.splitting.groups import rows_together
from kmerbert.splitting.hold_out import SPLITS, draw_folds, draw_share, hold_out, top_rows
from kmerbert.splitting.leaks import (
    Leak,
    SplitRows,
    check_leaks,
    check_repeats,
    find_leak,
    find_leaks,
    leaks_as_tsv,
    locate,
    without_leaks,
)
from kmerbert.splitting.neighbours import check_neighbours, find_near_duplicates
from kmerbert.tokens.batches import TokenDataset, TrainingRows
from kmerbert.tokens.cache import TokenTable, token_folder, tokenise
from kmerbert.tokens.stream import StreamedDataset
from kmerbert.tokens.targets import check_precision
from kmerbert.training.folder import LEAKS_FILE, RunFolder
from tokenization_kmer import Flanks, KmerTokenizer

logger = logging.getLogger(__name__)
# Metrics that say nothing about constant values.
CORRELATIONS = ("pearsonr", "spearmanr", "r2")
FAR = 10  # standard deviations of the training values, between values of one unit
# Measured rows that are as identical as this stay in one split, unless `similar_sequences` says otherwise, up to as many rows
# as are compared within seconds.
USUAL_IDENTITY, MOST_COMPARED = 0.9, 1_000_000
MANY_IN_A_GROUP = 0.1  # share of the rows; such a group may stand for having none
FLANK_LENGTH = 150  # bases of a plasmid on each side, unless --flank_length is given


def load_splits(
    arguments: SequenceDataArguments,
    training: TrainingArguments,
    tokenizer: KmerTokenizer,
    max_tokens: int | None,
    label_columns: tuple[str, ...] = (),
    flanks: Flanks | None = None,
    both_strands: bool = False,
    fold: int | None = None,
    folder: RunFolder | None = None,
) -> dict[str, TrainingRows]:
    """Reads, checks, tokenises and divides the rows that the flags name.

    With --streaming, the training rows stay where they are and are read while training.

    Args:
        arguments: Which files, columns and splits.
        training: Batch size, processes and seed, by which a stream orders its rows; its sampling strategy then becomes
            `sequential`, because the rows shuffle themselves.
        tokenizer: Gives the token ids.
        max_tokens: Tokens, special ones included, that the model can read; None for no limit.
        label_columns: Names of measured columns; empty for unlabelled DNA.
        flanks: Result of `load_flanks`.
        both_strands: Whether the network reads both strands of every sequence; the flags may say that strands matter all
            the same, or that they do not.
        fold: Number of the fold whose rows validate, in the order of `read_fold_names`; None without cross-validation.
        folder: Of the run, for lists of the rows that cannot be used and of those that two splits share; None to write none.

    Returns:
        Rows under `train`, `validation` and `test`, those splits that have any.

    Raises:
        ValueError: Anything is wrong in the data, with file, line and value, or a flag cannot be with --streaming.
    """
    both_strands = arguments.strands == "both" or (arguments.strands == "auto" and both_strands)
    spec = _row_spec(arguments, label_columns, max_tokens, flanks, both_strands)
    if spec.transform:
        shown = ", ".join(map(spec.transform.of_text, label_columns))
        logger.info("`label_transform`: the measured values in all that follows are %s", shown)
    sources = _sources(arguments, label_columns)
    tables, fold_column = {}, getattr(arguments, "fold_column", None)
    for split, source in sources.items():
        if split != "train":
            own_spec = replace(spec, split=None, group=_group_column(source, spec))
        else:
            # Pretraining reads the values that the most expressed rows are chosen by, and fits none.
            own_spec = replace(spec, labels=label_columns or _top_label(arguments))
        names = [fold_column] if fold_column and split == "train" else []
        if label_columns and not spec.id and has_column(source, "id"):  # predictions get this column
            names.append("id")
        own_spec = replace(own_spec, filled=tuple(names))
        try:
            tables[split] = tokenise(source, own_spec, tokenizer, arguments.token_cache_dir)
        except BadRowsError as error:
            listed = folder.list_rejected([(source.short_name, row) for row in error.rows]) if folder else ""
            listed = f", listed in {listed}" if listed else ""
            remedy = "more than half are never left out" if error.are_most else "`on_bad_rows` drop leaves them out"
            raise ValueError(f"{error}{listed}; {remedy}") from None
        if split == "train" and flanks and flanks.carried and flanks != _learnt(flanks, arguments, source):
            raise ValueError(f"{source.name}: the file was changed after the flanks were learnt from it: start again")
        check_unknown(tables[split].unknown_share, source.name)
    rejected = [(table.source.short_name, row) for table in tables.values() for row in table.rejected]
    if rejected and folder:
        logger.info("rows that are left out: %s", folder.list_rejected(rejected))
    merged = {split: _merge_copies(table, arguments, split) for split, table in tables.items()}
    if arguments.streaming:
        stream = _open_stream(arguments, training, spec, tokenizer)
        rows = {split: SplitRows(part.table, part.rows) for split, part in merged.items()}
    else:
        stream = None
        rows = _divide(merged, arguments, fold)
        if fraction := getattr(arguments, "train_fraction", None):
            rows["train"] = _share(rows["train"], fraction, arguments)
    _check_kept(rows, arguments)
    left_out = {
        split: _count_copies(merged[split if split in merged else "train"], part, arguments.duplicates)
        for split, part in rows.items()
    }
    leaks = find_leaks(rows, arguments.group_column)
    if not stream and not spec.window and arguments.similar_sequences:
        leaks += find_near_duplicates(rows, arguments.sequence_column, arguments.similar_sequences)
    if leaks:
        if folder:
            text = leaks_as_tsv(rows, leaks, arguments.sequence_column, arguments.id_column)
            logger.info("rows that two splits share: %s", folder.list_rows(LEAKS_FILE, text))
        if arguments.leaks == "drop":
            rows["train"], n_dropped = _drop_leaks(rows["train"], leaks)
            left_out["train"] |= {"rows left out because they leak into held-out rows": n_dropped}
            leaks = [leak for leak in leaks if leak.split != "train"]
    check_leaks(rows, leaks)
    check_repeats(rows, arguments.duplicates == "keep", label_columns)
    if not stream and not spec.window and (label_columns or arguments.similar_sequences):
        check_neighbours(rows, arguments.sequence_column, arguments.similar_sequences)
    if stream and rows:
        held_out = list(rows.values())
        keys = [table.keys if table.strand_keys is None else table.strand_keys for table, _ in held_out]
        stream.look_for(np.concatenate(keys), lambda row: locate(held_out, row))
    splits: dict[str, TrainingRows] = {"train": stream} if stream else {}
    limits = {
        "train": arguments.max_train_samples,
        "validation": arguments.max_eval_samples,
        "test": getattr(arguments, "max_predict_samples", None),
    }
    for split in SPLITS:
        if split in rows and len(rows[split].rows):
            dataset = TokenDataset(*rows[split], tokenizer.pad_token_id, left_out=left_out[split])
            splits[split] = dataset = dataset.sample(limits[split], arguments.split_seed)
            _report(split, dataset, label_columns)
            if split != "train":
                _check_spread(split, dataset, rows.get("train"), label_columns, training)
    if "train" not in splits:
        raise ValueError(f"{sources['train'].name}: no training rows")
    return splits


def settle_columns(arguments: SequenceDataArguments) -> str:
    """Finds the columns of sequences and labels by what is in them, if the training table has none of the usual names.

    Args:
        arguments: Changed in place, as if the columns had been named. Nothing is changed of columns that are named otherwise
            than by default, and with a Hub dataset or --streaming.

    Returns:
        What was found, as a sentence for the log; empty if there was nothing to find.

    Raises:
        ValueError: Two columns fit, or a column that is named is not there.
    """
    if arguments.streaming or not arguments.train_file:
        return ""
    usual = SequenceDataArguments.sequence_column, RegressionDataArguments.label_column
    is_regression = isinstance(arguments, RegressionDataArguments)
    labels = tuple(arguments.label_columns) if is_regression else ()
    source = _sources(arguments, labels)["train"]
    others = ("id_column", "split_column", "group_column", "fold_column")
    named = {name: getattr(arguments, name, None) for name in others}
    check_named(source, named.items())
    taken = [*named.values(), *getattr(arguments, "replicates", ()), *getattr(arguments, "kept_columns", ())]
    guess = guess_columns(
        source,
        usual[0] if arguments.sequence_column == usual[0] else None,
        usual[1] if labels == usual[1:] else None,
        [name for name in taken if name],
    )
    if guess.sequence:
        arguments.sequence_column = guess.sequence
    if guess.label:
        is_plain = "," not in guess.label and '"' not in guess.label
        arguments.label_column = guess.label if is_plain else '"{}"'.format(guess.label.replace('"', '""'))
    return guess.remark


def _merge_copies(table: TokenTable, arguments: SequenceDataArguments, split: str) -> Merged:
    """The rows of a table, of each sequence one if the flags ask for that."""
    if arguments.duplicates not in ("drop", "average"):
        return Merged(table, np.arange(len(table)), np.ones(len(table), np.int64))
    must_agree = {f"`group_column` {arguments.group_column}": table.groups}
    if split == "train" and (column := getattr(arguments, "fold_column", None)):
        batches = table.read_again([column])
        names = [name for batch in batches for name in names_in(batch, table.source, column)]
        must_agree[f"`fold_column` {column}"] = np.array(names)
    merged = merge_copies(table, arguments.duplicates, must_agree)
    n_repeats = len(table) - len(merged.rows)
    if n_repeats:
        kept = "the mean of their values is used" if arguments.duplicates == "average" else "the first is used"
        message = "%s: %d of %d rows repeat a sequence%s: %s (`duplicates` %s), which leaves %d rows"
        strands = "" if table.strand_keys is None else ", on either strand"
        logger.info(
            message, table.source.name, n_repeats, len(table), strands, kept, arguments.duplicates, len(merged.rows)
        )
    return merged


def _check_kept(rows: Mapping[str, SplitRows], arguments: SequenceDataArguments) -> None:
    """Raises ValueError if columns that predictions get are missing in a table of held-out rows, or have names of theirs."""
    if kept := getattr(arguments, "kept_columns", []):
        check_kept(kept, arguments.label_columns)
        for part in [rows[split] for split in SPLITS[1:] if split in rows and len(rows[split].rows)]:
            next(part.table.source.batches(kept), None)


def _count_copies(merged: Merged, part: SplitRows, duplicates: str) -> dict[str, int]:
    """How many rows are not in a split of their own because they repeat one of its rows."""
    n_copies = int(merged.n_copies[part.rows].sum()) - len(part.rows)
    is_mean = duplicates == "average"
    what = "merged with others of the same sequence" if is_mean else "left out because they repeat a sequence"
    return {f"rows {what}": n_copies} if n_copies else {}


def _drop_leaks(train: SplitRows, leaks: Sequence[Leak]) -> tuple[SplitRows, int]:
    """The training rows that share nothing with held-out rows, and how many are left out; ValueError if none is left."""
    kept = without_leaks(train, leaks)
    n_dropped = len(train.rows) - len(kept.rows)
    if not len(kept.rows):
        raise ValueError(
            f"{train.table.source.name}: all {n_dropped} training rows share something with held-out rows: `leaks` drop leaves "
            "none to train on"
        )
    logger.info(
        "%s: %d of %d training rows share a sequence, group or near duplicate with held-out rows: they are left out (`leaks` "
        "drop), and %d are left to train on",
        *(train.table.source.name, n_dropped, len(train.rows), len(kept.rows)),
    )
    return kept, n_dropped


def check_checkpoint(
    config: PretrainedConfig, splits: Mapping[str, TrainingRows], transform: LabelTransform | None = None
) -> None:
    """Warns if the checkpoint that training starts from was fitted to rows that are now held out, or to other logarithms.

    Args:
        config: Of the checkpoint, as it was loaded; of a new model it says nothing.
        splits: Result of `load_splits`.
        transform: What the measured values of this run become.
    """
    before = LabelTransform.of(getattr(config, "label_transform", None))
    if hasattr(config, "label_mean") and before != transform:
        before, now = (known.of_text("value") if known else "the value itself" for known in (before, transform))
        logger.warning(
            "the checkpoint predicts %s, and this run fits %s: its outputs begin in another unit; is `label_transform` what you "
            "mean?",
            *(before, now),
        )
    sample = TrainingSample.from_text(getattr(config, "training_sample", None))
    held_out = [splits[split] for split in SPLITS[1:] if split in splits]
    if sample is None:
        is_fitted, data = hasattr(config, "label_mean"), getattr(config, "data_checksum", None)
        if held_out and is_fitted and data == splits["train"].facts()["data_checksum"]:
            logger.warning(
                "the checkpoint was trained on %s, too, and does not say on which rows: the scores of held-out rows are right "
                "only if it held out the same",
                config.data_name,
            )
        return
    for rows in held_out:
        table, numbers = rows.table, rows.rows
        found = sample.find_hashes(
            table.keys[numbers], None if table.strand_keys is None else table.strand_keys[numbers]
        )
        if found.rows.any():
            row = int(numbers[found.rows.argmax()])
            logger.warning(
                "%s is held out, but the checkpoint was trained on its sequence, and on about %.0f %% of these %d rows: their "
                "scores say nothing about new sequences; hold out the rows that it did not see either (`split_seed`), or train "
                "from scratch",
                *(table.location(row), 100 * found.share, len(rows)),
            )


def load_flanks(arguments: SequenceDataArguments, config: PretrainedConfig) -> Flanks | None:
    """Returns the plasmid's bases around every sequence: those that the flags name, otherwise those of a checkpoint.

    They become the setting `flanks` of the configuration, so that the model says what it reads.

    Raises:
        ValueError: The plasmid cannot be used, or a length is given without a plasmid and is not the checkpoint's.
    """
    flanks, length = None, arguments.flank_length
    if arguments.flank_file:
        flanks = read_flanks(
            Path(arguments.flank_file), FLANK_LENGTH if length is None else length, arguments.flank_insert
        )
    elif saved := getattr(config, "flanks", None):
        flanks = Flanks(**saved)
    if length is not None and length != (flanks.length if flanks else 0):
        known = f"the checkpoint has flanks of {flanks.length} bases" if flanks else "no plasmid is known"
        raise ValueError(f"`flank_length` {length}: {known}: give `flank_file` with it, or leave it out")
    if flanks:
        flanks = _learnt(flanks, arguments)
    if flanks:
        config.flanks = asdict(flanks)
    return flanks


def _row_spec(
    arguments: SequenceDataArguments,
    labels: tuple[str, ...],
    max_tokens: int | None,
    flanks: Flanks | None,
    both_strands: bool,
) -> RowSpec:
    return RowSpec(
        sequence=arguments.sequence_column,
        labels=labels,
        id=arguments.id_column,
        split=arguments.split_column,
        group=arguments.group_column,
        window=getattr(arguments, "window_length", None),
        step=getattr(arguments, "window_step", None),
        short_windows=getattr(arguments, "short_windows", 0.0),
        window_seed=arguments.split_seed,
        cut_at=arguments.max_seq_length,
        max_tokens=max_tokens,
        flanks=flanks,
        both_strands=both_strands,
        drops_bad_rows=arguments.on_bad_rows == "drop",
        transform=LabelTransform.of(getattr(arguments, "label_setting", None)),
    )


def _top_label(arguments: SequenceDataArguments) -> tuple[str, ...]:
    """The column that --top_fraction goes by, if it is given."""
    return (arguments.label_column,) if getattr(arguments, "top_fraction", None) else ()


def _sources(arguments: SequenceDataArguments, label_columns: tuple[str, ...]) -> dict[str, Source]:
    """Where the rows of each split are; with --streaming, without the training rows."""
    if arguments.dataset_name and not arguments.streaming:
        return _hub_sources(arguments)
    labels = label_columns or _top_label(arguments)
    label = labels[0] if len(labels) == 1 else None
    files = {"train": arguments.train_file, "validation": arguments.validation_file, "test": arguments.test_file}
    if arguments.streaming:
        del files["train"]
    folder = token_folder(arguments.token_cache_dir)
    sources = {
        split: FileSource(Path(file), arguments.sequence_column, label, folder, sheet=arguments.sheet)
        for split, file in files.items()
        if file
    }
    _check_one_table(sources, arguments)
    return sources


def _hub_sources(arguments: SequenceDataArguments) -> dict[str, Source]:
    name = arguments.dataset_name
    splits = load_hub_dataset(name, arguments.dataset_config_name)
    names = {split: getattr(arguments, f"{split}_split_name") for split in SPLITS}
    if names["train"] not in splits:
        raise ValueError(
            f"{name}: no split {names['train']!r}; it has {sorted(splits)}: name one with `train_split_name`"
        )
    sources = {
        split: HubSource(f"{name}, {own_name}", splits[own_name])
        for split, own_name in names.items()
        if own_name in splits
    }
    _check_one_table(sources, arguments)
    return sources


def _check_one_table(sources: dict[str, Source], arguments: SequenceDataArguments) -> None:
    """Raises ValueError if clusters would be those of one of several tables only."""
    others = [source.name for split, source in sources.items() if split != "train"]
    if arguments.cluster_file and others:
        raise ValueError(
            f"`cluster_file` {arguments.cluster_file} divides the rows of one table and does not look into {others[0]}: give "
            "all rows in one `train_file`, with `validation_split_percentage` and `test_split_percentage`, or leave it out"
        )


def _learnt(flanks: Flanks, arguments: SequenceDataArguments, source: Source | None = None) -> Flanks:
    """The flanks with what some thousand training rows already include of them; as they are, if no row can be read.

    What is not DNA is left to the reader, which says where. A source that is open already is not opened again.
    """
    column = arguments.sequence_column
    if arguments.streaming:
        shards = _find_shards(arguments, RowSpec(column))
        batch = next((batch for batch, _ in shards.read(shards.groups[0], [column])), None)
    else:
        batch = next((source or _sources(arguments, ())["train"]).batches([column]), None)
    sequences = []
    for sequence in batch.columns[column].to_pylist() if batch else []:
        with suppress(AttributeError, ValueError):
            sequences.append(canonical(sequence.strip()))
    return flanks.learn(sequences) if sequences else flanks


def _find_shards(arguments: SequenceDataArguments, spec: RowSpec) -> Shards:
    """Finds the shards of --streaming."""
    name = arguments.train_file or arguments.dataset_name
    is_hub = not arguments.train_file and not Path(name).exists()
    return open_shards(name, spec, is_hub, arguments.dataset_config_name, arguments.train_split_name)


def _group_column(source: Source, spec: RowSpec) -> str | None:
    """The group column, if a file of validation or test rows has it: these need no groups of their own."""
    return spec.group if spec.group and has_column(source, spec.group) else None


def _open_stream(
    arguments: SequenceDataArguments, training: TrainingArguments, spec: RowSpec, tokenizer: KmerTokenizer
) -> StreamedDataset:
    """Opens the shards of --streaming, and leaves the shuffling to them.

    Raises:
        ValueError: There are no usable shards, or a training flag would deal the rows otherwise than the stream expects.
    """
    dealing = training.accelerator_config
    for is_wrong, flag, allowed in (
        (training.dataloader_num_workers, f"`dataloader_num_workers` {training.dataloader_num_workers}", "0: a thread reads ahead"),
        (training.auto_find_batch_size, "`auto_find_batch_size` true", "false: the order depends on the batch size"),
        (dealing.split_batches or dealing.dispatch_batches, "`accelerator_config`", "no split_batches or dispatch_batches"),
        (
            training.train_sampling_strategy not in ("random", "sequential"),
            f"`train_sampling_strategy` {training.train_sampling_strategy}",
            "random, of the stream's own kind",
        ),
    ):  # fmt: skip
        if is_wrong:
            raise ValueError(f"{flag}: allowed with `streaming` is {allowed}; leave the flag out")
    training.train_sampling_strategy = "sequential"
    shards = _find_shards(arguments, replace(spec, id=None))
    seed = training.seed if training.data_seed is None else training.data_seed
    stream = StreamedDataset(shards, tokenizer, training.train_batch_size, training.world_size, seed)
    logger.info(
        "train: %d rows in %s of %s, read while training; %d rows are left out of each epoch, others in "
        "each; sequences that occur twice are not looked for, those of validation and test rows as rows are read",
        *(stream.n_rows, counted(len(stream.group_rows), "row group"), counted(len(shards.shards), "shard")),
        stream.n_rows - len(stream),
    )
    if stream.group_rows.max() > stream.window_rows:
        logger.warning(
            "%s: a row group has %d rows, but only %d neighbours are shuffled among each other: write smaller row groups, or "
            "shuffled rows",
            *(shards.name, stream.group_rows.max(), stream.window_rows),
        )
    return stream


def read_fold_names(arguments: RegressionDataArguments) -> list[str]:
    """Returns the names of the folds of a cross-validation: numbers from 0, or what is in the column of folds, sorted.

    Raises:
        ValueError: The column does not exist, has an empty cell, or one value in all rows.
    """
    if arguments.folds:
        return [str(fold) for fold in range(arguments.folds)]
    column, source = arguments.fold_column, _sources(arguments, tuple(arguments.label_columns))["train"]
    if isinstance(source, FileSource):
        source.check()
    names: set[str] = set()
    for batch in source.batches([column]):
        names.update(pc.utf8_trim_whitespace(as_text(batch.columns[column]).drop_null()).to_pylist())
    names.discard("")  # such a row is told when the rows are checked
    if len(names) < 2:
        raise ValueError(
            f"{source.name}: {column} is {', '.join(names)} in all rows: a cross-validation needs two folds"
        )
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names)


def _divide(
    tables: dict[str, Merged], arguments: SequenceDataArguments, fold: int | None = None
) -> dict[str, SplitRows]:
    """The rows of every split: those of its own table, or some of the training table's."""
    (train, rows, _), fraction = tables["train"], getattr(arguments, "top_fraction", None)
    if fraction:
        rows = rows[top_rows(train.labels[rows, 0], fraction)]
        least, share = train.labels[rows, 0].min(), 100 * len(rows) / len(train)
        message = "%s: %d of %d rows (%.1f %%) have %s %g or more"
        logger.info(message, train.source.name, len(rows), len(train), share, arguments.label_column, least)
    if train.splits is None or fold is not None:
        together = _rows_together(train, arguments)
        if train.groups is not None and not fold:  # once for all folds
            logger.info("%s: %s", train.source.name, _describe_groups(train, rows, arguments.group_column))
    if train.splits is not None:
        codes = train.splits[rows]
    else:
        counts = [0 if split in tables else _n_held_out(arguments, split, len(rows)) for split in SPLITS[1:]]
        if fraction and sum(counts) >= len(rows):
            raise ValueError(
                f"`top_fraction` {fraction} keeps {len(rows)} of {len(train)} rows, which cannot give {counts[0]} validation "
                f"and {counts[1]} test rows and leave some to train on: keep more, or hold out fewer"
            )
        exact = [split for split in SPLITS[1:] if getattr(arguments, f"{split}_rows")]
        codes = hold_out(together[rows], *counts, seed=arguments.split_seed, exact=exact)
        _warn_of_few(train, codes, counts, int(np.bincount(together[rows]).max()))
    if fold is not None:
        if "validation" in tables:
            raise ValueError(
                f"{tables['validation'].table.source.name}: in a cross-validation each fold validates the model of the others, so "
                "that there are no other validation rows: set `validation_split_name` none"
            )
        is_divided = codes != SPLITS.index("test")
        folds = _folds(train, rows[is_divided], together, arguments)
        codes[is_divided] = np.where(folds == fold, SPLITS.index("validation"), SPLITS.index("train"))
    splits = {split: SplitRows(train, rows[codes == code]) for code, split in enumerate(SPLITS)}
    for split in tables.keys() - {"train"}:
        if len(splits[split].rows):
            raise ValueError(
                f"{train.location(splits[split].rows[0])} is a {split} row by `split_column` {arguments.split_column}, but "
                f"`{split}_file` names others: give one"
            )
        splits[split] = SplitRows(tables[split].table, tables[split].rows)
    return splits


def _describe_groups(train: TokenTable, rows: np.ndarray, column: str) -> str:
    """What the groups are that stay together, as a sentence for the log."""
    groups, counts = np.unique(train.groups[rows], return_counts=True)
    largest, n_rows = groups[counts.argmax()], int(counts.max())
    batches = (names_in(batch, train.source, column) for batch in train.read_again([column]))
    name = next(names[is_it.argmax()] for names in batches if (is_it := hash_texts(names) == largest).any())
    share = n_rows / len(rows)
    # An empty cell is an error.
    hint = ": if that means none, give each of these rows a group of its own" if share > MANY_IN_A_GROUP else ""
    return (
        f"rows of one {column} stay together: {counted(len(groups), 'group')}, the largest, {name!r}, of "
        f"{counted(n_rows, 'row')} ({100 * share:.0f} %){hint}"
    )


def _warn_of_few(train: TokenTable, codes: np.ndarray, counts: Sequence[int], largest: int) -> None:
    """Warns if less than half of the rows to validate or test on are held out, because others belong together with them.

    Args:
        train: The table, for the message.
        codes: Result of `hold_out`.
        counts: Validation and test rows that were asked for.
        largest: Rows of the largest set that must stay together.
    """
    for code, (split, wanted) in enumerate(zip(SPLITS[1:], counts, strict=True), 1):
        held = np.count_nonzero(codes == code)
        if held < wanted / 2:
            logger.warning(
                "%s: %d %s rows are held out instead of %d: rows that belong together are in one split, and the largest set has %d "
                "of %d; hold out more rows, or use smaller groups",
                *(train.source.name, held, split, wanted, largest, len(codes)),
            )


def _share(train: SplitRows, fraction: float, arguments: RegressionDataArguments) -> SplitRows:
    """Some of the training rows, in whole groups."""
    table, rows = train
    together = _rows_together(table, arguments)
    seed = arguments.split_seed if arguments.sample_seed is None else arguments.sample_seed
    return SplitRows(table, rows[draw_share(together[rows], fraction, seed)])


def _folds(train: TokenTable, rows: np.ndarray, together: np.ndarray, arguments: RegressionDataArguments) -> np.ndarray:
    """The fold of each of some rows, int64 (n,): drawn, or that of its column.

    Args:
        train: The table.
        rows: int64 array (n,), the rows to divide, 0-based.
        together: Result of `rows_together`, of all rows.
        arguments: Number of folds, or their column.

    Raises:
        ValueError: Rows that belong together are in two folds; or a fold has no rows, or no two values to compare.
    """
    names = read_fold_names(arguments)
    if arguments.folds:
        folds = draw_folds(together[rows], len(names), arguments.split_seed)
    else:
        column = arguments.fold_column
        numbers = {name: number for number, name in enumerate(names)}
        batches = train.read_again([column])
        of_all = [numbers[name] for batch in batches for name in names_in(batch, train.source, column)]
        folds = np.array(of_all, np.int64)[rows]
        if pair := find_leak(together[rows], folds):
            first, second = (f"{train.location(int(rows[row]))} ({names[folds[row]]})" for row in pair)
            raise ValueError(
                f"{first} and {second} belong together, by sequence, strand, group, cluster or similarity, but `fold_column` "
                f"{column} has them in two folds: give them one, or let `folds` divide the rows"
            )
    for fold, name in enumerate(names):
        for output, values in zip(arguments.label_columns, train.labels[rows[folds == fold]].T, strict=True):
            known = values[~np.isnan(values)]
            if len(known) < 2 or not np.ptp(known):
                raise ValueError(
                    f"{train.source.name}: the {np.count_nonzero(folds == fold)} rows of fold {name} have "
                    f"{len(np.unique(known))} different value(s) of {output}: two or more are needed to score a model: make "
                    "fewer and larger folds"
                )
    return folds


def _rows_together(table: TokenTable, arguments: SequenceDataArguments) -> np.ndarray:
    """Numbers the sets of rows that no division may split; of measured rows, near duplicates by default."""
    column, clusters, identity = arguments.sequence_column, arguments.cluster_file, arguments.similar_sequences
    is_usual = identity is None and table.labels.shape[1] > 0 and len(table) <= MOST_COMPARED
    is_usual = is_usual and isinstance(arguments, RegressionDataArguments)
    if not is_usual:
        return rows_together(table, column, clusters, identity)
    together = rows_together(table, column, clusters, USUAL_IDENTITY)
    most = int(np.bincount(together).max())
    if most <= len(together) / 2:
        return together
    equal = rows_together(table, column, clusters)
    if np.bincount(equal).max() > len(equal) / 2:  # by the groups or clusters that were given
        return together
    logger.warning(
        "%s: %d of %d rows are variants of one sequence (each %g identical to another): they are divided all the same, so "
        "that scores tell how well new variants are predicted, not new sequences; `group_column` names what stays together",
        *(table.source.name, most, len(together), USUAL_IDENTITY),
    )
    return equal


def _n_held_out(arguments: SequenceDataArguments, split: str, n_rows: int) -> int:
    """How many of the rows are to be held out for a split."""
    count = getattr(arguments, f"{split}_rows")
    if count is not None:
        return count
    percentage, fraction = getattr(arguments, f"{split}_split_percentage"), getattr(arguments, "top_fraction", None)
    count = round(n_rows * percentage / 100)
    if fraction and percentage and not count:
        raise ValueError(
            f"`top_fraction` {fraction} keeps {n_rows} rows, too few to hold {percentage:g} % of them out for {split}: keep "
            f"more, or set `{split}_split_percentage` or `{split}_rows`"
        )
    return count


def _check_spread(
    split: str,
    dataset: TokenDataset,
    train: SplitRows | None,
    label_columns: tuple[str, ...],
    training: TrainingArguments,
) -> None:
    """Warns of held-out rows whose values cannot be correlated; ValueError if they are to choose the best checkpoint.

    Values far from those of the training rows, perhaps of another unit, are told, too.
    If the training rows of a table have one value, too, this is left to `TargetScaler`, which says so.
    """
    chosen_by = (training.metric_for_best_model or "loss").removeprefix("eval_") if split == "validation" else ""
    for name, column in zip(label_columns, dataset.labels.T, strict=False):
        known = column[~np.isnan(column)]
        has_rows = train is not None and len(train.rows) > 0
        trained = train.table.labels[train.rows, label_columns.index(name)] if has_rows else known
        mean, spread = np.nanmean(trained), np.nanstd(trained)
        if spread and max(abs(known.mean() - mean), known.std()) > FAR * spread:
            logger.warning(
                "%s: %s is %.3g +- %.3g in the %s rows, but %.3g +- %.3g in the training rows: are both in one unit? Otherwise "
                "loss, rmse, mae and r2 say nothing",
                *(dataset.table.source.name, name, known.mean(), known.std(), split, mean, spread),
            )
        if _varies(known) or (has_rows and spread == 0):
            continue
        what = f"all {len(known)} {split} rows have" if len(known) > 1 else f"the only {split} row has"
        problem = (
            f"{dataset.table.source.name}: {what} {name} {known[0]:g}: correlations and r2 need values that differ, and count "
            "as 0"
        )
        useless = [f"{metric}_{name}" for metric in CORRELATIONS]
        useless += CORRELATIONS if len(label_columns) == 1 else ()
        if training.load_best_model_at_end and chosen_by in useless:
            raise ValueError(
                f"{problem}; `metric_for_best_model` {chosen_by} cannot choose a checkpoint: hold out other or more rows, or "
                "choose by loss"
            )
        logger.warning("%s", problem)


def _varies(values: np.ndarray) -> bool:
    """Tells whether values (n,) differ by more than the last digits of float64."""
    return len(values) > 1 and bool(np.ptp(values) > 1e-13 * np.abs(values).max())


def _report(split: str, dataset: TokenDataset, label_columns: tuple[str, ...]) -> None:
    """Logs what a split contains; ValueError for one that has no value of an output, or values too close for float32."""
    lengths, values = dataset.table.lengths[dataset.rows], ""
    for name, column in zip(label_columns, dataset.labels.T, strict=False):  # pretraining: values, no names
        if np.isnan(column).all():
            raise ValueError(f"{dataset.table.source.name}: no {split} row has a value in {name}")
        if split == "train" or _varies(column[~np.isnan(column)]):
            check_precision(f"{dataset.table.source.name}: {name} of the {split} rows", column, np.nanstd(column))
        values += f"; {name} {np.nanmean(column):.3g} +- {np.nanstd(column):.3g}"
    logger.info("%s: %d rows, %d to %d tokens each%s", split, len(dataset), lengths.min(), lengths.max(), values)
