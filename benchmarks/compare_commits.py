"""Does a change of the code change what is computed? Trains tiny models in two commits and compares every number.

    python -m benchmarks.compare_commits HEAD~1 HEAD
    python -m benchmarks.compare_commits 3465c8f . --jobs 2 --output_dir runs/compare

Each commit is checked out into a folder of its own; `.` is the working tree with its uncommitted changes. Both get the same simulated
files and run the same commands with fixed seeds: pretraining with both maskings, regression by BERT, ModernBERT,
convolutions and reading frames, two outputs with missing values, Parquet shards, two processes, a resumed run, and
predictions of one model and of two. Compared are losses, metrics, written predictions, weights and token ids. A number
is equal only if every bit of it is; otherwise the largest difference is shown, relative to the larger of the two values.

What `--output_dir` holds of a commit is not run again. The exit status is 1 if anything differs.
"""

import argparse
import hashlib
import inspect
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
WORKING_TREE = "."
TIMES = ("runtime", "samples_per_second", "steps_per_second")  # in the names of what differs from run to run

BERT = "--config_overrides hidden_size=32,num_hidden_layers=2,num_attention_heads=2,intermediate_size=64"
CONV = "--config_overrides embedding_size=16,hidden_size=32,num_stages=2,head_size=32"
TRAIN = (
    "--output_dir {out}/run --token_cache_dir {out}/tokens --per_device_train_batch_size 32 --learning_rate 3e-3 "
    "--num_train_epochs 2 --logging_steps 1 --disable_tqdm true --seed 1"
)
MASKED = f"run_pretrain_mlm.py --train_file {{data}}/upstream.txt --validation_split_percentage 20 {TRAIN}"
ROWS = "--train_file {data}/rows.tsv --split_column split"
FITTED = f"run_finetune_regression.py {ROWS} {TRAIN}"
GROUPED = (
    f"run_finetune_regression.py --train_file {{data}}/rows.tsv --group_column locus --test_rows 60 {TRAIN} "
    "--lr_scheduler_type reduce_lr_on_plateau --early_stopping_patience 3"
)
STREAMED = (
    "run_finetune_regression.py --streaming --train_file {data}/shards --validation_file {data}/rows.tsv " + TRAIN
)
PREDICT = (
    "run_predict.py --model_name_or_path {out}/run --input_file {data}/rows.tsv --label_column expression "
    "--output_file {out}/predictions.tsv --calibration_file {out}/run/validation_predictions.tsv"
)
LAUNCH = (
    "-m accelerate.commands.launch --config_file accelerate_config.yaml --mixed_precision no --main_process_port 0 "
    "--num_processes 2 "
)
TOKENIZE = """
import sys
import json, hashlib
from tokenization_kmer import KmerTokenizer
sequences = [line.split("\\t")[1] for line in open(sys.argv[1] + "/rows.tsv")][1:]
sequences += ["ACGTACGTN", "acgtnnacgtacgt", " ACGTACGTACGT\\n"]
digests = {}
for k, stride, alphabet in ((6, 1, "ATCG"), (3, 3, "ACGTN"), (8, 2, "ACGT"), (1, 1, "ATCG")):
    ids = KmerTokenizer(k, stride, alphabet).encode_ids(sequences)
    digests[f"{k} {stride} {alphabet}"] = hashlib.sha256(ids.tobytes() + str(ids.dtype).encode()).hexdigest()
json.dump(digests, open(sys.argv[2] + "/tokens.json", "w"))
"""

# Every case: its commands, one after the other; {data} and {out} are folders.
CASES: dict[str, tuple[str, ...]] = {
    "token ids": ("TOKENIZE {data} {out}",),
    "masked bases, BERT": (f"{MASKED} --model_type bert {BERT} --window_length 60 --window_step 30",),
    "DNABERT masking, BERT": (
        f"{MASKED} --model_type bert {BERT} --masking dnabert --window_length 60 --short_windows 0.5",
    ),
    "masked bases, ModernBERT, then regression": (
        f"{MASKED} --model_type modernbert {BERT} --window_length 60".replace("{out}/run", "{out}/mlm"),
        f"{FITTED} --model_name_or_path {{out}}/mlm",
        PREDICT,
    ),
    "masked bases, convolutions": (f"{MASKED} --model_type kmer_conv {CONV} --window_length 60",),
    "regression, BERT": (f"{FITTED} --model_type bert {BERT} --k 4 --gradient_accumulation_steps 2", PREDICT),
    "regression, BERT, smooth L1, held-out groups": (f"{GROUPED} --model_type bert {BERT} --k 4 --loss smooth_l1",),
    "regression, convolutions, flanks": (
        f"{FITTED} --model_type kmer_conv {CONV} --flank_file {{data}}/plasmid.fa --flank_length 20",
        PREDICT,
    ),
    "regression, three reading frames": (
        f"{FITTED} --model_type bert {BERT} --k 3 --alphabet ACGTN --reading_frames 3",
        PREDICT,
    ),
    "two outputs with missing values": (
        f"{FITTED} --model_type kmer_conv {CONV} --label_column expression,second",
        PREDICT.replace("--label_column expression", "--label_column expression,second"),
    ),
    "regression from shards": (f"{STREAMED} --model_type bert {BERT} --k 4",),
    "masked bases from shards": (
        f"run_pretrain_mlm.py --streaming --train_file {{data}}/shards --eval_strategy no {TRAIN} --model_type bert {BERT}",
    ),
    "two processes": (f"{LAUNCH}{FITTED} --model_type bert {BERT} --k 4 --use_cpu",),
    "resumed run": (
        f"{FITTED} --model_type modernbert {BERT} --k 4 --lr_scheduler_type constant --num_train_epochs 1",
        f"{FITTED} --model_type modernbert {BERT} --k 4 --lr_scheduler_type constant --resume_from_checkpoint true",
    ),
    "two models together": (
        f"{FITTED} --model_type kmer_conv {CONV}",
        f"{FITTED} --model_type kmer_conv {CONV} --seed 2".replace("{out}/run", "{out}/second"),
        PREDICT.replace("{out}/run --input", "{out}/run,{out}/second --input").replace(
            "--calibration_file {out}/run/validation_predictions.tsv", ""
        ),
    ),
}


class Difference(NamedTuple):
    """What two commits have of one artefact: how many numbers, how many of these differ, and by how much at most."""

    n_values: int
    n_different: int
    largest: float


def write_data(folder: Path) -> None:
    """Writes the simulated input: a table, plain lines, a plasmid and Parquet shards."""
    random = np.random.default_rng(0)
    n_rows, motif = 400, "GATAAG"

    def draw(length: int) -> str:
        return "".join(random.choice(list("ACGT"), length))

    sequences = [draw(length) for length in random.integers(40, 61, n_rows)]
    has_motif = random.random(n_rows) < 0.5
    for row in np.flatnonzero(has_motif):
        sequences[row] = sequences[row][:10] + motif + sequences[row][16:]
    for row in range(0, n_rows, 40):
        sequences[row] = sequences[row][:20] + "N" + sequences[row][21:]
    expression = np.where(has_motif, 13.0, 9.0) + random.normal(0, 0.5, n_rows)
    second = np.where(random.random(n_rows) < 0.3, np.nan, -2 * expression + random.normal(0, 0.5, n_rows))
    table = pd.DataFrame(
        {
            "id": [f"promoter_{row}" for row in range(n_rows)],
            "sequence": sequences,
            "expression": expression.round(4),
            "second": second.round(4),
            "locus": np.arange(n_rows) // 4,
            "split": np.array(["train", "train", "train", "train", "validation", "test"])[np.arange(n_rows) % 6],
        }
    )
    folder.mkdir(parents=True)
    table.to_csv(folder / "rows.tsv", sep="\t", index=False)
    (folder / "upstream.txt").write_text("".join(f"{draw(int(length))}\n" for length in random.integers(100, 300, 60)))
    (folder / "plasmid.fa").write_text(f">plasmid\n{draw(40)}{'N' * 50}{draw(40)}\n")
    (folder / "shards").mkdir()
    columns = {"sequence": [draw(50) for _ in range(n_rows)], "expression": random.normal(10, 2, n_rows)}
    rows = pa.table(columns)
    for shard in range(4):
        pyarrow.parquet.write_table(
            rows.slice(100 * shard, 100), folder / "shards" / f"{shard}.parquet", row_group_size=25
        )


def case_folder(results: Path, case: str) -> Path:
    """Where the results of a commit keep those of a case."""
    return results / case.replace(" ", "_").replace(",", "")


def run_case(code: Path, case: str, data: Path, folder: Path) -> None:
    """Runs the commands of a case with the code of one commit.

    Raises:
        RuntimeError: a command failed.
    """
    out = case_folder(folder, case)
    out.mkdir(parents=True)
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": "",
    }
    for command in CASES[case]:
        words = [word.format(data=data, out=out) for word in command.split()]
        if words[0] == "TOKENIZE":
            words = ["-c", TOKENIZE, *words[1:]]
        done = subprocess.run(
            [sys.executable, *words], cwd=code, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{case}: {' '.join(words)[:300]}\n{done.stderr[-3000:]}")
    for unneeded in [*out.glob("**/checkpoint-*"), *out.glob("tokens")]:
        shutil.rmtree(unneeded)
    (out / "done").touch()


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every number or word of a JSON value with its path, but for times."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not any(word in key for word in TIMES):
                yield from numbers(item, f"{name}/{key}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from numbers(item, f"{name}/{place}")
    else:
        yield name, value


def artefacts(folder: Path) -> dict[str, dict[str, Any]]:
    """What a case left, by kind: `losses and metrics`, `predictions`, `weights`, `token ids`; values by their names."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("*")):
        place = str(path.relative_to(folder))
        if path.name == "trainer_state.json":
            log = json.loads(path.read_text(encoding="utf-8"))["log_history"]
            found.setdefault("losses and metrics", {}).update(numbers(log, place))
        elif path.name.endswith("_results.json"):
            found.setdefault("losses and metrics", {}).update(numbers(json.loads(path.read_text()), place))
        elif path.name == "tokens.json":
            found["token ids"] = json.loads(path.read_text())
        elif path.name.endswith("predictions.tsv"):
            table = pd.read_csv(path, sep="\t")
            values = {f"{place}/{column}": table[column].to_numpy() for column in table}
            found.setdefault("predictions", {}).update(values)
        elif path.name == "model.safetensors":
            values = {f"{place}/{name}": array for name, array in load_file(path).items()}
            found.setdefault("weights", {}).update(values)
    return found


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> Difference:
    """Compares the values of one kind of artefact; one that only one commit has differs by infinity."""
    n_values = n_different = 0
    largest = 0.0
    for name in first.keys() | second.keys():
        if name not in first or name not in second or np.shape(first[name]) != np.shape(second[name]):
            n_values, n_different, largest = n_values + 1, n_different + 1, math.inf
            continue
        a, b = np.atleast_1d(first[name]), np.atleast_1d(second[name])
        n_values += a.size
        if a.dtype.kind in "fiu" and b.dtype.kind in "fiu":
            a, b = a.astype(np.float64), b.astype(np.float64)
            differs = (a != b) & ~(np.isnan(a) & np.isnan(b))
            scale = np.maximum(np.abs(a), np.abs(b))[differs]
            largest = max(largest, float(np.max(np.abs(a - b)[differs] / scale, initial=0.0)))
        else:
            differs = a != b
            largest = math.inf if differs.any() else largest
        n_different += int(np.count_nonzero(differs))
    return Difference(n_values, n_different, largest)


def commit_id(commit: str) -> str:
    """The full id of a commit; `.` for the working tree."""
    if commit == WORKING_TREE:
        return commit
    command = ["git", "-C", str(ROOT), "rev-parse", "--verify", f"{commit}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{commit}: no such commit")
    return done.stdout.strip()


def check_out(commit: str, folder: Path) -> Path:
    """Puts the files of a commit into a folder and returns it; the working tree stays where it is."""
    if commit == WORKING_TREE:
        return ROOT
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=True)
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def results_of(commit: str, cases: Sequence[str], data: Path, folder: Path, jobs: int) -> Path:
    """Runs the cases that a commit's folder does not hold yet; returns the folder."""
    results = folder / ("working_tree" if commit == WORKING_TREE else commit[:12])
    if commit == WORKING_TREE and results.exists():
        shutil.rmtree(results)
    missing = [case for case in cases if not (case_folder(results, case) / "done").exists()]
    for case in missing:
        shutil.rmtree(case_folder(results, case), ignore_errors=True)  # stopped half-way
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(jobs) as pool:
        code = check_out(commit, Path(name) / "code") if missing else ROOT
        for run in [pool.submit(run_case, code, case, data, results) for case in missing]:
            run.result()
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line for each case and kind of artefact; returns 1 if anything differs, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", help="Commit, tag or branch; . for the working tree.")
    parser.add_argument("second", help="Commit, tag or branch; . for the working tree.")
    parser.add_argument(
        "--output_dir", default="runs/compare", help="Folder for data and results (default: %(default)s)."
    )
    parser.add_argument("--cases", help=f"Some of the cases, separated by semicolons: {'; '.join(CASES)}.")
    parser.add_argument("--jobs", type=int, default=1, help="Runs at a time (default: 1).")
    args = parser.parse_args(argv)
    cases = [name.strip() for name in args.cases.split(";")] if args.cases else list(CASES)
    for name in cases:
        if name not in CASES:
            parser.error(f"--cases {name}: allowed are {'; '.join(CASES)}")
    # Other data or commands make other results.
    version = hashlib.sha256(f"{inspect.getsource(write_data)}{TOKENIZE}{CASES}".encode()).hexdigest()[:8]
    folder = Path(args.output_dir).resolve() / version
    data = folder / "data"
    try:
        commits = [commit_id(commit) for commit in (args.first, args.second)]
        if not data.exists():
            write_data(data)
        results = [results_of(commit, cases, data, folder, args.jobs) for commit in commits]
    except (ValueError, RuntimeError) as error:
        parser.error(str(error))
    print(f"{'case':<48}{'what':<22}{'values':>10}{'different':>11}{'by at most':>12}")
    n_different = 0
    for case in cases:
        first, second = (artefacts(case_folder(place, case)) for place in results)
        for kind in sorted(first.keys() | second.keys()):
            found = compare(first.get(kind, {}), second.get(kind, {}))
            n_different += found.n_different
            by = f"{found.largest:.1e}" if found.n_different else ""
            print(f"{case:<48}{kind:<22}{found.n_values:>10,}{found.n_different:>11,}{by:>12}")
    print("all equal, bit for bit" if not n_different else f"{n_different:,} values differ")
    return int(n_different > 0)


if __name__ == "__main__":
    sys.exit(main())
