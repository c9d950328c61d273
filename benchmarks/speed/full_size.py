"""What the two challenge systems cost at the size of the whole challenge: seconds, memory and disk of every stage.

Simulates 6,739,258 promoters in the challenge's format and a plasmid around them, and takes both recipes through all stages
with the real model sizes: reading, checking, tokenising and dividing the rows; the same again, from the cache; grouping
near duplicates; training for some hundred steps. Every stage is a process of its own, whose peak memory the operating
system reports. Batches are smaller than the recipes' (`--batch_size`), because this is meant for CPUs; steps, not epochs.

    python -m benchmarks.speed.full_size --folder runs/full_size
    python -m benchmarks.speed.full_size --folder runs/full_size --rows 100000 --steps 10
"""

import argparse
import logging
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALL_ROWS = 6_739_258
# The reporter plasmid of the challenge has 8,294 bases, its 80 N begin at base 3,648 (0-based) between these constant ends.
PLASMID_LENGTH, INSERT_START, INSERT_LENGTH = 8294, 3648, 80
LEFT, RIGHT = "TGCATTTTTTTCACATC", "GGTTACGGCTGTT"


def write_plasmid(path: Path) -> None:
    """Writes a random plasmid with the insert and the constant ends where the challenge's has them."""
    letters = random.Random(0)
    before = "".join(letters.choices("ACGT", k=INSERT_START - len(LEFT)))
    after = "".join(letters.choices("ACGT", k=PLASMID_LENGTH - INSERT_START - INSERT_LENGTH - len(RIGHT)))
    path.write_text(before + LEFT + "N" * INSERT_LENGTH + RIGHT + after + "\n")


def stages(folder: Path, rows: int, steps: int, batch_size: int, identity: float) -> list[tuple[str, list[str], Path]]:
    """Every stage: what it is, its command, and the folder or file that it fills."""
    share = rows / ALL_ROWS  # exact numbers of held-out rows, as a part of the recipes' own
    train, plasmid = str(folder / "train_sequences.txt"), str(folder / "plasmid.txt")
    short = [
        "--eval_strategy",
        "no",
        "--eval_epochs",
        "none",
        "--early_stopping_patience",
        "none",
        "--disable_tqdm",
        "true",
    ]
    short += [
        "--max_eval_samples",
        "64",
        "--max_steps",
        str(steps),
        "--logging_steps",
        str(max(1, steps // 5)),
        "--bf16",
    ]
    short += [
        "--per_device_train_batch_size",
        str(batch_size),
        "--gradient_accumulation_steps",
        "1",
        "--warmup_steps",
        "10",
    ]
    short += ["--lr_scheduler_type", "linear", "--lr_scheduler_kwargs", "{}", "--overwrite_output_dir"]

    def words(name: str, recipe: str, n_validation: int, *more: str) -> list[str]:
        places = ["--token_cache_dir", str(folder / name / "tokens"), "--output_dir", str(folder / name / "run")]
        n_validation = ["--validation_rows", str(round(n_validation * share))]
        return ["--config", f"recipes/{recipe}.yaml", "--train_file", train, *places, *n_validation, *more, *short]

    davuluri = words("davuluri", "davuluri/finetune_regression_as_coded", 100_000, "--model_name_or_path=")
    top = words("sysu_mlm", "sysu/pretrain_mlm", 88_160, "--flank_file", plasmid)
    frames = words(
        "sysu", "sysu/finetune_regression", 152_786, "--test_rows", str(round(76_393 * share)), "--max_predict_samples", "64",
        "--model_name_or_path", str(folder / "sysu_mlm" / "run"),
    )  # fmt: skip
    read = [sys.executable, "-m", "benchmarks.speed.full_size", "--read"]
    run = [sys.executable, "run_finetune_regression.py"]
    simulate = [
        sys.executable,
        "data/simulate_promoters.py",
        "--rows",
        str(rows),
        "--output_file",
        train,
        "--overwrite",
    ]
    size = f"{steps} steps of {batch_size}"
    return [
        ("simulate the rows", simulate, folder / "train_sequences.txt"),
        ("davuluri: read, check, tokenise, divide", [*read, *davuluri], folder / "davuluri" / "tokens"),
        ("davuluri: the same from the cache", [*read, *davuluri], folder / "davuluri" / "tokens"),
        (f"davuluri: train BERT-base, {size}", [*run, *davuluri], folder / "davuluri" / "run"),
        ("sysu: the top fifth with flanks", [*read, *top], folder / "sysu_mlm" / "tokens"),
        (
            f"sysu: pretrain 3 layers, {size}",
            [sys.executable, "run_pretrain_mlm.py", *top],
            folder / "sysu_mlm" / "run",
        ),
        ("sysu: all rows with flanks", [*read, *frames], folder / "sysu" / "tokens"),
        (
            f"sysu: divide by near duplicates ({identity:.0%})",
            [*read, *frames, "--similar_sequences", str(identity)],
            folder / "sysu" / "tokens",
        ),
        (f"sysu: train on three frames, {size}", [*run, *frames], folder / "sysu" / "run"),
    ]


def read(words: Sequence[str]) -> None:
    """Does what a training script does before it builds a model."""
    from kmerbert.cli.flags import PretrainingDataArguments, RegressionDataArguments, RegressionModelArguments
    from kmerbert.cli.parser import parse
    from kmerbert.models import loading as models
    from kmerbert.training import splits as data
    from kmerbert.training.flags import PretrainingArguments, RegressionArguments
    from modeling_kmer_regression import KmerBertConfig
    from tokenization_kmer import KmerTokenizer

    is_pretraining = "--flank_file" in words
    groups = (PretrainingDataArguments, PretrainingArguments)
    groups = groups if is_pretraining else (RegressionDataArguments, RegressionArguments)
    model, rows, _ = parse((RegressionModelArguments, *groups), words)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tokenizer = models.load_tokenizer(KmerTokenizer, model)
    config = models.load_config(model, tokenizer)
    if model.reading_frames:
        config = KmerBertConfig.from_bert(config, model.reading_frames)
    labels = [] if is_pretraining else rows.label_columns
    data.load_splits(rows, tokenizer, models.max_tokens(config), labels, data.load_flanks(rows, config))


def n_bytes(path: Path) -> int:
    """Bytes on disk of a file, or of everything in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def measure(command: list[str], log: Path) -> tuple[float, float]:
    """Runs a program from the root of the repository; returns its seconds and its peak memory in GB."""
    began = time.perf_counter()
    with log.open("ab") as output:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        program = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=environment)
        _, status, usage = os.wait4(program.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command[:3])} failed; {log} says why")
    return time.perf_counter() - began, usage.ru_maxrss * 1024 / 1e9


def main(argv: Sequence[str] | None = None) -> None:
    """Measures all stages and prints a table."""
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
    print(
        f"{args.rows:,} rows, {os.cpu_count()} CPU cores\n{'':<52}{'seconds':>9}{'GB memory':>11}{'GB disk':>9}",
        flush=True,
    )
    for name, command, place in stages(folder, args.rows, args.steps, args.batch_size, args.identity):
        seconds, memory = measure(command, folder / "log.txt")
        print(f"{name:<52}{seconds:>9.1f}{memory:>11.2f}{n_bytes(place) / 1e9:>9.2f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(sys.argv[2:])
    else:
        main()
