"""From sequences to batches: every row is checked, tokenised once into Arrow, and read back as whole arrays.

An Arrow file holds the token ids, in the smallest integer type that holds them, and the measured values: no masks, no
token types, no text. Splits are arrays of row numbers into it. `TokenDataset.__getitems__` gathers a batch in one
indexing of the memory-mapped file, so no row ever becomes a Python object.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import load_dataset

from .arguments import SequenceDataArguments
from .rows import SPECIAL_TOKENS, Rows
from .splits import SPLITS, components, find_duplicate, find_leak, hold_out
from .tables import FORMATS, FileSource, HubSource, Source
from .tokens import TokenTable, tokenise

logger = logging.getLogger(__name__)
# Above this share of [UNK] k-mers somebody should look at the data; above the second one it is not DNA of this alphabet.
UNKNOWN_ALARM, UNKNOWN_ERROR = 0.05, 0.5


class TokenDataset(torch.utils.data.Dataset):
    """Rows of one split, as batches of arrays; what `Trainer` is given as a dataset.

    Attributes:
        table: the tokenised file that the rows are in.
        rows: int64 array (n,), row numbers in `table`, 0-based.
        targets: float32 array (n, outputs) for the model, or None; set by `with_targets`.
        epoch: number of the pass over the data, 0-based; masking draws anew in each.
    """

    def __init__(self, table: TokenTable, rows: np.ndarray, pad_id: int, targets: np.ndarray | None = None) -> None:
        self.table, self.rows, self.pad_id, self.targets = table, rows, pad_id, targets
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> np.ndarray:
        """float32 array (n, outputs) of measured values in their own unit, NaN where missing."""
        return self.table.labels[self.rows]

    def with_targets(self, targets: np.ndarray) -> "TokenDataset":
        """Returns the same rows with these targets, float32 (n, outputs)."""
        return TokenDataset(self.table, self.rows, self.pad_id, targets)

    def first(self, n: int | None) -> "TokenDataset":
        """Returns the first n rows, or all for None."""
        return TokenDataset(self.table, self.rows[:n], self.pad_id, None if self.targets is None else self.targets[:n])

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """Gathers a batch.

        Returns:
            `input_ids` (n, longest) in the stored integer type; `attention_mask` int8 (n, longest) only where rows
            differ in length; `labels` float32 (n, outputs) where there are targets; `row` int64 (n,) and `epoch`, which
            give masking its random numbers.
        """
        indices = np.asarray(indices)
        rows = self.rows[indices]
        lengths = self.table.lengths[rows]
        longest = int(lengths.max())
        columns = np.arange(longest)
        batch: dict[str, Any] = {"row": rows, "epoch": self.epoch}
        if (lengths == longest).all():
            batch["input_ids"] = self.table.ids[self.table.starts[rows][:, None] + columns]
        else:
            inside = columns < lengths[:, None]
            positions = self.table.starts[rows][:, None] + np.minimum(columns, lengths[:, None] - 1)
            batch["input_ids"] = np.where(inside, self.table.ids[positions], self.table.ids.dtype.type(self.pad_id))
            batch["attention_mask"] = inside.astype(np.int8)
        if self.targets is not None:
            batch["labels"] = self.targets[indices]
        return batch


def collate(batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Turns a gathered batch into the model's tensors: ids and mask int64, labels float32; the rest is dropped."""
    whole = [name for name in ("input_ids", "attention_mask") if name in batch]
    tensors = {name: torch.from_numpy(batch[name].astype(np.int64)) for name in whole}
    if "labels" in batch:
        tensors["labels"] = torch.from_numpy(batch["labels"])
    return tensors


def load_splits(
    arguments: SequenceDataArguments,
    tokenizer: Any,
    max_tokens: int | None,
    label_columns: Sequence[str] = (),
) -> dict[str, TokenDataset]:
    """Reads, checks, tokenises and divides the rows that the command line names.

    Args:
        arguments: which files, columns and splits.
        tokenizer: needs `encode_ids`, `n_tokens`, `k`, `stride`, `alphabet`, `pad_token_id` and `unk_token_id`.
        max_tokens: tokens, special ones included, that the model can read; None for no limit.
        label_columns: names of measured columns; empty for unlabelled DNA.

    Returns:
        Datasets under `train`, `validation` and `test`, those that have rows.

    Raises:
        ValueError: for anything wrong in the data, with file, line and value.
    """
    spec = Rows(
        sequence=arguments.sequence_column,
        labels=tuple(label_columns),
        id=arguments.id_column,
        split=arguments.split_column,
        group=arguments.group_column,
        window=getattr(arguments, "window_length", None),
        step=getattr(arguments, "window_step", None),
        cut_at=arguments.max_seq_length,
        max_tokens=max_tokens,
    )
    tables = {}
    for split, source in _sources(arguments, label_columns).items():
        own = spec if split == "train" else replace(spec, split=None)
        tables[split] = tokenise(source, own, tokenizer, arguments.token_cache_dir)
        _check_unknown(tables[split])
    rows = _divide(tables, arguments)
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


def _sources(arguments: SequenceDataArguments, label_columns: Sequence[str]) -> dict[str, Source]:
    if arguments.dataset_name:
        return _hub_sources(arguments)
    label = label_columns[0] if len(label_columns) == 1 else None
    files = {"train": arguments.train_file, "validation": arguments.validation_file, "test": arguments.test_file}
    return {split: FileSource(Path(file), arguments.sequence_column, label) for split, file in files.items() if file}


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


def _divide(tables: dict[str, TokenTable], arguments: SequenceDataArguments) -> dict[str, np.ndarray]:
    """Row numbers of every split in its table."""
    train = tables["train"]
    given = {split: np.arange(len(tables[split])) for split in SPLITS if split in tables}
    if train.splits is not None:
        codes = train.splits
    else:
        n_rows = len(train)
        wanted = []
        for split in ("validation", "test"):
            count = getattr(arguments, f"{split}_rows")
            percentage = getattr(arguments, f"{split}_split_percentage")
            count = round(n_rows * percentage / 100) if count is None else count
            wanted.append(0 if split in tables else count)
        exact = [split for split in ("validation", "test") if getattr(arguments, f"{split}_rows")]
        # Windows that share bases stay together as well; those of one row are of one group anyway.
        together = components(train.keys, train.overlaps if train.groups is None else train.groups)
        codes = hold_out(together, *wanted, seed=arguments.split_seed, exact=exact)
    own = {split: np.flatnonzero(codes == code) for code, split in enumerate(SPLITS)}
    for split in given.keys() - {"train"}:
        if len(own[split]):
            raise ValueError(
                f"{train.place(own[split][0])} is a {split} row by --split_column {arguments.split_column}, but "
                f"--{split}_file names others: give one"
            )
    return own | {split: rows for split, rows in given.items() if split != "train"}


def _check_leaks(tables: dict[str, TokenTable], rows: dict[str, np.ndarray], arguments: SequenceDataArguments) -> None:
    """Refuses one sequence or one group on two sides, and repeats inside a side unless they are wanted."""
    owners = [
        (tables.get(split, tables["train"]), row, code) for code, split in enumerate(SPLITS) for row in (rows[split],)
    ]
    split = np.concatenate([np.full(len(row), code) for _, row, code in owners])
    where = [(table, row) for table, row, _ in owners]

    def place(position: int) -> str:
        for table, row in where:
            if position < len(row):
                return table.place(int(row[position]))
            position -= len(row)
        raise IndexError(position)

    for what, attribute, mend in (
        ("sequence", "keys", "remove it from one side"),
        (f"{arguments.group_column}", "groups", "a group must be on one side: divide by --group_column alone"),
    ):
        columns = [getattr(table, attribute) for table, _ in where]
        if any(column is None for column in columns):
            continue
        values = np.concatenate([column[row] for column, (_, row) in zip(columns, where, strict=True)])
        leak = find_leak(values, split)
        if leak:
            sides = [SPLITS[split[row]] for row in leak]
            raise ValueError(
                f"{place(leak.first_row)} ({sides[0]}) and {place(leak.second_row)} ({sides[1]}) hold the same {what}: {mend}"
            )
        if attribute == "keys":
            repeats, pair = find_duplicate(values)
            if repeats and arguments.duplicates == "error":
                raise ValueError(
                    f"{place(pair.first_row)} and {place(pair.second_row)} hold the same sequence ({repeats} rows repeat "
                    "an earlier one): remove or average them, or keep replicates with --duplicates keep"
                )
            if repeats:
                logger.info("%d rows repeat a sequence of the same split; they are kept", repeats)


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
    for name, column in zip(label_columns, dataset.labels.T, strict=True):
        if np.isnan(column).all():
            raise ValueError(f"{dataset.table.source.name}: no {split} row has a value in {name}")
        values += f"; {name} {np.nanmean(column):.3g} +- {np.nanstd(column):.3g}"
    logger.info("%s: %d rows, %d to %d tokens each%s", split, len(dataset), lengths.min(), lengths.max(), values)


def describe(dataset: TokenDataset) -> dict[str, Any]:
    """What a published model should say about its training rows: name, checksum, number, range of lengths in bases."""
    table = dataset.table
    n_kmers = table.lengths[dataset.rows] - SPECIAL_TOKENS
    bases = (n_kmers - 1) * table.stride + table.k
    return {
        "data_name": table.source.name if table.source.format == "hub" else table.source.path.name,
        "data_checksum": table.source.checksum,
        "n_training_rows": len(dataset),
        "sequence_length": [int(bases.min()), int(bases.max())],
    }


def read_names(dataset: TokenDataset, id_column: str | None, sequence_column: str) -> tuple[list[str], list[str]]:
    """Reads again, from the source, what predictions are written beside.

    Returns:
        The ids (the source's own where it has them, else the row's number in its file) and the sequences as they stand.
    """
    source, rows = dataset.table.source, dataset.rows
    column = id_column or ("id" if source.format == "fasta" else None)
    ids, sequences, seen = [], [], 0
    for batch in source.batches(list(dict.fromkeys([sequence_column] + ([column] if column else [])))):
        n_rows = len(batch.columns[sequence_column])
        own = rows[(rows >= seen) & (rows < seen + n_rows)] - seen
        sequences += batch.columns[sequence_column].take(own).to_pylist()
        ids += batch.columns[column].take(own).to_pylist() if column else []
        seen += n_rows
    return [str(name) for name in (ids if column else dataset.table.numbers[rows])], sequences
