"""What the two challenge systems cost at the size of the whole challenge: seconds, memory and disk of every stage.

Simulates 6,739,258 promoters in the challenge's format and a plasmid around them, and takes both recipes through all stages
with the real model sizes: reading, checking, tokenising and dividing the rows; the same again, from the cache; grouping
near duplicates; training for some hundred steps. Every stage is a process of its own. Batches are smaller than the recipes'
(`--batch_size`), because this is meant for CPUs; steps, not epochs.

    python -m benchmarks.speed.full_size --folder runs/full_size
    python -m benchmarks.speed.full_size --folder runs/full_size --rows 100000 --steps 10
"""

import argparse
import json
import logging
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import best_seconds, bytes_on_disk, peak_memory, processor_name, run_apart, words

ALL_ROWS = 6_739_258
# The reporter plasmid of the challenge has 8,294 bases, its 80 N begin at base 3,648 (0-based) between these constant ends.
PLASMID_LENGTH, INSERT_START, INSERT_LENGTH = 8294, 3648, 80
LEFT, RIGHT = "TGCATTTTTTTCACATC", "GGTTACGGCTGTT"

SIMULATE = "data/simulate_promoters.py --rows {rows} --output_file {folder}/train_sequences.txt --overwrite"
SHORT = (
    "--train_file {folder}/train_sequences.txt --max_steps {steps} --per_device_train_batch_size {batch_size} --bf16 "
    "--gradient_accumulation_steps 1 --eval_strategy no --eval_epochs none --early_stopping_patience none "
    "--lr_scheduler_type linear --lr_scheduler_kwargs {{}} --warmup_steps 10 --max_eval_samples 64 "
    "--logging_steps {logging_steps} --disable_tqdm true --overwrite_output_dir"
)
DAVULURI = (
    "run_finetune_regression.py --config recipes/davuluri/finetune_regression_as_coded.yaml --model_name_or_path= "
    "--validation_rows {davuluri_rows} --token_cache_dir {folder}/davuluri/tokens --output_dir {folder}/davuluri/run "
    + SHORT
)
TOP_FIFTH = (
    "run_pretrain_mlm.py --config recipes/sysu/pretrain_mlm.yaml --flank_file {folder}/plasmid.txt "
    "--validation_rows {top_rows} --token_cache_dir {folder}/sysu_mlm/tokens --output_dir {folder}/sysu_mlm/run "
    + SHORT
)
FRAMES = (
    "run_finetune_regression.py --config recipes/sysu/finetune_regression.yaml --model_name_or_path {folder}/sysu_mlm/run "
    "--validation_rows {frames_rows} --test_rows {test_rows} --max_predict_samples 64 "
    "--token_cache_dir {folder}/sysu/tokens --output_dir {folder}/sysu/run " + SHORT
)
SIMILAR = FRAMES + " --similar_sequences {identity}"


class Stage(NamedTuple):
    """A line of the table: a command, and the file or folder in which it leaves its results.

    With `only_reads`, a training script stops where it would build a model.
    """

    title: str
    command: str
    output: str
    only_reads: bool = False


STAGES = (
    Stage("simulate the rows", SIMULATE, "train_sequences.txt"),
    Stage("davuluri: read, check, tokenise, divide", DAVULURI, "davuluri/tokens", only_reads=True),
    Stage("davuluri: the same from the cache", DAVULURI, "davuluri/tokens", only_reads=True),
    Stage("davuluri: train BERT-base, {steps} steps of {batch_size}", DAVULURI, "davuluri/run"),
    Stage("sysu: the top fifth with flanks", TOP_FIFTH, "sysu_mlm/tokens", only_reads=True),
    Stage("sysu: pretrain 3 layers, {steps} steps of {batch_size}", TOP_FIFTH, "sysu_mlm/run"),
    Stage("sysu: all rows with flanks", FRAMES, "sysu/tokens", only_reads=True),
    Stage("sysu: divide by near duplicates ({identity:.0%})", SIMILAR, "sysu/tokens", only_reads=True),
    Stage("sysu: train on three frames, {steps} steps of {batch_size}", FRAMES, "sysu/run"),
)


def write_plasmid(path: Path) -> None:
    """Writes a random plasmid with the insert and the constant ends where the challenge's has them."""
    letters = random.Random(0)
    before = "".join(letters.choices("ACGT", k=INSERT_START - len(LEFT)))
    after = "".join(letters.choices("ACGT", k=PLASMID_LENGTH - INSERT_START - INSERT_LENGTH - len(RIGHT)))
    path.write_text(before + LEFT + "N" * INSERT_LENGTH + RIGHT + after + "\n")


def settings(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    """The values of the commands' braces; held-out rows as in the recipes, scaled to the number of rows."""
    held_out = {"davuluri_rows": 100_000, "top_rows": 88_160, "frames_rows": 152_786, "test_rows": 76_393}
    counts = {name: round(n * args.rows / ALL_ROWS) for name, n in held_out.items()}
    return vars(args) | counts | {"folder": folder, "logging_steps": max(1, args.steps // 5)}


def read(argv: Sequence[str]) -> None:
    """Does what a training script does before it builds a model, and prints its peak memory.

    Args:
        argv: Name of the script, and its flags.
    """
    from kmerbert.cli import flags
    from kmerbert.cli.parser import parse
    from kmerbert.models.loading import load_config, load_tokenizer, max_tokens
    from kmerbert.training.flags import PretrainingArguments, RegressionArguments
    from kmerbert.training.splits import load_flanks, load_splits
    from modeling_kmer_regression import KmerBertConfig

    pretraining = (flags.PretrainingDataArguments, flags.ModelArguments, PretrainingArguments)
    regression = (flags.RegressionDataArguments, flags.RegressionModelArguments, RegressionArguments)
    script, *rest = argv
    data_args, model_args, training_args = parse(pretraining if script == "run_pretrain_mlm.py" else regression, rest)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tokenizer = load_tokenizer(**model_args.checkpoint, **model_args.kmers)
    config = load_config(tokenizer, **model_args.checkpoint, **model_args.architecture)
    if n_frames := getattr(model_args, "reading_frames", None):
        config = KmerBertConfig.from_bert(config, n_frames)
    labels = tuple(getattr(data_args, "label_columns", ()))
    load_splits(data_args, training_args, tokenizer, max_tokens(config), labels, load_flanks(data_args, config))
    print(json.dumps({"memory": peak_memory()}))


def main(argv: Sequence[str] | None = None) -> list[dict[str, float]]:
    """Prints the table; returns `seconds`, and bytes of `memory` and `disk`, of every stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="a new folder for 25 GB of rows, token files and models")
    parser.add_argument("--rows", type=int, default=ALL_ROWS, help="promoters to simulate")
    parser.add_argument("--steps", type=int, default=200, help="training steps of every model")
    parser.add_argument("--batch_size", type=int, default=8, help="sequences in a training step")
    parser.add_argument("--identity", type=float, default=0.9, help="least identity of near duplicates")
    args = parser.parse_args(argv)
    folder = Path(args.folder).resolve()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"--folder {folder} is not empty: name another")
    folder.mkdir(parents=True, exist_ok=True)
    write_plasmid(folder / "plasmid.txt")
    print(f"{args.rows:,} rows; {processor_name()}, {os.cpu_count()} CPU cores")
    print(f"{'':<52}{'seconds':>9}{'GB memory':>11}{'GB disk':>9}", flush=True)
    values, table = settings(args, folder), []
    for stage in STAGES:
        runner = ("benchmarks.speed.full_size", "--read") if stage.only_reads else ("benchmarks.measuring",)
        command = [*runner, *words(stage.command, **values)]
        seconds, figures = best_seconds(lambda command=command: run_apart(*command), 1)
        table.append(figures | {"seconds": seconds, "disk": bytes_on_disk(folder / stage.output)})
        title, gigabytes = stage.title.format(**values), [table[-1][name] / 1e9 for name in ("memory", "disk")]
        print(f"{title:<52}{seconds:>9.1f}{gigabytes[0]:>11.2f}{gigabytes[1]:>9.2f}", flush=True)
    return table


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(sys.argv[2:])
    else:
        main()
