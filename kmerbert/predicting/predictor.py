"""Predictions of fine-tuned checkpoints, one or several together, for lists of DNA and for tables of any length.

Loads regression models, reads sequences as they were read in training, and answers in the unit of the measured values and
in the order of the input. Writes no files and judges no prediction against a measured value.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import distributed, nn
from transformers import PreTrainedModel

from kmerbert.dna.flanks import Flanks
from kmerbert.dna.sequences import reverse_complement as other_strand
from kmerbert.models.kernels import fast_prediction
from kmerbert.models.loading import max_tokens
from kmerbert.models.outputs import output_layer
from kmerbert.predicting.ensemble import check_strands, load_ensemble, output_names
from kmerbert.reading.rows import SPECIAL_TOKENS, Rows, check_frames, read_rows
from kmerbert.reading.sources import Batch, Source, _Strings

logger = logging.getLogger(__name__)
# Rows, and bytes of their sequences, that are held at once, sorted by length and shared among processes.
CHUNK_ROWS, CHUNK_BYTES = 50_000, 1 << 26
# Tokens in one batch, padding included: what keeps the device busy, and a BERT-base in a few gigabytes.
CPU_BATCH_TOKENS, BATCH_TOKENS = 1 << 12, 1 << 16
# Sequences that are shorter or longer than those of training by more than this share are a guess.
LENGTH_TOLERANCE = 0.1
UNKNOWN_ALARM = 0.05  # share of [UNK] among the k-mers, above which somebody should look at the data


class Predicted(NamedTuple):
    """Some rows of a source, as they stand there, with float64 predictions (n, checkpoints, outputs)."""

    batch: Batch
    values: np.ndarray


class Predictor:
    """One regression model, or several that read and predict the same, ready to predict.

    Where processes were launched together (torch.distributed), every process calls the same methods with the same
    sequences: they share the work, and each gets all results.

    Attributes:
        checkpoints: names of the models, in the order of their predictions.
        models: in evaluation mode, with float32 weights; their outputs are in the unit of the labels.
        tokenizer: of all models.
        outputs: names of what is predicted.
        flanks: plasmid bases that the models read around each sequence, or None.
        max_tokens: the most tokens, special ones included, that all models read; None for no limit.
        device: that the models are on.
    """

    def __init__(
        self,
        checkpoints: Sequence[str],
        models: Sequence[PreTrainedModel],
        tokenizer: Any,
        bf16: bool = False,
        reverse_complement: bool = False,
        tokens_per_batch: int | None = None,
    ) -> None:
        """Takes models as `from_pretrained` loads them, and has its arguments' meanings."""
        config = models[0].config
        self.checkpoints, self.models, self.tokenizer = list(checkpoints), list(models), tokenizer
        self.outputs = output_names(config)
        self.flanks = Flanks(**config.flanks) if getattr(config, "flanks", None) else None
        self.max_tokens = min(filter(None, (max_tokens(model.config) for model in models)), default=None)
        self.device, self._bf16, self._both_strands = models[0].device, bf16, reverse_complement
        default = CPU_BATCH_TOKENS if self.device.type == "cpu" else BATCH_TOKENS
        self._tokens_per_batch = tokens_per_batch or default
        self._has_warned = False
        self._n_kmers = self._n_unknown = 0
        if bf16:
            for model in models:
                output_layer(model).register_forward_hook(_in_float32)

    @classmethod
    def from_pretrained(
        cls,
        tokenizer_class: type,
        checkpoints: str | Sequence[str],
        revision: str = "main",
        device: torch.device | str | None = None,
        bf16: bool = False,
        reverse_complement: bool = False,
        tokens_per_batch: int | None = None,
    ) -> "Predictor":
        """Loads checkpoints of run_finetune_regression.py.

        Args:
            tokenizer_class: built with `k`, `stride` and `alphabet`.
            checkpoints: folders or Hub names. A `checkpoint-N` of a run, whose outputs are standardised, is brought to the
                unit of the labels.
            revision: branch, tag or commit of all of them on the Hub.
            device: to compute on; None for the accelerator, where there is one.
            bf16: compute in bfloat16 (torch.autocast), all but the output layer.
            reverse_complement: average the outputs for a sequence as the model reads it, flanks included, and for its
                reverse complement, which is the other strand of the same molecule. Right for a model that was trained on
                both strands or a measurement that has no direction.
            tokens_per_batch: tokens in a batch, padding included; None for what suits the device.

        Raises:
            ValueError: for a folder that is no regression model, models that read or predict different things, and
                `reverse_complement` with k-mers over other letters than ACGT or ACGTN.
        """
        names = [checkpoints] if isinstance(checkpoints, str) else list(checkpoints)
        tokenizer, models = load_ensemble(tokenizer_class, names, revision)
        if reverse_complement:
            check_strands(tokenizer, names, models)
        device = device or torch.accelerator.current_accelerator() or "cpu"
        models = [model.to(device) for model in models]
        return cls(names, models, tokenizer, bf16, reverse_complement, tokens_per_batch)

    def predict(self, sequences: Sequence[str]) -> np.ndarray:
        """Predicts for sequences as a user has them: any case, IUPAC codes, without the flanks that the model reads.

        Returns:
            float64 array (n, outputs): the mean of all checkpoints, in the unit of the labels.

        Raises:
            ValueError: for a sequence that is no DNA, too short or too long, or a prediction that is no number.
        """
        values = [found.values.mean(axis=1) for found in self.predict_stream(_Strings(sequences))]
        return np.concatenate([np.empty((0, len(self.outputs))), *values])

    def predict_stream(
        self,
        source: Source,
        sequence_column: str = "sequence",
        columns: Sequence[str] = (),
        max_seq_length: int | None = None,
        progress: Callable[[int], Any] = lambda n_rows: None,
    ) -> Iterator[Predicted]:
        """Predicts for the rows of a source, in their order; memory does not grow with their number.

        Args:
            source: rows, of which some ten thousand are read at a time.
            sequence_column: of the DNA.
            columns: more columns to read and hand through.
            max_seq_length: cut right ends off to this many tokens, special ones included.
            progress: called with the number of rows done since its last call.

        Raises:
            ValueError: for a row that cannot be used, with its place; for a prediction that is no number.
        """
        limits = {"cut_at": max_seq_length, "max_tokens": self.max_tokens}
        spec = Rows(sequence_column, flanks=self.flanks, **limits)
        for batches in _chunks(source.batches(list(dict.fromkeys([sequence_column, *columns]))), sequence_column):
            sequences: list[str] = []
            for batch in batches:
                own = Batch({sequence_column: batch.columns[sequence_column]}, batch.numbers)
                sequences += read_rows(own, source, spec, self.tokenizer, is_trained=True)[0]
            numbers = np.concatenate([batch.numbers for batch in batches])
            n_kmers = self.tokenizer.n_tokens(np.fromiter(map(len, sequences), np.int64, len(sequences)))
            check_frames(n_kmers, numbers, source, max(getattr(model.config, "n_frames", 1) for model in self.models))
            self._warn_of_lengths(sequences, numbers, source)
            values = self.predict_read(sequences, progress)
            self._check_finite(values, numbers, source)
            parts = np.split(values, np.cumsum([len(batch.numbers) for batch in batches])[:-1])
            yield from map(Predicted, batches, parts)
        if self._n_unknown > UNKNOWN_ALARM * self._n_kmers:
            words = "%s: %.1f %% of the k-mers are [UNK] (they hold a letter outside the alphabet, such as N)"
            logger.warning(words, source.name, 100 * self._n_unknown / self._n_kmers)

    def predict_read(
        self, sequences: Sequence[str], progress: Callable[[int], Any] = lambda n_rows: None
    ) -> np.ndarray:
        """Predicts for sequences as the models read them: upper case, flanks included, no longer than a model allows.

        Sequences are sorted by length, so that a batch has little padding or none, and its size follows from its length.

        Args:
            sequences: n of them, in the letters ACGTN, one k-mer long or longer.
            progress: called with the number of sequences done since its last call.

        Returns:
            float64 array (n, checkpoints, outputs), in the unit of the labels.
        """
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        n_tokens = self.tokenizer.n_tokens(lengths) + SPECIAL_TOKENS
        batches = _batches(n_tokens, self._tokens_per_batch)
        is_shared = distributed.is_available() and distributed.is_initialized()
        rank, n_processes = (distributed.get_rank(), distributed.get_world_size()) if is_shared else (0, 1)
        outputs = torch.zeros((len(sequences), len(self.models), len(self.outputs)), device=self.device)
        n_done = 0
        in_bf16 = torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16)
        with torch.inference_mode(), fast_prediction(self.models, self._bf16), in_bf16:
            for rows in batches[rank::n_processes]:
                batch = [sequences[row] for row in rows.tolist()]
                found = self._run(batch)
                if self._both_strands:
                    found = (found + self._run([other_strand(sequence) for sequence in batch])) / 2
                outputs[self._to_device(rows)] = found
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
        self._n_kmers += np.count_nonzero(is_token) - SPECIAL_TOKENS * len(ids)
        inputs = {"input_ids": self._to_device(ids).long()}
        if not is_token[:, -1].all():
            inputs["attention_mask"] = self._to_device(is_token).long()
        return torch.stack([model(**inputs).logits.float() for model in self.models], dim=1)

    def _to_device(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":  # from pinned memory the processor need not wait for the copy
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _check_finite(self, values: np.ndarray, numbers: np.ndarray, source: Source) -> None:
        if not (is_wrong := ~np.isfinite(values)).any():
            return
        row, checkpoint, output = np.argwhere(is_wrong)[0]
        raise ValueError(
            f"{source.place(int(numbers[row]))}: {self.checkpoints[checkpoint]} predicts {values[row, checkpoint, output]} for "
            f"{self.outputs[output]}: its weights are damaged or its training diverged; take another checkpoint"
        )

    def _warn_of_lengths(self, sequences: list[str], numbers: np.ndarray, source: Source) -> None:
        """Says once when sequences are far from those that a model was trained on."""
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        for name, model in zip(self.checkpoints, self.models, strict=True):
            shortest, longest = getattr(model.config, "sequence_length", (0, np.inf))
            is_far = (lengths < shortest * (1 - LENGTH_TOLERANCE)) | (lengths > longest * (1 + LENGTH_TOLERANCE))
            if self._has_warned or not is_far.any():
                continue
            self._has_warned = True
            row = int(is_far.argmax())
            logger.warning(
                "%s: the model reads %d bases, but %s was trained on %d to %d: such predictions are a guess",
                *(source.place(int(numbers[row])), lengths[row], name, shortest, longest),
            )


def _chunks(batches: Iterable[Batch], column: str) -> Iterator[list[Batch]]:
    """Lists of batches, enough for a good sorting by length and few enough to be held."""
    taken, n_rows, n_bytes = [], 0, 0
    for batch in batches:
        if len(batch.numbers) == 0:
            continue
        taken.append(batch)
        n_rows, n_bytes = n_rows + len(batch.numbers), n_bytes + batch.columns[column].nbytes
        if n_rows >= CHUNK_ROWS or n_bytes >= CHUNK_BYTES:
            yield taken
            taken, n_rows, n_bytes = [], 0, 0
    if taken:
        yield taken


def _batches(n_tokens: np.ndarray, tokens_per_batch: int) -> list[np.ndarray]:
    """Rows (int64) of every batch, longest first, which is where a device that is too small says so."""
    order, start, batches = np.argsort(-n_tokens, kind="stable"), 0, []
    while start < len(order):
        end = start + max(1, tokens_per_batch // int(n_tokens[order[start]]))
        batches.append(order[start:end])
        start = end
    return batches


def _in_float32(layer: nn.Linear, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    """A forward hook: bfloat16 has three digits, too few for outputs such as 11.04 in the unit of the labels."""
    with torch.autocast(output.device.type, enabled=False):
        return nn.functional.linear(inputs[0].float(), layer.weight, layer.bias)
