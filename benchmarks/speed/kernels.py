"""What each trick of `kmerbert/models/kernels.py`, and the scoring of masked tokens alone, gains on the recipes.

    python -m benchmarks.speed.kernels
    python -m benchmarks.speed.kernels --recipes native best davuluri --steps 20

Trains with every recipe for a few steps on random DNA, on one CPU core, by the training scripts themselves: with all tricks,
and with one of them switched off at a time. Batches are small enough for one core. Shown is the CPU time of a step (median of
a run without its first steps, best of some runs), and in brackets how many times as long a step takes without the trick:

- first token: the last layer of a BERT that answers from its first token computes that token alone;
- attention: transformers' eager attention instead of torch's fused one;
- oneDNN: float32 products by oneDNN where that is as exact as torch's default (elsewhere this changes nothing);
- masked: a masked language model scores the hidden tokens alone.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from unittest.mock import patch

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch are imported

import torch
from transformers import PreTrainedModel

import run_finetune_regression
import run_pretrain_mlm
from benchmarks.measuring import ROOT, device_name, versions, words, write_table
from benchmarks.training import SKIPPED, timed_steps
from kmerbert.models import kernels

N_BASES = 110
SETTINGS = (
    "--train_file {folder}/rows.tsv --output_dir {folder}/run --overwrite_output_dir --token_cache_dir {folder}/tokens "
    "--max_steps {steps} --per_device_train_batch_size {batch_size} --gradient_accumulation_steps 1 --use_cpu "
    "--eval_strategy no --eval_epochs none --early_stopping_patience none --save_strategy no --validation_rows none "
    "--validation_split_percentage 0 --lr_scheduler_type linear --lr_scheduler_kwargs {{}} --disable_tqdm true"
)
ALL_ON = "all tricks"
# How each trick is switched off.
TRICKS: dict[str, Callable[[], AbstractContextManager]] = {
    "first token": lambda: patch.object(kernels, "first_token_only", lambda model: nullcontext()),
    "attention": lambda: patch.object(PreTrainedModel, "set_attn_implementation", lambda *_: None),
    "oneDNN": lambda: patch.object(kernels, "onednn_products", nullcontext),
    "masked": lambda: patch.object(run_pretrain_mlm, "score_masked_tokens", lambda model: None),
}


class Recipe(NamedTuple):
    """A script and its flags, sequences in a batch, and the tricks that can matter to it."""

    script: ModuleType
    flags: str
    batch_size: int
    tricks: tuple[str, ...]


PRETRAIN, REGRESSION = run_pretrain_mlm, run_finetune_regression
# As `make demo` fine-tunes what it pretrained.
SMOKE_NETWORK = (
    " --model_type modernbert --k 5 --config_overrides "
    "hidden_size=64,num_hidden_layers=2,num_attention_heads=4,intermediate_size=128"
)
# As it is pretrained; in float32.
NATIVE_NETWORK = (
    " --bf16 false --model_type modernbert --k 6 --config_overrides "
    "hidden_size=128,num_hidden_layers=4,num_attention_heads=4,intermediate_size=256"
)
SYSU_NETWORK = " --config_overrides hidden_size=512,num_hidden_layers=3,num_attention_heads=8,intermediate_size=2048"
NO_PLASMID = " --flank_length none --mask_region= --top_fraction none"
# The masked language model of recipes/native and those of recipes/best compute in bfloat16; convolutions have no attention and choose masked tokens anyway.
RECIPES = {
    "smoke_mlm": Recipe(PRETRAIN, "smoke/pretrain_mlm.yaml", 64, ("attention", "oneDNN", "masked")),
    "smoke": Recipe(REGRESSION, "smoke/finetune_regression.yaml" + SMOKE_NETWORK, 64, ("attention", "oneDNN")),
    "native": Recipe(REGRESSION, "native/finetune_regression.yaml" + NATIVE_NETWORK, 64, ("attention", "oneDNN")),
    "native_mlm": Recipe(PRETRAIN, "native/pretrain_mlm.yaml", 64, ("attention", "masked")),
    "best_mlm": Recipe(PRETRAIN, "best/pretrain_mlm.yaml", 256, ()),
    "best": Recipe(REGRESSION, "best/finetune_regression.yaml", 256, ()),
    "davuluri": Recipe(
        REGRESSION,
        "davuluri/finetune_regression_as_reported.yaml --model_name_or_path=",
        8,
        ("first token", "attention", "oneDNN"),
    ),
    "sysu_mlm": Recipe(PRETRAIN, "sysu/pretrain_mlm.yaml" + NO_PLASMID, 32, ("attention", "oneDNN", "masked")),
    "sysu": Recipe(
        REGRESSION,
        "sysu/finetune_regression.yaml --test_rows none" + SYSU_NETWORK,
        32,
        ("first token", "attention", "oneDNN"),
    ),
}


def seconds_of_step(recipe: Recipe, folder: Path, batch_size: int, steps: int, bf16: bool) -> float:
    """CPU seconds of a training step."""
    template = f"--config {{root}}/recipes/{recipe.flags} {SETTINGS}" + " --bf16" * bf16
    argv = words(template, root=ROOT, folder=folder, batch_size=batch_size, steps=steps + SKIPPED)
    with redirect_stdout(sys.stderr), timed_steps(time.process_time) as timer:  # standard output has only the table
        recipe.script.main(argv)
    return timer.seconds()


def measure(recipe: Recipe, batch_size: int, steps: int, rounds: int, bf16: bool) -> dict[str, float]:
    """CPU seconds of a step with all tricks, and without each of those that can matter; the best of some rounds."""
    tricks = [name for name in recipe.tricks if not (bf16 and name == "oneDNN")]
    switches = {ALL_ON: nullcontext} | {name: TRICKS[name] for name in tricks}
    seconds = dict.fromkeys(switches, float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder) / "rows.tsv", 8 * batch_size, N_BASES)
        for name, switch_off in [*switches.items()] * rounds:
            with switch_off():
                seconds[name] = min(seconds[name], seconds_of_step(recipe, Path(folder), batch_size, steps, bf16))
    return seconds


def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    """Prints the table; returns CPU seconds of a step by recipe and by what is switched off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), help="default: all")
    parser.add_argument("--steps", type=int, default=10, help="steps that are counted (default: 10)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each, of which the best counts (default: 2)")
    parser.add_argument("--batch_size", type=int, help="sequences in a batch (default: some for each recipe)")
    parser.add_argument(
        "--bf16", action="store_true", help="compute every recipe in bfloat16, not only those that say so"
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(f"{device_name(torch.device('cpu'))}; {versions('torch', 'transformers')}")
    print(f"float32 products by {'oneDNN' if kernels.onednn_is_exact() else 'the default library of torch'}")
    print(f"milliseconds of CPU time for a step of sequences of {N_BASES} bases\n")
    print(f"{'recipe':<12}{'batch':>6}{ALL_ON:>12}" + "".join(f"{'without ' + name:>22}" for name in TRICKS))
    table = {}
    for name in args.recipes:
        batch_size = args.batch_size or RECIPES[name].batch_size
        table[name] = seconds = measure(RECIPES[name], batch_size, args.steps, args.rounds, args.bf16)
        ratios = [
            f"{1000 * seconds[t]:,.1f} ({seconds[t] / seconds[ALL_ON]:.2f})" if t in seconds else "" for t in TRICKS
        ]
        columns = "".join(f"{ratio:>22}" for ratio in ratios)
        print(f"{name:<12}{batch_size:>6}{1000 * seconds[ALL_ON]:>12,.1f}{columns}".rstrip(), flush=True)
    return table


if __name__ == "__main__":
    main()
