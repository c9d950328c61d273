"""What --streaming means for a training script: its splits, the units of its labels, what its model card says.

The functions take rows from a token cache, too, so that a script need not know which it has. The order of the rows is
in `streamed_rows.py`, the reading of shards in `shards.py`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainingArguments

from kmerbert.cli.flags import SequenceDataArguments
from kmerbert.dna.flanks import Flanks
from kmerbert.reading.rows import SPECIAL_TOKENS, Rows
from kmerbert.reading.shards import open_shards
from kmerbert.reading.sources import FileSource
from kmerbert.tokens import batches
from kmerbert.tokens.batches import TokenDataset
from kmerbert.tokens.cache import token_folder, tokenise
from kmerbert.tokens.stream import StreamedDataset
from kmerbert.tokens.targets import TargetScaler
from kmerbert.training import splits as data

logger = logging.getLogger(__name__)


def load_splits(
    training: TrainingArguments,
    arguments: SequenceDataArguments,
    tokenizer: Any,
    max_tokens: int | None,
    label_columns: Sequence[str] = (),
    flanks: Flanks | None = None,
) -> dict[str, TokenDataset | StreamedDataset]:
    """Does what `data.load_splits` does; with --streaming, the training rows stay where they are.

    Args:
        training: batch size, processes and seed; with --streaming, its sampling strategy becomes `sequential`, because
            the rows shuffle themselves.
        arguments, tokenizer, max_tokens, label_columns, flanks: as for `data.load_splits`.

    Raises:
        ValueError: for anything wrong in the data, or training flags that cannot be with --streaming.
    """
    if not arguments.streaming:
        return data.load_splits(arguments, tokenizer, max_tokens, label_columns, flanks)
    _prepare(training)
    spec = replace(data.wanted_rows(arguments, tuple(label_columns), max_tokens, flanks), id=None)
    place, is_hub = arguments.train_file or arguments.dataset_name, not arguments.train_file
    is_hub = is_hub and not Path(place).exists()
    shards = open_shards(place, spec, is_hub, arguments.dataset_config_name, arguments.train_split_name)
    seed = training.seed if training.data_seed is None else training.data_seed
    stream = StreamedDataset(shards, tokenizer, training.train_batch_size, training.world_size, seed)
    _report(stream)
    return {"train": stream} | _evaluation_rows(arguments, replace(spec, id=arguments.id_column), tokenizer)


def _evaluation_rows(arguments: SequenceDataArguments, spec: Rows, tokenizer: Any) -> dict[str, TokenDataset]:
    """Rows of the files to validate and test on, from the token cache."""
    splits = {}
    label = spec.labels[0] if len(spec.labels) == 1 else None
    folder = token_folder(arguments.token_cache_dir)
    for split, file, limit in (
        ("validation", arguments.validation_file, arguments.max_eval_samples),
        ("test", arguments.test_file, getattr(arguments, "max_predict_samples", None)),
    ):
        if file:
            source = FileSource(Path(file), arguments.sequence_column, label, folder)
            table = tokenise(source, spec, tokenizer, arguments.token_cache_dir)
            splits[split] = TokenDataset(table, np.arange(len(table)), tokenizer.pad_token_id).first(limit)
            logger.info("%s: %d rows", split, len(splits[split]))
    return splits


def _prepare(training: TrainingArguments) -> None:
    """Turns the Trainer's own shuffling off; refuses what would deal the rows otherwise than the stream expects."""
    dealing = training.accelerator_config
    for is_wrong, flag, allowed in (
        (training.dataloader_num_workers, f"--dataloader_num_workers {training.dataloader_num_workers}", "0: a thread reads ahead"),
        (training.auto_find_batch_size, "--auto_find_batch_size true", "false: the order depends on the batch size"),
        (dealing.split_batches or dealing.dispatch_batches, "--accelerator_config", "no split_batches or dispatch_batches"),
        (
            training.train_sampling_strategy not in ("random", "sequential"),
            f"--train_sampling_strategy {training.train_sampling_strategy}",
            "random, of the stream's own kind",
        ),
    ):  # fmt: skip
        if is_wrong:
            raise ValueError(f"{flag}: allowed with --streaming is {allowed}; leave the flag out")
    training.train_sampling_strategy = "sequential"


def _report(stream: StreamedDataset) -> None:
    groups, n_rows = stream.group_rows, stream.n_rows
    logger.info(
        "train: %d rows in %d row groups of %d shards, read while training; %d rows are left out of each epoch, others in "
        "each; sequences found twice, or in validation and test rows too, are not looked for",
        n_rows, len(groups), len(stream.shards.shards), n_rows - len(stream),
    )  # fmt: skip
    if groups.max() > stream.window_rows:
        logger.warning(
            "%s: a row group holds %d rows, but only %d neighbours are shuffled among each other: write smaller row groups, or "
            "shuffled rows",
            stream.shards.name, groups.max(), stream.window_rows,
        )  # fmt: skip


def fit_targets(train: TokenDataset | StreamedDataset, names: Sequence[str]) -> TargetScaler:
    """Measures the training labels; of a stream in one pass over their columns alone, in bounded memory.

    Sums of squares are joined block by block (Chan, Golub and LeVeque 1983, doi:10.1080/00031305.1983.10483115).

    Raises:
        ValueError: for an output without two different values.
    """
    if isinstance(train, TokenDataset):
        return TargetScaler.fit(train.labels, list(names))
    n, mean, squares = (np.zeros(len(names)) for _ in range(3))
    for block in train.shards.labels(names):
        known = ~np.isnan(block)
        n_block = known.sum(axis=0)
        mean_block = np.where(known, block, 0).sum(axis=0) / np.maximum(n_block, 1)
        total, apart = np.maximum(n + n_block, 1), mean_block - mean
        squares += (np.where(known, block - mean_block, 0) ** 2).sum(axis=0) + apart**2 * n * n_block / total
        mean += apart * n_block / total
        n += n_block
    for name, known, spread, middle in zip(names, n, squares, mean, strict=True):
        if not known:
            raise ValueError(f"{name}: no training row has a value")
        if not spread:
            raise ValueError(f"{name}: all {known:.0f} training values are {middle:g}; there is nothing to learn")
    return TargetScaler(tuple(mean.tolist()), tuple(np.sqrt(squares / n).tolist()))


def with_targets(
    splits: Mapping[str, TokenDataset | StreamedDataset], scaler: TargetScaler
) -> dict[str, TokenDataset | StreamedDataset]:
    """Returns the splits with standardised labels as targets of the model."""
    found = {}
    for split, rows in splits.items():
        if isinstance(rows, StreamedDataset):
            rows.scaler, found[split] = scaler, rows
        else:
            found[split] = rows.with_targets(scaler.transform(rows.labels))
    return found


def describe(train: TokenDataset | StreamedDataset) -> dict[str, Any]:
    """What a published model should say about its training rows, as `batches.describe`.

    Of a stream, `sequence_length` is that of the first row group, and `data_checksum` knows footers, not contents.

    Raises:
        ValueError: where most k-mers of the first row group are not DNA of the alphabet.
    """
    if isinstance(train, TokenDataset):
        return batches.describe(train)
    shards, tokenizer = train.shards, train.tokenizer
    tokens = shards.tokenise(shards.groups[0], tokenizer)
    n_kmers = tokens.lengths - SPECIAL_TOKENS
    share = np.count_nonzero(tokens.ids == tokenizer.unk_token_id) / n_kmers.sum()
    if share > data.UNKNOWN_ALARM:
        words = f"{shards.name}: {share:.1%} of the first k-mers are [UNK] (they hold a letter outside the alphabet, such as N)"
        if share > data.UNKNOWN_ERROR:
            raise ValueError(f"{words}: is this DNA? Check --alphabet and the sequences")
        logger.warning("%s", words)
    bases = (n_kmers - 1) * tokenizer.stride + tokenizer.k
    return {
        "data_name": shards.name,
        "data_checksum": shards.checksum,
        "n_training_rows": train.n_rows,
        "sequence_length": [int(bases.min()), int(bases.max())],
    }
