"""Predictions of fine-tuned checkpoints, one or several together, for lists of DNA and for tables of any length.

`Predictor` loads regression models, reads sequences as they were read in training, and answers in the unit of the measured
values and in the order of the input:

    predictor = Predictor.from_pretrained("runs/expression")
    predictor.predict(["TGCATTTTTTTCACATCGGTTACGGCTG", "TGCATTTTTTTCACATCAAAGCGGTTAC"])  # a pandas table
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import distributed, nn
from transformers import PretrainedConfig, PreTrainedModel

from kmerbert.dna.sequences import reverse_complement as other_strand
from kmerbert.models.kernels import fast_kernels
from kmerbert.models.loading import max_tokens
from kmerbert.models.outputs import output_layer
from kmerbert.predicting.ensemble import check_strands, load_ensemble, output_names
from kmerbert.predicting.inputs import Inputs, open_inputs
from kmerbert.predicting.intervals import Intervals, read_intervals
from kmerbert.predicting.table import FOLD, output_suffixes, prediction_table
from kmerbert.reading.labels import LabelTransform
from kmerbert.reading.rows import RowSpec, check_reading_frames, check_unknown, find_duplicate, hash_texts, read_rows
from kmerbert.reading.sources import Batch, FileSource, Source
from kmerbert.reading.training_range import TrainingRange, describe_codes, read_letters
from kmerbert.reading.training_sample import Trained, TrainingSample
from tokenization_kmer import N_ADDED, Flanks, KmerTokenizer

logger = logging.getLogger(__name__)
# Rows, and bytes of their sequences, that are held at once, sorted by length and shared among processes.
CHUNK_ROWS, CHUNK_BYTES = 50_000, 1 << 26
# Tokens in one batch, padding included: what keeps the device busy, and a BERT-base within a few gigabytes.
CPU_BATCH_TOKENS, BATCH_TOKENS = 1 << 12, 1 << 16
# What a sequence or its prediction is outside of, for the message.
OUTSIDE_OF = ("their length", "their GC content", "their 6-mers", "the predicted value")
# Rows of a calibration file that are predicted again, and how far apart both predictions may be, as a share of the errors
# there: bfloat16 changes a hundredth, another training run of the same model about a third.
N_COMPARED, OTHER_PREDICTIONS = 64, 0.1


class Predicted(NamedTuple):
    """Some rows of a source, as written there.

    Attributes:
        batch: The rows.
        values: Predictions, float64 array (n, checkpoints, outputs).
        outside: uint8 array (n,), in what each is outside the training data, as `TrainingRange.outside` says it.
    """

    batch: Batch
    values: np.ndarray
    outside: np.ndarray


def no_progress(n_rows: int) -> None:
    """Does nothing with the number of rows done."""


class Predictor:
    """One regression model, or several that read and predict the same, ready to predict.

    If processes were launched together (torch.distributed), every process calls the same methods with the same
    sequences: they share the work, and each gets all results.

    Attributes:
        checkpoints: Names of the models, in the order of their predictions.
        models: In evaluation mode, with float32 weights; their outputs are in the unit of the labels.
        tokenizer: Of all models.
        outputs: Names of what is predicted.
        intervals: Prediction intervals, estimated from held-out rows; None if there are none.
        transform: What measured values become that are put next to predictions, because the models learnt it of theirs; None for
            themselves.
        flanks: Plasmid bases that the models read around each sequence, or None.
        max_tokens: The most tokens, special ones included, that all models read; None for no limit.
        device: That the models are on.
    """

    def __init__(
        self,
        checkpoints: Sequence[str],
        models: Sequence[PreTrainedModel],
        tokenizer: KmerTokenizer,
        bf16: bool = False,
        reverse_complement: bool = False,
        tokens_per_batch: int | None = None,
        intervals: Intervals | None = None,
    ) -> None:
        """Takes models as `from_pretrained` loads them; its arguments have the same meanings."""
        config = models[0].config
        self.checkpoints, self.models, self.tokenizer = list(checkpoints), list(models), tokenizer
        self.outputs, self.intervals = output_names(config), intervals
        self.transform = LabelTransform.of(getattr(config, "label_transform", None))
        self.flanks = Flanks(**config.flanks) if getattr(config, "flanks", None) else None
        self.max_tokens = min(filter(None, (max_tokens(model.config) for model in models)), default=None)
        self.device, self._bf16, self._both_strands = models[0].device, bf16, reverse_complement
        default = CPU_BATCH_TOKENS if self.device.type == "cpu" else BATCH_TOKENS
        self._tokens_per_batch = tokens_per_batch or default
        self._has_warned = self._has_warned_of_trained = False
        ranges = {json.dumps(_range_setting(model.config)): TrainingRange.from_config(model.config) for model in models}
        self._ranges = list(ranges.values())  # models of one training table have the same
        self._says_outside = all(known.is_whole for known in self._ranges)
        self._n_kmers = self._n_unknown = 0
        self._samples = [TrainingSample.from_text(getattr(m.config, "training_sample", None)) for m in models]
        if bf16:
            for model in models:
                output_layer(model).register_forward_hook(_in_float32)

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str | Path | Sequence[str | Path],
        revision: str = "main",
        device: torch.device | str | None = None,
        bf16: bool = False,
        reverse_complement: bool = False,
        tokens_per_batch: int | None = None,
        calibration_file: str | Path | None = None,
        interval_coverage: float | None = None,
    ) -> "Predictor":
        """Loads checkpoints of run_finetune_regression.py.

        Args:
            model_name_or_path: Folder or Hub name of a model, or several of them. A `checkpoint-N` of a run, whose
                outputs are standardised, is brought to the unit of the labels.
            revision: Branch, tag or commit of all of them on the Hub.
            device: To compute on; None for the accelerator if there is one.
            bf16: Compute in bfloat16 (torch.autocast), all but the output layer.
            reverse_complement: Average the outputs for a sequence as the model reads it, flanks included, and for its
                reverse complement, the other strand of the same molecule. Right for a model that was trained on both
                strands, or a measurement that has no direction.
            tokens_per_batch: Tokens in a batch, padding included; None for what suits the device.
            calibration_file: Predictions next to measured values of rows that the models were not trained on, such as the
                validation_predictions.tsv of a single model or of a cross-validation: adds intervals to the predictions.
            interval_coverage: Share of measured values that intervals should hold; None for 0.9.

        Raises:
            ValueError: A folder is not a regression model, models read or predict different things, `reverse_complement`
                is asked of k-mers over other letters than ACGT or ACGTN, or the calibration file cannot be used.
        """
        names = [model_name_or_path] if isinstance(model_name_or_path, str | Path) else model_name_or_path
        names = [str(name) for name in names]
        tokenizer, models, names = load_ensemble(names, revision)
        if reverse_complement:
            check_strands(tokenizer, names, models)
        device = device or torch.accelerator.current_accelerator(check_available=True) or "cpu"
        models = [model.to(device) for model in models]
        predictor = cls(names, models, tokenizer, bf16, reverse_complement, tokens_per_batch)
        if calibration_file:
            path = str(calibration_file)
            check = partial(predictor._check_calibration, path=path)
            predictor.intervals = read_intervals(path, interval_coverage, predictor.outputs, check)
        return predictor

    def predict(
        self,
        inputs: Sequence[str] | str | Path | pd.DataFrame,
        sequence_column: str = "sequence",
        id_column: str | None = None,
        label_columns: Sequence[str] = (),
        sheet: str | None = None,
        keep_columns: Sequence[str] = (),
    ) -> pd.DataFrame:
        """Predicts for sequences as a user has them: any case, IUPAC codes, without the flanks that the model reads.

        Args:
            inputs: A list of sequences, a pandas table, or the path of a table or FASTA file.
            sequence_column: Column of the DNA in a table; without a column `sequence`, the one that has DNA.
            id_column: Column of the ids; None for `id` if there is one, otherwise the row's number.
            label_columns: Columns of measured values to put next to the predictions, with the names of the outputs if
                there are several. Models that predict logarithms get the logarithms of these, too.
            sheet: Name of the sheet of an Excel file; None for the only one that has rows or, of several, DNA.
            keep_columns: Other columns to carry to the predictions, as text.

        Returns:
            Table with a row per sequence, in their order: `id`, `sequence`, `prediction` in the unit of the labels, and if
            known `lower`, `upper`, `checkpoint_sd` and `observed` (see `kmerbert/predicting/table.py`). If the models know what
            their training data were like, `outside_training` says in what a row is outside of that, separated by `;`:
            `length`, `gc` (content), `kmers` (rare, or few that repeat) and `value` (a prediction beyond all measured values);
            it is empty for most rows.

        Raises:
            ValueError: A sequence is not DNA, too short or too long, or a prediction is not a number.
        """
        source = open_inputs(inputs, sequence_column, sheet)
        chosen = Inputs.choose(source, sequence_column, id_column, label_columns, self.outputs, keep_columns)
        tables = list(self.predict_tables(chosen))
        return (pa.concat_tables(tables) if tables else self._empty_table(chosen)).to_pandas()

    def predict_values(self, sequences: Sequence[str]) -> np.ndarray:
        """Predicts as `predict` does, for programs that only want numbers.

        Returns:
            float64 array (n, outputs): the mean of all checkpoints, in the unit of the labels.
        """
        parts = [part.values.mean(axis=1) for part in self.predict_stream(open_inputs(sequences))]
        return np.concatenate([np.empty((0, len(self.outputs))), *parts])

    def predict_tables(
        self, inputs: Inputs, max_seq_length: int | None = None, progress: Callable[[int], Any] = no_progress
    ) -> Iterator[pa.Table]:
        """Predicts piece by piece for rows of any number; yields results of `prediction_table`.

        Args:
            inputs: The rows, and what to read of them.
            max_seq_length, progress: As for `predict_stream`.
        """
        around = self.intervals.around if self.intervals else None
        if self.transform and inputs.labels:
            shown = ", ".join(map(self.transform.of_text, inputs.labels))
            logger.info("measured values next to the predictions are %s, as the models predict", shown)
        names: list[np.ndarray] = []
        numbers: list[np.ndarray] = []
        texts = pa.array(describe_codes())
        for batch, values, bits in self.predict_stream(
            inputs.source, inputs.sequence, inputs.columns, max_seq_length, progress
        ):
            ids, sequences, observed = inputs.read(batch)
            if self.transform and observed is not None:
                where = (inputs.source, batch.numbers)
                observed = self.transform.apply(observed, inputs.labels, *where, is_trained=True)
            if inputs.id:
                names.append(hash_texts(ids.to_pylist()))
                numbers.append(batch.numbers)
            outside = texts.take(pa.array(bits)) if self._says_outside else None
            kept = {name: batch.columns[name] for name in inputs.kept}
            yield prediction_table(ids, sequences, values, self.outputs, observed, around, outside, kept)
        n_repeated, pair = find_duplicate(np.concatenate(names)) if names else (0, None)
        if pair:
            first, second = (inputs.source.location(int(np.concatenate(numbers)[row])) for row in pair)
            logger.warning(
                "%s and %s have the same id (repeated ids: %d): tell such predictions apart by their sequences",
                *(first, second, n_repeated),
            )

    def _empty_table(self, inputs: Inputs) -> pa.Table:
        empty = np.empty((0, len(self.checkpoints), len(self.outputs)))
        observed = empty[:, 0] if inputs.labels else None
        none = pa.array([], pa.string())
        around, outside = self.intervals.around if self.intervals else None, none if self._says_outside else None
        return prediction_table(
            none, none, empty, self.outputs, observed, around, outside, dict.fromkeys(inputs.kept, none)
        )

    def predict_stream(
        self,
        source: Source,
        sequence_column: str = "sequence",
        columns: Sequence[str] = (),
        max_seq_length: int | None = None,
        progress: Callable[[int], Any] = no_progress,
    ) -> Iterator[Predicted]:
        """Predicts for the rows of a source, in their order; memory does not grow with their number.

        Args:
            source: The rows, of which some ten thousand are read at a time.
            sequence_column: Column of the DNA.
            columns: More columns to read and hand through.
            max_seq_length: Cut right ends off to this many tokens, special ones included.
            progress: Called with the number of rows done since its last call.

        Raises:
            ValueError: A row cannot be used, or a prediction is not a number; the message has the row's location.
        """
        limits = {"cut_at": max_seq_length, "max_tokens": self.max_tokens}
        spec = RowSpec(sequence_column, flanks=self.flanks, **limits)
        n_frames = max(getattr(model.config, "n_frames", 1) for model in self.models)
        outside = _Outside(self._ranges)
        for batches in _chunks(source.batches(list(dict.fromkeys([sequence_column, *columns]))), sequence_column):
            sequences: list[str] = []
            for batch in batches:
                only_dna = Batch({sequence_column: batch.columns[sequence_column]}, batch.numbers)
                sequences += read_rows(only_dna, source, spec, self.tokenizer, is_trained=True)[0]
            numbers = np.concatenate([batch.numbers for batch in batches])
            n_kmers = self.tokenizer.n_tokens(np.fromiter(map(len, sequences), np.int64, len(sequences)))
            check_reading_frames(n_kmers, numbers, source, n_frames)
            self._warn_of_trained(sequences, numbers, source)
            values = self.predict_prepared(sequences, progress)
            self._check_finite(values, numbers, source)
            bits = outside.look(sequences, values.mean(axis=1), numbers)
            ends = np.cumsum([len(batch.numbers) for batch in batches])[:-1]
            yield from map(Predicted, batches, np.split(values, ends), np.split(bits, ends))
        if not self._has_warned and (message := outside.describe(source, self._says_outside)):
            self._has_warned = True
            logger.warning("%s", message)
        if self._n_kmers:
            check_unknown(self._n_unknown / self._n_kmers, source.name, is_trained=True)

    def predict_prepared(self, sequences: Sequence[str], progress: Callable[[int], Any] = no_progress) -> np.ndarray:
        """Predicts for sequences as the models read them: upper case, flanks included, no longer than a model allows.

        Sequences are sorted by length, so that a batch has little padding or none, and its size follows from its length.

        Args:
            sequences: n of them, in the letters ACGTN, one k-mer long or longer.
            progress: Called with the number of sequences done since its last call.

        Returns:
            float64 array (n, checkpoints, outputs), in the unit of the labels.
        """
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        n_tokens = self.tokenizer.n_tokens(lengths) + N_ADDED
        batches = _batches(n_tokens, self._tokens_per_batch)
        is_shared = distributed.is_available() and distributed.is_initialized()
        rank, n_processes = (distributed.get_rank(), distributed.get_world_size()) if is_shared else (0, 1)
        outputs = torch.zeros((len(sequences), len(self.models), len(self.outputs)), device=self.device)
        n_done = 0
        in_bf16 = torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16)
        with torch.inference_mode(), fast_kernels(self.models, self._bf16), in_bf16:
            for rows in batches[rank::n_processes]:
                batch = [sequences[row] for row in rows.tolist()]
                values = self._run(batch)
                if self._both_strands:
                    values = (values + self._run([other_strand(sequence) for sequence in batch])) / 2
                outputs[self._to_device(rows)] = values
                progress(len(rows))
                n_done += len(rows)
        if n_processes > 1:
            distributed.all_reduce(outputs)  # every row was computed by one process and is 0 in all others
            progress(len(sequences) - n_done)
        return outputs.cpu().numpy().astype(np.float64)

    def _run(self, sequences: list[str]) -> torch.Tensor:
        """Outputs of all models, float32 (n, checkpoints, outputs)."""
        ids = self.tokenizer.encode_ids(sequences)
        is_token = ids != self.tokenizer.pad_token_id
        self._n_unknown += np.count_nonzero(ids == self.tokenizer.unk_token_id)
        self._n_kmers += np.count_nonzero(is_token) - N_ADDED * len(ids)
        inputs = {"input_ids": self._to_device(ids).long()}
        if not is_token[:, -1].all():
            inputs["attention_mask"] = self._to_device(is_token).long()
        return torch.stack([model(**inputs).logits.float() for model in self.models], dim=1)

    def _to_device(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":  # with pinned memory the CPU need not wait for the copy
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _check_finite(self, values: np.ndarray, numbers: np.ndarray, source: Source) -> None:
        if np.isfinite(values).all():
            return
        row, checkpoint, output = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"{source.location(int(numbers[row]))}: {self.checkpoints[checkpoint]} predicts "
            f"{values[row, checkpoint, output]} for {self.outputs[output]}: its weights are damaged or its training diverged; "
            "use another checkpoint"
        )

    def _find_trained(
        self, n_rows: int, find: Callable[[TrainingSample, bool, int | None], Trained]
    ) -> Iterator[tuple[str, Trained]]:
        """Which of some sequences each model was trained on; none of a model that does not know.

        Args:
            n_rows: Number of the sequences.
            find: Asks a model's sample, with how the model reads them.
        """
        for name, model, sample in zip(self.checkpoints, self.models, self._samples, strict=True):
            if sample is None:
                yield name, Trained(np.zeros(n_rows, bool), 0.0)
            else:
                longest = getattr(model.config, "sequence_length", (None,))[-1]
                yield name, find(sample, getattr(model.config, "both_strands", False), longest)

    def _check_calibration(self, table: pd.DataFrame, path: str) -> None:
        """Raises ValueError if a model was trained on rows of the calibration file, as far as sequences tell.

        Predictions that are not those of the models are told: their errors say nothing about the models'.
        """
        if "sequence" not in table or not len(table):
            return
        source, sequences = FileSource(Path(path)), table["sequence"].astype(str).tolist()
        numbers = pd.to_numeric(table[FOLD], errors="coerce").to_numpy() if FOLD in table else None
        is_of_folds = numbers is not None and np.isin(numbers, np.arange(len(self.models))).all()
        known = self._find_trained(
            len(table), lambda sample, *reading: sample.find_written(sequences, self.flanks, *reading)
        )
        for member, (name, found) in enumerate(known):
            # Of a cross-validation, each row has the prediction of the member that was not trained on it.
            rows = found.rows & (numbers == member) if is_of_folds else found.rows
            if rows.any():
                location = source.location(int(table.index[rows.argmax()]))
                raise ValueError(
                    f"`calibration_file` {location}: {name} was trained on this sequence, and on about "
                    f"{found.share:.0%} of these {len(table)} rows: errors there are smaller than for new sequences, and intervals "
                    "would be too narrow; give held-out rows, such as its validation_predictions.tsv"
                )
        if not is_of_folds:  # whose predictions are those of one member each
            self._warn_of_other_predictions(table, source)

    def _warn_of_other_predictions(self, table: pd.DataFrame, source: FileSource) -> None:
        """Warns of a calibration file with predictions of other models, by some of its rows."""
        rows = np.unique(np.linspace(0, len(table) - 1, N_COMPARED).astype(np.int64))
        some = table.iloc[rows]
        spec = RowSpec("sequence", flanks=self.flanks, max_tokens=self.max_tokens)
        batch = Batch({"sequence": pa.array(some["sequence"].astype(str))}, some.index.to_numpy())
        try:
            sequences = read_rows(batch, source, spec, self.tokenizer, is_trained=True)[0]
        except ValueError:  # these rows cannot be predicted again as they are
            return
        values = self.predict_prepared(sequences).mean(axis=1)
        self._n_kmers = self._n_unknown = 0  # only the rows to predict are judged by their letters
        for output, suffix in enumerate(output_suffixes(self.outputs)):
            columns = [f"prediction{suffix}", f"observed{suffix}"]
            if not set(columns) <= set(some):
                continue
            written, observed = some[columns].to_numpy(np.float64).T
            apart, errors = np.abs(written - values[:, output]), np.abs(written - observed)
            if np.isnan(errors).all() or np.median(apart) <= OTHER_PREDICTIONS * np.nanmedian(errors):
                continue
            row = int(apart.argmax())
            logger.warning(
                "%s: %s is %g, but what is to predict now says %g of this sequence: errors of other predictions give wrong "
                "intervals; write `calibration_file` with run_predict.py, the same models and the same flags",
                *(source.location(int(some.index[row])), columns[0], written[row], values[row, output]),
            )

    def _warn_of_trained(self, sequences: list[str], numbers: np.ndarray, source: Source) -> None:
        """Warns once if a model was trained on sequences that it predicts."""
        if self._has_warned_of_trained:
            return
        for name, found in self._find_trained(
            len(sequences), lambda sample, *reading: sample.find(sequences, *reading)
        ):
            if found.rows.any():
                self._has_warned_of_trained = True
                logger.warning(
                    "%s: %s was trained on this sequence, and on about %.0f %% of the first %d: such predictions say nothing "
                    "about new sequences",
                    *(source.location(int(numbers[found.rows.argmax()])), name, 100 * found.share, len(sequences)),
                )


class _Outside:
    """Tells which sequences and predictions are outside of what any of some models was trained on, and counts them."""

    def __init__(self, ranges: Sequence[TrainingRange]) -> None:
        self._ranges = ranges
        self._n_rows = 0
        self._counts = np.zeros(2 ** len(OUTSIDE_OF), np.int64)
        self._first: tuple[int, int] | None = None  # number in its source, and bases, of the first such row

    def look(self, sequences: Sequence[str], values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Returns the bits of `TrainingRange.outside`, joined over the models, uint8 (n,).

        Args:
            sequences: As the models read them.
            values: float64 array (n, outputs), their predictions.
            numbers: int64 array (n,), their numbers in the source.
        """
        letters, bits = read_letters(sequences), np.zeros(len(sequences), np.uint8)
        for known in self._ranges:
            bits |= known.outside(letters, values)
        self._n_rows += len(bits)
        self._counts += np.bincount(bits, minlength=len(self._counts))
        if self._first is None and bits.any():
            row = int((bits > 0).argmax())
            self._first = int(numbers[row]), len(sequences[row])
        return bits

    def describe(self, source: Source, has_column: bool) -> str | None:
        """Returns a sentence about all rows, or None if nothing is outside."""
        if self._first is None:
            return None
        numbers = np.arange(len(self._counts))
        counts = [int(self._counts[numbers >> bit & 1 > 0].sum()) for bit in range(len(OUTSIDE_OF))]
        reasons = [f"{n} by {what}" for n, what in zip(counts, OUTSIDE_OF, strict=True) if n]
        lengths = [known.lengths for known in self._ranges if known.lengths]
        if counts[0]:
            reasons[0] += f" (trained on {min(low for low, _ in lengths)} to {max(high for _, high in lengths)} bases)"
        (number, n_bases), column = self._first, "; the column outside_training says which" if has_column else ""
        return (
            f"{source.name}: {self._n_rows - self._counts[0]} of {self._n_rows} sequences are outside the training data, "
            f"{', '.join(reasons)}; the first is {source.location(number)} ({n_bases} bases): such predictions are a guess{column}"
        )


def _range_setting(config: PretrainedConfig) -> list[Any]:
    """What a model's configuration says of its training data."""
    return [getattr(config, "sequence_length", None), getattr(config, "training_range", None)]


def _chunks(batches: Iterable[Batch], column: str) -> Iterator[list[Batch]]:
    """Lists of batches, enough for a good sorting by length and few enough to be held."""
    chunk, n_rows, n_bytes = [], 0, 0
    for batch in batches:
        if len(batch.numbers) == 0:
            continue
        chunk.append(batch)
        n_rows, n_bytes = n_rows + len(batch.numbers), n_bytes + batch.columns[column].nbytes
        if n_rows >= CHUNK_ROWS or n_bytes >= CHUNK_BYTES:
            yield chunk
            chunk, n_rows, n_bytes = [], 0, 0
    if chunk:
        yield chunk


def _batches(n_tokens: np.ndarray, tokens_per_batch: int) -> list[np.ndarray]:
    """Rows (int64) of every batch, the longest first, so that a device that is too small fails at once."""
    order, start, batches = np.argsort(-n_tokens, kind="stable"), 0, []
    while start < len(order):
        end = start + max(1, tokens_per_batch // int(n_tokens[order[start]]))
        batches.append(order[start:end])
        start = end
    return batches


def _in_float32(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    """A forward hook: bfloat16 has three digits, too few for outputs such as 11.04 in the unit of the labels."""
    with torch.autocast(output.device.type, enabled=False):
        return layer.forward(inputs[0].float())
