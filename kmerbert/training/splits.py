"""From what the command line names to checked splits: which files and columns, who is on which side, what is refused."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import load_dataset

from kmerbert.cli.flags import SequenceDataArguments
from kmerbert.dna.flanks import Flanks
from kmerbert.dna.sequences import canonical
from kmerbert.reading.plasmid import read_flanks
from kmerbert.reading.rows import SPECIAL_TOKENS, Rows, check_frames, find_duplicate, n_distinct
from kmerbert.reading.sources import FORMATS, FileSource, HubSource, Source
from kmerbert.splitting.groups import together
from kmerbert.splitting.sides import SPLITS, find_leak, hold_out, top_rows
from kmerbert.tokens.batches import TokenDataset
from kmerbert.tokens.cache import TokenTable, token_folder, tokenise

logger = logging.getLogger(__name__)
# Above this share of [UNK] k-mers somebody should look at the data; above the second one it is not DNA of this alphabet.
UNKNOWN_ALARM, UNKNOWN_ERROR = 0.05, 0.5
FLANK_LENGTH = 150  # bases of a plasmid on each side, where --flank_length is not given


def load_splits(
    arguments: SequenceDataArguments,
    tokenizer: Any,
    max_tokens: int | None,
    label_columns: Sequence[str] = (),
    flanks: Flanks | None = None,
) -> dict[str, TokenDataset]:
    """Reads, checks, tokenises and divides the rows that the command line names.

    Args:
        arguments: which files, columns and splits.
        tokenizer: needs `encode_ids`, `n_tokens`, `k`, `stride`, `alphabet`, `pad_token_id` and `unk_token_id`.
        max_tokens: tokens, special ones included, that the model can read; None for no limit.
        label_columns: names of measured columns; empty for unlabelled DNA.
        flanks: what `load_flanks` gave.

    Returns:
        Datasets under `train`, `validation` and `test`, those that have rows.

    Raises:
        ValueError: for anything wrong in the data, with file, line and value.
    """
    top_label = (arguments.label_column,) if getattr(arguments, "top_fraction", None) else ()
    spec = wanted_rows(arguments, tuple(label_columns) or top_label, max_tokens, flanks)
    tables, sources = {}, _sources(arguments, spec.labels)
    _check_one_table(sources, arguments)
    for split, source in sources.items():
        labels = tuple(label_columns)
        own = spec if split == "train" else replace(spec, labels=labels, split=None, group=_group_column(source, spec))
        tables[split] = tokenise(source, own, tokenizer, arguments.token_cache_dir)
        _check_unknown(tables[split])
    rows = _divide(tables, arguments, tokenizer)
    _check_leaks(tables, rows, arguments)
    datasets = {
        split: TokenDataset(tables.get(split, tables["train"]), rows[split], tokenizer.pad_token_id)
        for split in SPLITS
        if len(rows[split])
    }
    if "train" not in datasets:
        raise ValueError(f"{tables['train'].source.name}: no training rows")
    for split, limit in (
        ("train", arguments.max_train_samples),
        ("validation", arguments.max_eval_samples),
        ("test", getattr(arguments, "max_predict_samples", None)),
    ):
        if split in datasets:
            datasets[split] = datasets[split].first(limit)
            _report(split, datasets[split], label_columns)
    return datasets


def wanted_rows(
    arguments: SequenceDataArguments, labels: tuple[str, ...], max_tokens: int | None, flanks: Flanks | None
) -> Rows:
    """What the command line says to read of the training rows and how to cut them; the rest as for `load_splits`."""
    return Rows(
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
    )


def load_flanks(arguments: SequenceDataArguments, config: Any) -> Flanks | None:
    """The plasmid's bases around every sequence: those that the command line names, else those that a checkpoint had.

    They become the setting `flanks` of the configuration, so that the model says what it reads.

    Raises:
        ValueError: for a plasmid that cannot be used, or a length without a plasmid that the checkpoint was not trained with.
    """
    flanks, length = None, arguments.flank_length
    if arguments.flank_file:
        wanted = FLANK_LENGTH if length is None else length
        flanks = read_flanks(Path(arguments.flank_file), wanted, arguments.flank_insert)
    elif saved := getattr(config, "flanks", None):
        flanks = Flanks(**saved)
    if length is not None and length != (flanks.length if flanks else 0):
        found = f"the checkpoint has flanks of {flanks.length} bases" if flanks else "no plasmid is known"
        raise ValueError(f"--flank_length {length}: {found}: give --flank_file with it, or leave it out")
    if flanks and not arguments.streaming and (sequences := _first_sequences(arguments)):
        flanks = flanks.learn(sequences)
    if flanks:
        config.flanks = asdict(flanks)
    return flanks


def _first_sequences(arguments: SequenceDataArguments) -> list[str]:
    """Some thousand sequences of the training rows; those that are no DNA are left to the reader, who says where."""
    source = _sources(arguments, ())["train"]
    batch = next(source.batches([arguments.sequence_column]), None)
    found = []
    for sequence in batch.columns[arguments.sequence_column].to_pylist() if batch else []:
        with suppress(AttributeError, ValueError):
            found.append(canonical(sequence.strip()))
    return found


def _sources(arguments: SequenceDataArguments, label_columns: Sequence[str]) -> dict[str, Source]:
    if arguments.dataset_name:
        return _hub_sources(arguments)
    label = label_columns[0] if len(label_columns) == 1 else None
    files = {"train": arguments.train_file, "validation": arguments.validation_file, "test": arguments.test_file}
    folder = token_folder(arguments.token_cache_dir)
    column = arguments.sequence_column
    return {split: FileSource(Path(file), column, label, folder) for split, file in files.items() if file}


def _hub_sources(arguments: SequenceDataArguments) -> dict[str, Source]:
    name, config = arguments.dataset_name, arguments.dataset_config_name
    if Path(name).is_file():
        raise ValueError(f"--dataset_name {name!r} is a file: give it as --train_file")
    if Path(name).suffix in FORMATS and not Path(name).exists():
        raise ValueError(f"--dataset_name {name!r}: no such dataset; a file is given as --train_file")
    try:
        found = load_dataset(name, config)
    except Exception as error:  # whatever the Hub, the network or a data file does, the user needs one line
        raise ValueError(f"--dataset_name {name!r} cannot be loaded: {' '.join(str(error).split())}") from None
    wanted = {split: getattr(arguments, f"{split}_split_name") for split in SPLITS}
    if wanted["train"] not in found:
        raise ValueError(f"{name}: no split {wanted['train']!r}; found: {sorted(found)}; name it by --train_split_name")
    return {split: HubSource(f"{name}, {own}", found[own]) for split, own in wanted.items() if own in found}


def _check_one_table(sources: dict[str, Source], arguments: SequenceDataArguments) -> None:
    """Refuses to look for similar rows where it would be in one of several tables only."""
    others = [source.name for split, source in sources.items() if split != "train"]
    for name in ("cluster_file", "similar_sequences"):
        if (value := getattr(arguments, name)) and others:
            raise ValueError(
                f"--{name} {value} divides the rows of one table and does not look into {others[0]}: give all rows in one "
                "--train_file, with --validation_split_percentage and --test_split_percentage, or leave the flag out"
            )


def check_reading_frames(splits: Mapping[str, Any], n_frames: int) -> None:
    """Refuses rows with fewer k-mers than a model has reading frames, in all splits that are not streamed.

    Raises:
        ValueError: for the first such row, with its place.
    """
    for dataset in splits.values():
        if isinstance(dataset, TokenDataset):
            table, rows = dataset.table, dataset.rows
            check_frames(table.lengths[rows] - SPECIAL_TOKENS, table.numbers[rows], table.source, n_frames)


def _group_column(source: Source, spec: Rows) -> str | None:
    """The group column, where a file of validation or test rows has it: these need no groups of their own."""
    try:
        next(source.batches([spec.sequence, spec.group or spec.sequence]), None)
    except ValueError:  # either the column is missing, or the same fault stops the reading itself
        return None
    return spec.group


def _divide(tables: dict[str, TokenTable], arguments: SequenceDataArguments, tokenizer: Any) -> dict[str, np.ndarray]:
    """Row numbers of every split in its table."""
    train = tables["train"]
    given = {split: np.arange(len(tables[split])) for split in SPLITS if split in tables}
    fraction = getattr(arguments, "top_fraction", None)
    chosen = top_rows(train.labels[:, 0], fraction) if fraction else given["train"]
    n_rows = len(chosen)
    if fraction:
        least = train.labels[chosen, 0].min()
        words = "%s: %d of %d rows (%.1f %%) have %s %g or more"
        share = 100 * n_rows / len(train)
        logger.info(words, train.source.name, n_rows, len(train), share, arguments.label_column, least)
    if train.splits is not None:
        codes = train.splits[chosen]
    else:
        wanted = [0 if split in tables else _wanted(arguments, split, n_rows) for split in ("validation", "test")]
        if fraction and sum(wanted) >= n_rows:
            raise ValueError(
                f"--top_fraction {fraction} keeps {n_rows} of {len(train)} rows, which cannot give {wanted[0]} validation and "
                f"{wanted[1]} test rows and leave some to train on: keep more, or hold out fewer"
            )
        exact = [split for split in ("validation", "test") if getattr(arguments, f"{split}_rows")]
        codes = hold_out(together(train, arguments, tokenizer)[chosen], *wanted, seed=arguments.split_seed, exact=exact)
    own = {split: chosen[codes == code] for code, split in enumerate(SPLITS)}
    for split in given.keys() - {"train"}:
        if len(own[split]):
            raise ValueError(
                f"{train.place(own[split][0])} is a {split} row by --split_column {arguments.split_column}, but "
                f"--{split}_file names others: give one"
            )
    return own | {split: rows for split, rows in given.items() if split != "train"}


def _wanted(arguments: SequenceDataArguments, split: str, n_rows: int) -> int:
    """How many of the rows are to be held out for a split."""
    count = getattr(arguments, f"{split}_rows")
    if count is not None:
        return count
    percentage, fraction = getattr(arguments, f"{split}_split_percentage"), getattr(arguments, "top_fraction", None)
    count = round(n_rows * percentage / 100)
    if fraction and percentage and not count:
        raise ValueError(
            f"--top_fraction {fraction} keeps {n_rows} rows, too few to hold {percentage:g} % of them out for {split}: keep "
            f"more, or set --{split}_split_percentage or --{split}_rows"
        )
    return count


def _check_leaks(tables: dict[str, TokenTable], rows: dict[str, np.ndarray], arguments: SequenceDataArguments) -> None:
    """Refuses one sequence or one group on two sides, and repeats inside a side unless they are wanted."""
    for what, attribute, mend in (
        ("sequence", "keys", "remove it from one side"),
        (f"{arguments.group_column}", "groups", "a group must be on one side: divide by --group_column alone"),
    ):
        # (table, rows, number of the split); files of validation or test rows may have no groups.
        sides = [(tables.get(split, tables["train"]), rows[split], code) for code, split in enumerate(SPLITS)]
        sides = [side for side in sides if getattr(side[0], attribute) is not None]
        if not sides:
            continue
        values = np.concatenate([getattr(table, attribute)[own] for table, own, _ in sides])
        codes = np.concatenate([np.full(len(own), code, np.int8) for _, own, code in sides])
        places = [(table, own) for table, own, _ in sides]
        if n_distinct(values) == len(values):
            continue
        if pair := find_leak(values, codes):
            first, second = (f"{_place(places, row)} ({SPLITS[codes[row]]})" for row in pair)
            raise ValueError(f"{first} and {second} hold the same {what}: {mend}")
        repeats, pair = find_duplicate(values) if attribute == "keys" else (0, None)
        if repeats and arguments.duplicates == "error":
            first, second = (_place(places, row) for row in pair)
            raise ValueError(
                f"{first} and {second} hold the same sequence ({repeats} rows repeat an earlier one): remove or average "
                "them, or keep replicates with --duplicates keep"
            )
        if repeats:
            logger.info("%d rows repeat a sequence of the same split; they are kept", repeats)


def _place(places: list[tuple[TokenTable, np.ndarray]], position: int) -> str:
    """Words for where the row at a position in the joined rows of several tables is."""
    for table, rows in places:
        if position < len(rows):
            return table.place(int(rows[position]))
        position -= len(rows)
    raise IndexError(position)


def _check_unknown(table: TokenTable) -> None:
    share = table.unknown_share
    words = (
        f"{table.source.name}: {share:.1%} of the k-mers are [UNK] (they hold a letter outside the alphabet, such as N)"
    )
    if share > UNKNOWN_ERROR:
        raise ValueError(f"{words}: is this DNA? Check --alphabet and the sequences")
    if share > UNKNOWN_ALARM:
        logger.warning("%s", words)


def _report(split: str, dataset: TokenDataset, label_columns: Sequence[str]) -> None:
    """Logs what a split holds; refuses one that says nothing about an output."""
    lengths, values = dataset.table.lengths[dataset.rows], ""
    for name, column in zip(label_columns, dataset.labels.T, strict=False):  # pretraining: values, no names
        if np.isnan(column).all():
            raise ValueError(f"{dataset.table.source.name}: no {split} row has a value in {name}")
        values += f"; {name} {np.nanmean(column):.3g} +- {np.nanstd(column):.3g}"
    logger.info("%s: %d rows, %d to %d tokens each%s", split, len(dataset), lengths.min(), lengths.max(), values)
