"""Predicts with a fine-tuned model, or the mean of several, for any number of sequences, in input order.

Reads what run_finetune_regression.py reads (tables, FASTA, a Hub dataset, headerless challenge files). The ending of
--output_file says what is written: .tsv or .csv (each also .gz) or .parquet for `id sequence prediction`, and `observed`
with --label_column; .json for `{"0": prediction}`, .txt for `sequence<TAB>prediction`, as the DREAM Challenge wants it.
Several models add `checkpoint_sd`, the standard deviation between them (divisor: their number less one). With
--calibration_file, predictions of held-out rows beside their measured values, `lower` and `upper` are added: intervals
that hold --interval_coverage of the measured values of such rows.

    python run_predict.py --model_name_or_path runs/expression --input_file promoters.fa --output_file predictions.tsv
    python run_predict.py --model_name_or_path runs/seed1,runs/seed2 --input_file test.tsv --label_column expression \\
        --output_file predictions.tsv
    python run_predict.py --model_name_or_path runs/expression --calibration_file runs/expression/validation_predictions.tsv \\
        --input_file promoters.fa --output_file predictions.tsv
    accelerate launch --config_file accelerate_config.yaml run_predict.py --model_name_or_path runs/expression --bf16 \\
        --input_file test_sequences.txt --keys_file sample_submission.json --output_file submission.json
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm
from transformers.hf_argparser import HfArg

import modeling_kmer_conv  # noqa: F401 (makes its models known to AutoModelForSequenceClassification)
import modeling_kmer_regression  # noqa: F401
from kmerbert.command_line import parse, run
from kmerbert.devices import start
from kmerbert.inference import Predictor
from kmerbert.prediction_inputs import Inputs, open_dataset, open_file, read_keys
from kmerbert.prediction_tables import read_intervals
from kmerbert.prediction_writers import check_output, prediction_table, write_tables
from tokenization_kmer import KmerTokenizer

logger = logging.getLogger(__name__)
FILES = ("input_file", "keys_file", "calibration_file")  # which are read


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


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Runs the script; returns the number of rows, the seconds they took, and rows a second."""
    (args,) = parse([PredictionArguments], argv, description=__doc__.split("\n")[0])
    models, labels = listed(args.model_name_or_path), listed(args.label_column)

    state = start(args.use_cpu)
    if args.input_file:
        source = open_file(args.input_file, args.sequence_column, labels)
    else:
        source = open_dataset(args.dataset_name, args.dataset_config_name, args.dataset_split)
    keys = read_keys(args.keys_file) if args.keys_file else None
    settings = {name: getattr(args, name) for name in ("bf16", "reverse_complement", "tokens_per_batch")}
    predictor = Predictor.from_pretrained(KmerTokenizer, models, args.model_revision, state.device, **settings)
    output, names = Path(args.output_file), predictor.outputs
    interval = None
    if args.calibration_file:
        interval = read_intervals(args.calibration_file, args.interval_coverage, names).around
    check_output(output, names, args.overwrite, keys, {f"--{name}": getattr(args, name) for name in FILES})
    inputs = Inputs.find(source, args.sequence_column, args.id_column, labels, names)

    began = time.perf_counter()
    with tqdm(unit=" sequences", disable=None if state.is_main_process else True) as bar:
        found = predictor.predict_stream(source, inputs.sequence, inputs.columns, args.max_seq_length, bar.update)
        tables = (prediction_table(*inputs.read(batch), values, names, interval) for batch, values in found)
        n_rows = write_tables(output, tables, keys, source.name) if state.is_main_process else sum(map(len, tables))
    seconds = time.perf_counter() - began
    precision = "bf16" if args.bf16 else "fp32"
    words = "%d sequences in %.1f s, %.0f a second, %d process(es) on %s, %s: %s"
    logger.info(words, n_rows, seconds, n_rows / seconds, state.num_processes, state.device, precision, output)
    state.wait_for_everyone()
    state.destroy_process_group()  # processes on CPUs that leave without this may abort as they exit
    return {"n_rows": n_rows, "seconds": seconds, "rows_per_second": n_rows / seconds}


if __name__ == "__main__":
    run(main, "no predictions were written")
