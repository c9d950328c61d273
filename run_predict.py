"""Predicts with a fine-tuned model, or the mean of several, for any number of sequences, in input order.

Reads what run_finetune_regression.py reads (tables, FASTA, a Hub dataset, headerless challenge files). The ending of
--output_file says what is written: .tsv or .csv (also compressed) or .parquet for `id sequence prediction`, and `observed`
with --label_column; .json for `{"0": prediction}`, .txt for `sequence<TAB>prediction`, as the DREAM Challenge wants it.
Several models add `checkpoint_sd`, the standard deviation between them (divisor: their number less one). With
--calibration_file, predictions of held-out rows next to their measured values, `lower` and `upper` are added: intervals
that hold --interval_coverage of the measured values of such rows.

    python run_predict.py --model_name_or_path runs/expression --input_file promoters.fa --output_file predictions.tsv
    python run_predict.py --model_name_or_path runs/seed1,runs/seed2 --input_file test.tsv --label_column expression \\
        --output_file predictions.tsv
    python run_predict.py --model_name_or_path runs/expression --calibration_file runs/expression/validation_predictions.tsv \\
        --input_file promoters.fa --output_file predictions.tsv
    accelerate launch --config_file accelerate_config.yaml run_predict.py --model_name_or_path runs/expression --bf16 \\
        --input_file test_sequences.txt --keys_file sample_submission.json --output_file submission.json
"""

import kmerbert.cli.interruption  # noqa: F401 (Ctrl-C during the imports)

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from kmerbert.cli.flags import PredictionArguments, split_names
from kmerbert.cli.launch import start
from kmerbert.cli.parser import parse
from kmerbert.cli.run import run
from kmerbert.predicting.inputs import Inputs, open_dataset, open_file, read_keys
from kmerbert.predicting.predictor import Predictor
from kmerbert.predicting.writers import check_output, write_tables

logger = logging.getLogger(__name__)
INPUT_FILES = ("input_file", "keys_file", "calibration_file")
SETTINGS = ("bf16", "reverse_complement", "tokens_per_batch", "calibration_file", "interval_coverage")


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Runs the script; returns the number of rows, the seconds they took, and rows a second."""
    (args,) = parse([PredictionArguments], argv, __doc__)
    names, labels = split_names(args.model_name_or_path), split_names(args.label_column)
    kept = split_names(args.keep_columns)

    state = start(args.use_cpu)
    if args.input_file:
        source = open_file(args.input_file, args.sequence_column, labels, args.sheet)
    else:
        source = open_dataset(args.dataset_name, args.dataset_config_name, args.dataset_split)
    keys = read_keys(args.keys_file) if args.keys_file else None
    settings = {name: getattr(args, name) for name in SETTINGS}
    predictor = Predictor.from_pretrained(names, args.model_revision, state.device, **settings)
    output = Path(args.output_file)
    files = {name: getattr(args, name) for name in INPUT_FILES}
    check_output(output, predictor.outputs, args.overwrite, keys, files, kept=kept)
    inputs = Inputs.choose(source, args.sequence_column, args.id_column, labels, predictor.outputs, kept)

    began = time.perf_counter()
    with tqdm(unit=" sequences", disable=None if state.is_main_process else True) as bar:
        tables = predictor.predict_tables(inputs, args.max_seq_length, bar.update)
        n_rows = write_tables(output, tables, keys, source.name) if state.is_main_process else sum(map(len, tables))
    seconds = time.perf_counter() - began
    logger.info(
        "%d sequences in %.1f s, %.0f a second, %d process(es) on %s, %s: %s",
        *(
            n_rows,
            seconds,
            n_rows / seconds,
            state.num_processes,
            state.device,
            "bf16" if args.bf16 else "fp32",
            output,
        ),
    )
    state.wait_for_everyone()
    state.destroy_process_group()  # processes on CPUs that exit without this may abort
    return {"n_rows": n_rows, "seconds": seconds, "rows_per_second": n_rows / seconds}


if __name__ == "__main__":
    run(main, "no predictions were written")
