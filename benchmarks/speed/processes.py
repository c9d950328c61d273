"""What 1, 2 and 4 processes on CPUs make of the same training, and what more GPUs would send each other, on paper.

    python -m benchmarks.speed.processes
    python -m benchmarks.speed.processes --processes 1 2 --hidden_size 256 --layers 4 --global_batch 64 --steps 20

Every run is launched by accelerate with one thread to a process, on the same rows in the same order and with the same global
batch, without dropout. The speed is that of the steps after the first ones: each run is made twice, short and long, and the
difference counts. More processes than cores cannot be faster. "Differs" is the largest difference between the losses of any
step and those of one process. The second table has, for each optimizer step, the bytes that each GPU sends when gradients
are added up in a ring, 2 (N - 1) / N times 4 bytes a weight, and how long that and the computation take, at rates that are
assumed, not measured: they are flags.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measuring import ROOT, as_flags, encoder_products, processor_name, words, write_table

LAUNCH = (
    "-m accelerate.commands.launch --config_file accelerate_config.yaml --mixed_precision=no --main_process_port=0 "
    "--num_processes={n_processes} run_finetune_regression.py --use_cpu"
)
SKIPPED = 5  # steps of the short run
N_BASES, N_TOKENS = 110, 107  # of a promoter, and its 6-mers with [CLS] and [SEP]
# Width, layers and weights without the embeddings of unused positions; sequences in a step of each GPU.
ON_PAPER = {"BERT-base, 6-mers": (768, 12, 89.2e6, 256), "3 layers of 512, 3-mers": (512, 3, 10.0e6, 1024)}


def train(
    rows: Path, folder: Path, n_processes: int, steps: int, args: argparse.Namespace
) -> tuple[float, list[float]]:
    """Seconds of a run, and the loss of each of its steps."""
    width, output_dir = args.hidden_size, folder / f"{n_processes}_{steps}"
    network = f"hidden_size={width},num_hidden_layers={args.layers},num_attention_heads={max(1, width // 64)}"
    network += f",intermediate_size={4 * width},hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0"
    settings = {
        "train_file": rows,
        "output_dir": output_dir,
        "token_cache_dir": folder / "tokens",
        "validation_split_percentage": 0,
        "eval_strategy": "no",
        "save_strategy": "no",
        "max_steps": steps,
        "logging_steps": 1,
        "model_type": "bert",
        "config_overrides": network,
        "per_device_train_batch_size": args.global_batch // n_processes,
        "disable_tqdm": True,
    }
    command = [sys.executable, *words(LAUNCH, n_processes=n_processes), *as_flags(settings)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, check=False, env=environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    history = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
    return history[-1]["train_runtime"], [entry["loss"] for entry in history if "loss" in entry]


def measure(args: argparse.Namespace) -> list[dict[str, float]]:
    """A line for each number of processes; prints them."""
    print(f"{'processes':<12}{'sequences/s':>12}{'of linear':>12}{'loss differs by':>18}")
    table: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.tsv"
        write_table(rows, args.global_batch * 8, N_BASES)
        for n_processes in args.processes:
            short, _ = train(rows, Path(folder), n_processes, SKIPPED, args)
            long, losses = train(rows, Path(folder), n_processes, SKIPPED + args.steps, args)
            rate = args.global_batch * args.steps / (long - short)
            first = table[0] if table else {"rate": rate, "losses": losses, "processes": n_processes}
            share = rate / (first["rate"] * n_processes / first["processes"])
            differs = float(np.abs(np.subtract(losses, first["losses"])).max())
            table.append({"processes": n_processes, "rate": rate, "share": share, "differs": differs, "losses": losses})
            print(f"{n_processes:<12}{rate:>12,.1f}{share:>12.0%}{differs:>18.1e}", flush=True)
    return table


def sent_bytes(n_weights: float, n_processes: int) -> float:
    """Bytes that each process sends in a step when float32 gradients are added up in a ring (doi:10.1016/j.jpdc.2008.09.002).

    >>> sent_bytes(10, 2), sent_bytes(10, 4)
    (40.0, 60.0)
    """
    return 2 * (n_processes - 1) / n_processes * 4 * n_weights


def on_paper(args: argparse.Namespace) -> None:
    """Prints what a step of some networks computes and sends on 4 GPUs, and on 4 machines with 8 each."""
    print(f"\n{'network':<26}{'GPUs':>6}{'MB sent':>10}{'ms sending':>12}{'ms computing':>14}{'of linear':>11}")
    for name, (width, n_layers, n_weights, batch) in ON_PAPER.items():
        operations = 3 * encoder_products(N_TOKENS, n_layers, width, 4 * width)
        computing = batch * operations / (args.teraflops * 1e12)
        for n_processes, gigabytes in ((4, args.link), (32, args.network)):
            sent = sent_bytes(n_weights, n_processes)
            sending = sent / (gigabytes * 1e9)
            # Gradients are sent while the backward pass, two thirds of the step, still computes; the last bucket is not hidden.
            exposed = max(sending - computing * 2 / 3, sending * min(1, 25e6 / (4 * n_weights)))
            print(
                f"{name:<26}{n_processes:>6}{sent / 1e6:>10.0f}{1e3 * sending:>12.1f}{1e3 * computing:>14.1f}"
                f"{computing / (computing + exposed):>11.0%}"
            )


def main(argv: Sequence[str] | None = None) -> list[dict[str, float]]:
    """Prints both tables and returns the lines of the first one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2, 4], help="how many, the smallest number first"
    )
    parser.add_argument("--hidden_size", type=int, default=256, help="width of the network")
    parser.add_argument("--layers", type=int, default=4, help="layers of the network")
    parser.add_argument("--global_batch", type=int, default=64, help="sequences in a step, of all processes together")
    parser.add_argument("--steps", type=int, default=20, help="steps that are counted")
    parser.add_argument("--teraflops", type=float, default=395, help="assumed rate of a GPU: half of an H200's in bf16")
    parser.add_argument("--link", type=float, default=300, help="assumed GB/s that a GPU sends within a machine")
    parser.add_argument("--network", type=float, default=40, help="assumed GB/s that a GPU sends between machines")
    args = parser.parse_args(argv)
    if any(args.global_batch % n for n in args.processes):
        parser.error(f"--global_batch {args.global_batch} must divide by each of --processes")
    print(f"{processor_name()}, {os.cpu_count()} cores; one thread to a process\n")
    table = measure(args)
    on_paper(args)
    return table


if __name__ == "__main__":
    main()
