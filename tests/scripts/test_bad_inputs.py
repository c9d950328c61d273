"""What people really type and hand in: every mistake ends in one line with its location, its value and its flag."""

import gzip
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import run_evaluate
import run_finetune_regression
import run_pretrain_mlm
from tests.support.messages import check_message
from tests.support.tiny_runs import random_dna

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=32,max_position_embeddings=64"
HEADER = "sequence\texpression\n"
DNA = random_dna(np.random.default_rng(0), 60, 20)
ROWS = [f"{sequence}\t{i % 7}.5" for i, sequence in enumerate(DNA[:30])]
GOOD = HEADER + "".join(f"{row}\n" for row in ROWS)
PREDICTIONS = "id\tprediction\tobserved\n" + "".join(f"{i}\t{i}.5\t{i % 5}\n" for i in range(12))


def with_row(row: str) -> str:
    """The good table with another line 5."""
    return HEADER + "".join(f"{line}\n" for line in [*ROWS[:3], row, *ROWS[4:]])


def columns(**named: Callable[[int], object] | list[Any]) -> str:
    """A table of 30 rows with more columns."""
    added = [[value(i) for i in range(30)] if callable(value) else value for value in named.values()]
    header = "\t".join(["sequence", "expression", *named])
    return "\n".join(
        [header, *("\t".join([row, *map(str, more)]) for row, *more in zip(ROWS, *added, strict=True)), ""]
    )


class Case(NamedTuple):
    """A mistake: parts of the line that is printed, the table (or recipe) that it is in, and more of the command line."""

    name: str
    parts: tuple[str, ...]
    content: str | bytes = GOOD
    command: str = ""


# Of both scripts that train.
DATA = [
    Case("empty file", ("a.tsv", "empty"), ""),
    Case("only a header", ("a.tsv", "no rows"), HEADER),
    Case("commas in tsv", ("a.tsv", "'sequence'", "'sequence,expression'", "','", ".csv"), GOOD.replace("\t", ",")),
    Case("semicolons in tsv", ("a.tsv", "'sequence'", "'sequence;expression'", "';'", ".csv"), GOOD.replace("\t", ";")),
    Case("no column of sequences", ("a.tsv", "'sequence'", "'seq', 'expression'", "--sequence_column"), "seq\texpression\nx\t1\n"),
    Case("two columns of sequences", ("a.tsv", "'sequence'", "'seq', 'other'", "--sequence_column"), columns(other=DNA[30:])[:3] + columns(other=DNA[30:])[8:]),
    Case("missing id column", ("a.tsv", "'name'", "'sequence', 'expression'"), command="--id_column name"),
    Case("missing split column", ("a.tsv", "'fold'", "'sequence', 'expression'"), command="--split_column fold"),
    Case("missing group column", ("a.tsv", "'locus'", "'sequence', 'expression'"), command="--group_column locus"),
    Case("binary file", ("a.tsv, line 1", "not a text file"), bytes(range(256)) * 20),
    Case("zero bytes", ("a.tsv", "not a text file", "zero"), bytes(5000)),
    Case("UTF-16 without its mark", ("a.tsv, line 1", "not a text file", "UTF-16"), GOOD.encode("utf-16-le")),
    Case("bytes in a row", ("a.tsv", "not a text file"), with_row(f"{DNA[3]}\t1").encode().replace(DNA[3].encode(), b"AC\xff\xfe")),
    Case("protein", ("a.tsv, line 5", "'L'", "base 4", "ACGTN"), with_row("MKVLAAGIVGLEFQ\t1")),
    Case("gaps", ("a.tsv, line 5", "'-'", "base 4"), with_row("ACG--TACGTACGT\t1")),
    Case("points", ("a.tsv, line 5", "'.'", "base 4"), with_row("ACG..TACGTACGT\t1")),
    Case("a blank inside", ("a.tsv, line 5", "' '", "base 4"), with_row("ACG TACGTACGT\t1")),
    Case("quote that is not closed", ("a.tsv, line 5", "quote", DNA[3]), with_row(f'"{DNA[3]}\t1')),
    Case("one base", ("a.tsv, line 5", "1 base", " 3", "--k"), with_row("A\t1")),
    Case("a million bases", ("a.tsv, line 5", "1000000 bases", "1000000 tokens", "--max_seq_length 64", "--config_overrides"), with_row("ACGT" * 250_000 + "\t1")),
    Case("empty sequence", ("a.tsv, line 5", "empty"), with_row("\t1")),
    Case("blank line", ("a.tsv, line 5", "empty"), with_row("")),
    Case("only N", ("a.tsv", "100.0%", "[UNK]", "--alphabet"), HEADER + "".join(f"{'N' * n}\t{n}\n" for n in range(5, 25))),
    Case("too many columns", ("a.tsv, line 5", "3 columns", " 2 ", f"{DNA[3]}\\t1\\t2"), with_row(f"{DNA[3]}\t1\t2")),
    Case("too few columns", ("a.tsv, line 5", "1 column", " 2 ", DNA[3]), with_row(DNA[3])),
    Case("a column twice", ("a.tsv", "'expression'", "twice"), GOOD.replace("sequence\t", "expression\t", 1), "--sequence_column expression"),
    Case("duplicate ids", ("a.tsv, line 2 ", "a.tsv, line 31", "id"), columns(name=lambda i: i % 29), "--id_column name"),
    Case("empty id", ("a.tsv, line 4", "name", "empty"), columns(name=lambda i: "" if i == 2 else i), "--id_column name"),
    Case("one row", ("no validation rows", "1 row is too few", "--validation_rows"), HEADER + ROWS[0]),
    Case("unknown word for a split", ("a.tsv, line 4", "fold", "'holdout'", "train, validation"), columns(fold=lambda i: "holdout" if i == 2 else "train"), "--split_column fold"),
    Case("same promoter in train and validation", ("a.tsv, line 2 (train)", "a.tsv, line 5 (validation)", "same sequence"),
         columns(fold=lambda i: "val" if i > 2 else "train").replace(DNA[3], DNA[0]), "--split_column fold"),
    Case("group on two sides", ("a.tsv, line 3 (train)", "a.tsv, line 31 (validation)", "same locus", "--group_column"),
         columns(fold=lambda i: "val" if i > 15 else "train", locus=lambda i: 1 if i == 29 else i), "--split_column fold --group_column locus"),
    Case("no training rows", ("a.tsv", "no training rows"), columns(fold=lambda i: "val"), "--split_column fold"),
    Case("no validation rows", ("no validation rows", "--validation_file", "--validation_split_percentage", "--eval_strategy"), command="--validation_split_percentage 0"),
    Case("no validation rows in the column", ("no validation rows", "--validation_file"), columns(fold=lambda i: "train"), "--split_column fold"),
    Case("one large group", ("no validation rows", "--validation_file"), columns(locus=lambda i: 1), "--group_column locus"),
    Case("exact rows divide a group", ("--validation_rows 3", "2 would not", "group"), columns(locus=lambda i: i // 2), "--group_column locus --validation_rows 3"),
    Case("more rows than there are", ("30 rows", "20 validation", "15 test"), command="--validation_rows 20 --test_rows 15"),
    Case("percentages over 100", ("--validation_split_percentage 60.0", "--test_split_percentage 50.0", "below 100"), command="--validation_split_percentage 60 --test_split_percentage 50"),
    Case("a percentage of 100", ("--validation_split_percentage 100.0", "below 100"), command="--validation_split_percentage 100"),
    Case("a share for a percentage", ("no validation rows", "--validation_split_percentage"), command="--validation_split_percentage 0.1"),
]  # fmt: skip
SETTINGS = [
    Case("k of 0", ("--k 0", "1 to 8"), command="--k 0"),
    Case("k of 9", ("--k 9", "1 to 8"), command="--k 9"),
    Case("k that is no number", ("--k", "'six'"), command="--k six"),
    Case("stride above k", ("--stride 4", "1 to 3"), command="--stride 4"),
    Case("alphabet with a letter twice", ("--alphabet 'AACG'", "distinct"), command="--alphabet AACG"),
    Case("alphabet of one letter", ("--alphabet 'A'", "2 or more"), command="--alphabet A"),
    Case("alphabet of another molecule", ("a.tsv", "100.0%", "[UNK]", "--alphabet"), command="--alphabet XYZW"),
    Case("unknown flag", ("--learning_rat:", "--learning_rate?"), command="--learning_rat 1"),
    Case("old flag", ("--evaluation_strategy", "--eval_strategy"), command="--evaluation_strategy epoch"),
    Case("removed flag", ("--no_cuda", "--use_cpu"), command="--no_cuda"),
    Case("token on the command line", ("--hub_token", "leave it out", "HF_TOKEN"), command="--hub_token hf_x"),
    Case("word without a flag", ("'more.tsv'", "--flag"), command="more.tsv"),
    Case("flag without a value", ("--train_file", "one value", "--flag=-VALUE"), command="--train_file"),
    Case("plasmid that is absent", ("--flank_file no.txt: ", ": No such file or directory"), command="--flank_file {}/no.txt"),
    Case("plasmid that is a table", ("--flank_file p.tsv", "'i'", "base 1"), command="--flank_file {}/p.tsv"),
    Case("plasmid without an insert", ("v.txt", "N", "--flank_insert"), command="--flank_file {}/v.txt"),
    Case("insert that is not there", ("--flank_insert GGGGG", "v.txt", "0 times", "START:END"), command="--flank_file {}/v.txt --flank_insert GGGGG"),
    Case("insert of other letters", ("--flank_insert 3-9", "START:END", "ACGTN"), command="--flank_file {}/v.txt --flank_insert 3-9"),
    Case("more flank than plasmid", ("v.txt", "8 bases", "8 after", "--flank_length 9"), command="--flank_file {}/v.txt --flank_insert 8:12 --flank_length 9"),
    Case("flanks and too few positions", ("a.tsv, line 2", "134 bases", "136 tokens", "64"), command="--flank_file {}/w.txt --flank_length 57 --k 1"),
    Case("identity of a half", ("--similar_sequences 0.5", "above 0.5"), command="--similar_sequences 0.5"),
    Case("similar sequences in two tables", ("a.tsv, line 2 (train)", "test.tsv, line 2 (test)"), command="--similar_sequences 0.9 --test_file {}/test.tsv"),
    Case("clusters in two tables", ("--cluster_file c.tsv", "test.tsv", "--train_file"), command="--cluster_file c.tsv --validation_file {}/test.tsv"),
    Case("flank length without flanks", ("--flank_length 30", "--flank_file"), command="--flank_length 30"),
    Case("missing recipe", ("--config absent.yaml", "No such file"), command="--config {}/absent.yaml"),
    Case("table as recipe", ("--config a.tsv", "not YAML"), command="--config {}/a.tsv"),
    Case("unknown metric", ("--metric_for_best_model 'accuracy1'", "loss, "), command="--metric_for_best_model accuracy1"),
    Case("unknown optimizer", ("--optim", "'sgdd'"), command="--optim sgdd"),
    Case("unknown schedule", ("--lr_scheduler_type", "'cosin'", "'cosine'"), command="--lr_scheduler_type cosin"),
    Case("schedule settings that are no JSON", ("--lr_scheduler_kwargs '{min_lr'", "JSON", "recipe"), command="--lr_scheduler_kwargs {{min_lr"),
    Case("batch of 0", ("--per_device_train_batch_size 0:", "1 or more"), command="--per_device_train_batch_size 0"),
    Case("negative batch", ("--per_device_train_batch_size -4:", "1 or more"), command="--per_device_train_batch_size=-4"),
    Case("accumulation of 0", ("--gradient_accumulation_steps 0:", "1 or more"), command="--gradient_accumulation_steps 0"),
    Case("accumulated evaluation of 0", ("--eval_accumulation_steps 0", "1 or more"), command="--eval_accumulation_steps 0"),
    Case("empty metric", ("--metric_for_best_model", "empty"), command="--metric_for_best_model="),
    Case("no predictions", ("--prediction_loss_only true", "metrics"), command="--prediction_loss_only"),
    Case("the Trainer's label names", ("--label_names", "--label_column"), command="--label_names x"),
    Case("empty column name", ("--sequence_column", "empty"), command="--sequence_column="),
    Case("negative seed", ("--split_seed -1", "0 or more"), command="--split_seed -1"),
    Case("encoder-decoder", ("t5", "encoder-decoder", "bert"), command="--model_type t5 --config_overrides d_model=16"),
    Case("patience without evaluations", ("--early_stopping_patience", "--eval_strategy"), command="--early_stopping_patience 2 --eval_strategy no"),
    Case("resume without a checkpoint", ("--resume_from_checkpoint true", "run", "no checkpoint"), command="--resume_from_checkpoint true"),
    Case("resume from elsewhere", ("--resume_from_checkpoint absent", "no checkpoint", "--output_dir"), command="--resume_from_checkpoint {}/absent"),
    Case("folder below a file", ("--output_dir a.tsv/run", "(a.tsv: Not a directory)"), command="--output_dir {}/a.tsv/run"),
    Case("file as folder", ("--output_dir a.tsv", "a folder"), command="--output_dir {}/a.tsv"),
    Case("folder that holds something", ("--output_dir full", "x.txt", "--resume_from_checkpoint", "--overwrite_output_dir"), command="--output_dir {}/full"),
    Case("token folder below a file", ("--token_cache_dir a.tsv/cache", "(a.tsv: Not a directory)"), command="--token_cache_dir {}/a.tsv/cache"),
    Case("file not found", ("absent.tsv", "no such file"), command="--train_file {}/absent.tsv"),
    Case("test file not found", ("absent.tsv", "no such file"), command="--test_file {}/absent.tsv"),
    Case("folder as file", ("full is a folder", "--dataset_name"), command="--train_file {}/full"),
    Case("unknown ending", ("a.ods", ".tsv", ".parquet"), command="--train_file {}/a.ods"),
    Case("truncated gz", ("cut.tsv.gz", "cannot be read"), command="--train_file {}/cut.tsv.gz"),
    Case("plain text named gz", ("plain.tsv.gz", "cannot be read"), command="--train_file {}/plain.tsv.gz"),
    Case("JSON that is no lines", ("list.json, line 1", "'[{", '{"column": value'), command="--train_file {}/list.json"),
    Case("text named parquet", ("a.parquet", "cannot be read"), command="--train_file {}/a.parquet"),
    Case("same promoter in train and test", ("a.tsv, line 2 (train)", "test.tsv, line 2 (test)", "same sequence"), command="--test_file {}/test.tsv --validation_split_percentage 0 --eval_strategy no"),
    Case("two names for validation", ("--split_column", "--validation_file"), command="--split_column s --validation_file {}/test.tsv"),
    Case("dataset that is a file", ("--train_file 'a.tsv'", "--dataset_name 'a.tsv'"), command="--dataset_name {}/a.tsv"),
    Case("no such checkpoint", ("--model_name_or_path absent", "no such folder", "Hub"), command="--model_name_or_path {}/absent"),
    Case("folder without a checkpoint", ("--model_name_or_path full", "config.json"), command="--model_name_or_path {}/full"),
    Case("file as checkpoint", ("--model_name_or_path a.tsv", "is a file", "config.json"), command="--model_name_or_path {}/a.tsv"),
    Case("checkpoint of another k", ("--k 3", "other", "k 4", "--model_name_or_path"), command="--model_name_or_path {}/other"),
    Case("unknown architecture", ("--model_type 'brt'", "bert", "kmer_conv"), command="--model_type brt"),
    Case("unknown setting of the network", ("--config_overrides 'hidden=3'",), command="--config_overrides hidden=3"),
    Case("network that cannot be built", ("--model_type bert", "--config_overrides", "10"), command="--config_overrides hidden_size=10,num_attention_heads=3"),
    Case("longer than the model reads", ("a.tsv, line 2", "20 bases", "20 tokens", "--max_seq_length 8"), command=f"--config_overrides {NETWORK[:-2]}8"),
    Case("cut to nothing", ("--max_seq_length 2", "3 tokens"), command="--max_seq_length 2"),
]  # fmt: skip
REGRESSION = [
    Case("missing label column", ("a.tsv", "'activity'", "'sequence', 'expression'", "--label_column"), command="--label_column activity"),
    Case("missing second label", ("a.tsv", "'b'", "'sequence', 'expression'"), command="--label_column expression,b"),
    Case("sequence as label", ("a.tsv, line 2", "sequence", f"'{DNA[0]}'", "numbers"), command="--label_column sequence"),
    Case("swapped columns", ("a.tsv, line 2", "'0'", "base 1", "ACGTN"), command="--sequence_column expression --label_column expression"),
    Case("text in the label", ("a.tsv, line 5", "expression", "'high'", "numbers"), with_row(f"{DNA[3]}\thigh")),
    Case("decimal comma", ("a.tsv, line 5", "expression", "'1,5'", "point"), with_row(f"{DNA[3]}\t1,5")),
    Case("NaN", ("a.tsv, line 5", "no value", "expression"), with_row(f"{DNA[3]}\tNaN")),
    Case("inf", ("a.tsv, line 5", "expression is inf", "finite"), with_row(f"{DNA[3]}\tinf")),
    Case("minus inf", ("a.tsv, line 5", "expression is -Infinity", "finite"), with_row(f"{DNA[3]}\t-Infinity")),
    Case("too large for float32", ("a.tsv, line 5", "expression is 1e60", "finite", "float32"), with_row(f"{DNA[3]}\t1e60")),
    Case("empty label", ("a.tsv, line 5", "no value", "expression"), with_row(f"{DNA[3]}\t")),
    Case("duplicate sequence", ("a.tsv, line 2 ", "a.tsv, line 5", "same sequence", "--duplicates keep"), with_row(f"{DNA[0].lower()}\t1")),
    Case("all labels equal", ("expression", "24 training values", "are 1;"), HEADER + "".join(f"{sequence}\t1\n" for sequence in DNA[:30])),
    Case("frames of another architecture", ("--reading_frames", "modernbert", "--model_type bert"), command="--reading_frames 3 --model_type modernbert --config_overrides num_hidden_layers=1"),
    Case("frames and a stride", ("--stride 2", "--reading_frames"), command="--reading_frames 3 --stride 2"),
    Case("more frames than k-mers", ("a.tsv, line ", "18 k-mers", "19 reading frames", "--reading_frames"), command="--reading_frames 19"),
    Case("more frames than k-mers of a test row", ("short.tsv, line 3", "2 k-mers", "3 reading frames"), command="--reading_frames 3 --test_file {}/short.tsv"),
    Case("no frames", ("--reading_frames 0", "1 or more"), command="--reading_frames 0"),
    Case("unknown loss", ("--loss", "'huber'", "'smooth_l1'"), command="--loss huber"),
]  # fmt: skip
PRETRAINING = [
    Case("top fraction of a missing column", ("a.tsv", "'activity'", "'sequence', 'expression'"), command="--top_fraction 0.2 --label_column activity"),
    Case("top fraction of all", ("--top_fraction 1.0", "below 1"), command="--top_fraction 1"),
    Case("top fraction of too few rows", ("--top_fraction 0.1", "4 of 30 rows", "3 validation", "1 test"), command="--top_fraction 0.1 --validation_rows 3 --test_rows 1"),
    Case("top fraction of no validation rows", ("--top_fraction 0.1", "4 rows", "10 %", "--validation_split_percentage", "--validation_rows"), command="--top_fraction 0.1"),
    Case("top fraction of FASTA", ("b.fa", "'expression'"), command="--train_file {}/b.fa --top_fraction 0.2"),
    Case("short windows of nothing", ("--short_windows 0.5", "--window_length"), command="--short_windows 0.5"),
    Case("no FASTA", ("a.fa, line 1", "'ACGT'", "header"), command="--train_file {}/a.fa"),
    Case("region of words", ("--mask_region 'insert'", "START:END"), command="--mask_region insert"),
    Case("region without an end", ("--mask_region '17'", "START:END"), command="--mask_region 17"),
    Case("region backwards", ("--mask_region '12:3'", "20 bases"), command="--mask_region 12:3"),
    Case("region without bases", ("--mask_region '19:-19'", "20 bases"), command="--mask_region=19:-19"),
    Case("window shorter than a k-mer", ("--window_length 2", "3 bases"), command="--window_length 2"),
    Case("step above the window", ("--window_step 9", "--window_length"), command="--window_length 8 --window_step 9"),
    Case("probability of 1", ("--mlm_probability 1.0", "below 1"), command="--mlm_probability 1"),
    Case("labels in pretraining", ("--label_column expression", "--top_fraction"), command="--label_column expression"),
]  # fmt: skip
RECIPES = [
    Case("unknown key", ("--config r.yaml", " learning_rat:", "learning_rate?"), "learning_rat: 1"),
    Case("old key", ("--config r.yaml", " warmup_ratio ", "--warmup_steps 0.1"), "warmup_ratio: 0.1"),
    Case("no mapping", ("--config r.yaml", "`flag: value`"), "- k: 3"),
    Case("no YAML", ("--config r.yaml", "not YAML", "[3"), "k: [3"),
    Case("words for a number", ("--k", "'three'"), "k: three"),
    Case("recipe within a recipe", ("--config r.yaml", "config in a recipe"), "config: other.yaml"),
    Case("no text", ("--config r.yaml", "not YAML", "position 0"), b"\xff\xfe\x00"),
]
EVALUATION = [
    Case("no flags", ("--predictions_file", "--output_dir"), command=""),
    Case("file not found", ("--predictions_file absent.tsv", "No such file"), command="--predictions_file {}/absent.tsv --output_dir {}/e"),
    Case("folder as file", ("--predictions_file", "full is a folder"), command="--predictions_file {}/full --output_dir {}/e"),
    Case("empty file", ("empty.tsv is empty",), command="--predictions_file {}/empty.tsv --output_dir {}/e"),
    Case("a training table", ("a.tsv", "'prediction'", "sequence, expression", "run_predict.py"), command="--predictions_file {}/a.tsv --output_dir {}/e"),
    Case("binary file", ("binary.tsv, line 1", "not a text file"), command="--predictions_file {}/binary.tsv --output_dir {}/e"),
    Case("truncated gz", ("cut.tsv.gz", "cannot be read"), command="--predictions_file {}/cut.tsv.gz --output_dir {}/e"),
    Case("plain text named gz", ("plain.tsv.gz", "cannot be read"), command="--predictions_file {}/plain.tsv.gz --output_dir {}/e"),
    Case("unknown ending", ("a.ods", ".tsv", ".parquet"), command="--predictions_file {}/a.ods --output_dir {}/e"),
    Case("text named parquet", ("a.parquet", "cannot be read"), command="--predictions_file {}/a.parquet --output_dir {}/e"),
    Case("FASTA", ("--predictions_file a.fa", ".tsv, .csv"), command="--predictions_file {}/a.fa --output_dir {}/e"),
    Case("text for a prediction", ("word.tsv, line 3", "prediction is 'x'", "numbers"), command="--predictions_file {}/word.tsv --output_dir {}/e"),
    Case("folder below a file", ("--output_dir a.tsv/e", "(a.tsv: Not a directory)"), command="--predictions_file {}/p.tsv --output_dir {}/a.tsv/e"),
    Case("no run", ("--run_dir full", "trainer_state.json", "--output_dir"), command="--predictions_file {}/p.tsv --output_dir {}/e --run_dir {}/full"),
    Case("baseline of other rows", ("--baseline_file other_rows.tsv", "by id", "'11'"), command="--predictions_file {}/p.tsv --output_dir {}/e --baseline_file {}/other_rows.tsv"),
    Case("flag of another script", ("--train_file",), command="--train_file {}/a.tsv"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the cases name."""
    packed = gzip.compress(GOOD.encode())
    contents: dict[str, bytes | str] = {
        "full/x.txt": "mine",
        "a.ods": "PK",
        "a.fa": "ACGT\n",
        "a.parquet": GOOD,
        "b.fa": ">a\nACGTACGT\n",
        "v.txt": "ACGTTGCATTTTCCCCAAAA",
        "w.txt": "ACGTTGCATT" * 6 + "N" * 20 + "CCATGGATAC" * 6,
        "cut.tsv.gz": packed[: len(packed) // 2],
        "plain.tsv.gz": GOOD,
        "list.json": json.dumps([{"sequence": DNA[0], "expression": 1}]),
        "test.tsv": HEADER + ROWS[0] + "\n",
        "short.tsv": f"{HEADER}{DNA[40]}\t1\nACGT\t2\n",
        "empty.tsv": "",
        "binary.tsv": bytes(range(256)),
        "p.tsv": PREDICTIONS,
        "word.tsv": "id\tprediction\tobserved\na\t1\t2\nb\tx\t2\n",
        "other_rows.tsv": PREDICTIONS.replace("\n11\t", "\n99\t"),
        "other/config.json": json.dumps({"model_type": "bert", "vocab_size": 261}),
        "other/tokenizer_config.json": json.dumps({"k": 4, "stride": 1, "alphabet": "ATCG"}),
    }
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return tmp_path


def as_bytes(content: str | bytes) -> bytes:
    """The content of a file."""
    return content.encode() if isinstance(content, str) else content


def training_command(folder: Path, case: Case) -> list[str]:
    """The command line of a case, after flags that are right."""
    (folder / "a.tsv").write_bytes(as_bytes(case.content))
    command = [f"--train_file={folder}/a.tsv", f"--output_dir={folder}/run", "--k=3", "--disable_tqdm"]
    if "--model_name_or_path" not in case.command:
        command += ["--model_type=bert", f"--config_overrides={NETWORK}"]
    return command + [word.format(folder) for word in case.command.split()]


def each(cases: list[Case]) -> pytest.MarkDecorator:
    """Runs a test for every case."""
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@each(DATA + SETTINGS + REGRESSION)
def test_finetune(case: Case, folder: Path, error_line: Callable[..., str]) -> None:
    check_message(error_line(run_finetune_regression.main, *training_command(folder, case)), *case.parts)


@each(DATA + SETTINGS + PRETRAINING)
def test_pretrain(case: Case, folder: Path, error_line: Callable[..., str]) -> None:
    check_message(error_line(run_pretrain_mlm.main, *training_command(folder, case)), *case.parts)


@each(RECIPES)
@pytest.mark.parametrize("main", [run_finetune_regression.main, run_pretrain_mlm.main], ids=["finetune", "pretrain"])
def test_recipe(main: Callable[[list[str]], Any], case: Case, folder: Path, error_line: Callable[..., str]) -> None:
    (folder / "r.yaml").write_bytes(as_bytes(case.content))
    command = training_command(folder, Case("", ()))
    command.remove("--k=3")
    check_message(error_line(main, *command, f"--config={folder}/r.yaml"), *case.parts)


@each(EVALUATION)
def test_evaluate(case: Case, folder: Path, error_line: Callable[..., str]) -> None:
    (folder / "a.tsv").write_text(GOOD)
    check_message(error_line(run_evaluate.main, *case.command.format(*[folder] * 3).split()), *case.parts)


def test_the_rest_of_the_commands_is_right(folder: Path) -> None:
    """Otherwise the cases above could fail for another reason."""
    command = training_command(folder, Case("", ()))
    metrics = run_finetune_regression.main([*command, "--max_steps=1"])
    assert "eval_pearsonr" in metrics
    assert (folder / "run" / "model.safetensors").is_file()
    metrics = run_pretrain_mlm.main([*command, "--max_steps=1", f"--output_dir={folder}/mlm"])
    assert "eval_perplexity" in metrics


def test_failed_runs_leave_nothing_that_looks_like_results(folder: Path, error_line: Callable[..., str]) -> None:
    line = error_line(run_finetune_regression.main, *training_command(folder, Case("", (), with_row("X\t1"))))
    check_message(line, "a.tsv, line 5", "'X'")
    check_message(line, "1 of 30 rows", "run/rejected_rows.tsv", "--on_bad_rows drop")
    assert {path.name for path in (folder / "run").iterdir()} == {"rejected_rows.tsv", "run_files.json"}
    metrics = run_finetune_regression.main([*training_command(folder, Case("", ())), "--max_steps=1"])
    assert metrics["eval_rmse"] > 0
    assert not (folder / "run" / "rejected_rows.tsv").exists()


@pytest.mark.parametrize(
    ("script", "command", "parts"),
    [
        ("run_finetune_regression.py", "--train_file empty.tsv --output_dir run", ("empty.tsv", "is empty")),
        ("run_pretrain_mlm.py", "--train_file a.fa --k 99", ("--output_dir", "missing")),
        ("run_evaluate.py", "p.tsv", ("'p.tsv'", "--flag")),
    ],
)
def test_a_script_prints_one_line(
    script: str,
    command: str,
    parts: tuple[str, ...],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [script, *command.split()])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert [line for line in printed.err.splitlines() if "error" in line.lower()] == printed.err.splitlines()[-1:]
    check_message(printed.err.splitlines()[-1], "error: ", *parts)
    assert printed.out == ""


def test_a_program_prints_one_line(folder: Path) -> None:
    """The script that starts fastest stands for the others, which end in the same function."""
    ended = subprocess.run(
        [sys.executable, ROOT / "run_evaluate.py", "p.tsv"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert ended.returncode == 2
    assert [line for line in ended.stderr.splitlines() if line.startswith("error: ")] == ended.stderr.splitlines()[-1:]
    check_message(ended.stderr.splitlines()[-1], "'p.tsv'", "--flag")
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
