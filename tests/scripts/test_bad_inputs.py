"""What people really type and hand in: every mistake ends in one line that says what, where and how to mend it."""

import gzip
import json
import os
import re
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

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=32,max_position_embeddings=64"
HEADER = "sequence\texpression\n"
_DRAWN = np.random.default_rng(0).choice(list("ACGT"), (60, 20))
DNA = ["".join(row) for row in _DRAWN]
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
    """A mistake: the table that it is in (for the scripts that train), more words, what the message says."""

    name: str
    message: str
    table: str | bytes = GOOD
    words: str = ""


DATA = [
    Case("empty file", "a.tsv: the file is empty$", ""),
    Case("only a header", "a.tsv: no rows$", HEADER),
    Case("commas in tsv", r"a.tsv: no column 'sequence'; .* name should end in .csv$", GOOD.replace("\t", ",")),
    Case("semicolons in tsv", r"a.tsv: no column 'sequence'; .* should end in .csv, with commas$", GOOD.replace("\t", ";")),
    Case("missing sequence column", "a.tsv: no column 'sequence'; columns found: 'seq', 'expression'; name them by --sequence_column", GOOD[:3] + GOOD[8:]),
    Case("missing label column", "a.tsv: no column 'activity'; columns found: 'sequence', 'expression'; .*--label_column", words="--label_column activity"),
    Case("missing second label", "a.tsv: no column 'b'", words="--label_column expression,b"),
    Case("missing id column", "a.tsv: no column 'name'", words="--id_column name"),
    Case("missing split column", "a.tsv: no column 'fold'", words="--split_column fold"),
    Case("missing group column", "a.tsv: no column 'locus'", words="--group_column locus"),
    Case("sequence as label", "a.tsv, line 2: sequence is .*: allowed are numbers$", words="--label_column sequence"),
    Case("swapped columns", "a.tsv, line 2: letter '0' at base 1: allowed are ACGTN", words="--sequence_column expression --label_column expression"),
    Case("text in the label", "a.tsv, line 5: expression is 'high': allowed are numbers$", with_row(f"{DNA[3]}\thigh")),
    Case("decimal comma", r"a.tsv, line 5: expression is '1,5': allowed are numbers \(write decimals with a point\)$", with_row(f"{DNA[3]}\t1,5")),
    Case("NaN", "a.tsv, line 5: no value in expression: every row needs one; remove rows without$", with_row(f"{DNA[3]}\tNaN")),
    Case("inf", r"a.tsv, line 5: expression is inf: allowed are finite numbers", with_row(f"{DNA[3]}\tinf")),
    Case("minus inf", r"a.tsv, line 5: expression is -inf: allowed are finite numbers", with_row(f"{DNA[3]}\t-Infinity")),
    Case("too large for float32", r"a.tsv, line 5: expression is 1e\+60: allowed are finite numbers", with_row(f"{DNA[3]}\t1e60")),
    Case("empty label", "a.tsv, line 5: no value in expression", with_row(f"{DNA[3]}\t")),
    Case("binary file", r"a.tsv: not a text file \(", bytes(range(256)) * 20),
    Case("zero bytes", r"a.tsv: not a text file \(it holds zero bytes\)$", bytes(5000)),
    Case("UTF-16", r"a.tsv: not a text file \(", GOOD.encode("utf-16")),
    Case("bytes in a row", r"a.tsv: (not a text file|cannot be read) \(", with_row(f"{DNA[3]}\t1").encode().replace(DNA[3].encode(), b"AC\xff\xfe")),
    Case("protein", r"a.tsv, line 5: letter 'L' at base 4: allowed are ACGTN, U, and IUPAC codes", with_row("MKVLAAGIVGLEFQ\t1")),
    Case("gaps", "a.tsv, line 5: letter '-' at base 4", with_row("ACG--TACGTACGT\t1")),
    Case("points", r"a.tsv, line 5: letter '\.' at base 4", with_row("ACG..TACGTACGT\t1")),
    Case("a blank inside", "a.tsv, line 5: letter ' ' at base 4", with_row("ACG TACGTACGT\t1")),
    Case("quotes in tsv", "a.tsv, line 5: letter '\"' at base 1", with_row(f'"{DNA[3]}"\t1')),
    Case("one base", "a.tsv, line 5: 1 bases are shorter than one k-mer of 3: remove the row or take a smaller --k$", with_row("A\t1")),
    Case("a million bases", "a.tsv, line 5: 1000000 bases give 1000000 tokens, but the model reads 64: cut with --max_seq_length 64", with_row("ACGT" * 250_000 + "\t1")),
    Case("empty sequence", "a.tsv, line 5: the sequence is empty: remove the row$", with_row("\t1")),
    Case("blank line", "a.tsv, line 5: the sequence is empty: remove the row$", with_row("")),
    Case("only N", r"a.tsv: 100.0% of the k-mers are \[UNK\] .*: is this DNA\? Check --alphabet", HEADER + "".join(f"{'N' * n}\t{n}\n" for n in range(5, 25))),
    Case("too many columns", "a.tsv, line 5: 3 columns, but 2 in the first line: ", with_row(f"{DNA[3]}\t1\t2")),
    Case("too few columns", "a.tsv, line 5: 1 columns, but 2 in the first line: ", with_row(DNA[3])),
    Case("a column twice", "a.tsv: the column 'expression' stands twice in the header$", GOOD.replace("sequence\t", "expression\t", 1), words="--sequence_column expression"),
    Case("duplicate ids", "a.tsv, line 2 and .*a.tsv, line 31 have the same id: ids may not repeat$", columns(name=lambda i: i % 29), "--id_column name"),
    Case("empty id", "a.tsv, line 4: name is empty: every row needs one$", columns(name=lambda i: "" if i == 2 else i), "--id_column name"),
    Case("duplicate sequence", r"a.tsv, line 2 and .*a.tsv, line 5 hold the same sequence \(1 rows .*: remove or average them, or .*--duplicates keep$", with_row(f"{DNA[0].lower()}\t1")),
    Case("all labels equal", "expression: all [0-9]+ training values are 1; there is nothing to learn$", re.sub(r"\t\d\.5", "\t1", GOOD)),
    Case("one row", "1 rows cannot give 0 validation and 0 test rows|no validation rows", HEADER + ROWS[0]),
    Case("unknown word for a split", "a.tsv, line 4: fold is 'holdout': allowed are train, validation and test$", columns(fold=lambda i: "holdout" if i == 2 else "train"), "--split_column fold"),
    Case("same promoter in train and validation", r"a.tsv, line 2 \(train\) and .*a.tsv, line 5 \(validation\) hold the same sequence: remove it from one side$",
         columns(fold=lambda i: "val" if i > 2 else "train").replace(DNA[3], DNA[0]), "--split_column fold"),
    Case("group on two sides", r"a.tsv, line 3 \(train\) and .*a.tsv, line 31 \(validation\) hold the same locus: a group must be on one side",
         columns(fold=lambda i: "val" if i > 15 else "train", locus=lambda i: 1 if i == 29 else i), "--split_column fold --group_column locus"),
    Case("no training rows", "a.tsv: no training rows$", columns(fold=lambda i: "val"), "--split_column fold"),
    Case("no validation rows", "^no validation rows: give --validation_file, --validation_split_percentage", words="--validation_split_percentage 0"),
    Case("no validation rows in the column", "^no validation rows: ", columns(fold=lambda i: "train"), "--split_column fold"),
    Case("one large group", "^no validation rows: ", columns(locus=lambda i: 1), "--group_column locus"),
    Case("exact rows divide a group", "validation: exactly 3 rows would divide a group; 2 rows would not$", columns(locus=lambda i: i // 2), "--group_column locus --validation_rows 3"),
    Case("more rows than there are", "30 rows cannot give 20 validation and 15 test rows and leave some to train on: ask for fewer$", words="--validation_rows 20 --test_rows 15"),
    Case("percentages over 100", "--validation_split_percentage and --test_split_percentage leave no training rows$", words="--validation_split_percentage 60 --test_split_percentage 50"),
    Case("a percentage of 100", "^--validation_split_percentage 100.0: allowed is 0 up to", words="--validation_split_percentage 100"),
    Case("a share for a percentage", "^no validation rows: ", words="--validation_split_percentage 0.1"),
]  # fmt: skip
SETTINGS = [
    Case("k of 0", "k is 0; allowed are whole numbers from 1 to 8", words="--k 0"),
    Case("k of 9", "k is 9; allowed are whole numbers from 1 to 8", words="--k 9"),
    Case("k that is no number", "^argument --k: invalid int value: 'six'$", words="--k six"),
    Case("stride above k", "stride is 4; allowed are whole numbers from 1 to 3", words="--stride 4"),
    Case("alphabet with a letter twice", "alphabet is 'AACG'; allowed are 2 or more distinct letters", words="--alphabet AACG"),
    Case("alphabet of one letter", "alphabet is 'A'; allowed are 2 or more", words="--alphabet A"),
    Case("alphabet of another molecule", r"a.tsv: .* of the k-mers are \[UNK\] .*Check --alphabet", words="--alphabet XYZW"),
    Case("unknown flag", r"^unknown argument --learning_rat: did you mean --learning_rate\?$", words="--learning_rat 1"),
    Case("old flag", "^--evaluation_strategy|^unknown argument --evaluation_strategy: did you mean --eval_strategy", words="--evaluation_strategy epoch"),
    Case("removed flag", "^--no_cuda is not used here: write --use_cpu$", words="--no_cuda"),
    Case("token on the command line", "^--hub_token is not used here: write nothing, it would be saved and uploaded: set HF_TOKEN", words="--hub_token hf_x"),
    Case("word without a flag", "^unexpected word 'more.tsv': values follow a --flag", words="more.tsv"),
    Case("flag without a value", "^argument --train_file: expected one value", words="--train_file"),
    Case("plasmid that is absent", "^--flank_file .*no.txt: no sequence can be read from it: .*No such file", words="--flank_file {}/no.txt"),
    Case("plasmid that is a table", "^--flank_file .*p.tsv: no sequence can be read from it: letter 'i'", words="--flank_file {}/p.tsv"),
    Case("plasmid without an insert", "v.txt: no single longest run of N that marks the insert", words="--flank_file {}/v.txt"),
    Case("insert that is not there", "^--flank_insert GGGGG: found 0 times", words="--flank_file {}/v.txt --flank_insert GGGGG"),
    Case("insert of other letters", "^--flank_insert 3-9: allowed are START:END, 0-based, or letters of ACGTN$", words="--flank_file {}/v.txt --flank_insert 3-9"),
    Case("more flank than plasmid", "8 bases stand before the insert and 8 after it, fewer than --flank_length 9", words="--flank_file {}/v.txt --flank_insert 8:12 --flank_length 9"),
    Case("flanks and too few positions", "a.tsv, line 2: 134 bases give 136 tokens, but the model reads 64", words="--flank_file {}/w.txt --flank_length 57 --k 1"),
    Case("identity of a half", "^--similar_sequences 0.5: allowed is above 0.5, up to 1$", words="--similar_sequences 0.5"),
    Case("similar sequences in two tables", "^--similar_sequences 0.9 divides the rows of one table and does not look into .*test.tsv: give all rows in one --train_file", words="--similar_sequences 0.9 --test_file {}/test.tsv"),
    Case("clusters in two tables", "^--cluster_file c.tsv divides the rows of one table and does not look into .*test.tsv: .* or leave the flag out$", words="--cluster_file c.tsv --validation_file {}/test.tsv"),
    Case("flank length without flanks", "^--flank_length 30: no plasmid is known: give --flank_file with it, or leave it out$", words="--flank_length 30"),
    Case("missing recipe", "^--config .*absent.yaml: No such file or directory$", words="--config {}/absent.yaml"),
    Case("table as recipe", "^--config .*a.tsv is (no mapping|not YAML)", words="--config {}/a.tsv"),
    Case("unknown metric", "^--metric_for_best_model 'accuracy1' is not measured: allowed are loss, ", words="--metric_for_best_model accuracy1"),
    Case("unknown optimizer", "invalid choice: 'sgdd'|'sgdd' is not a valid", words="--optim sgdd"),
    Case("unknown schedule", "^argument --lr_scheduler_type: invalid choice: 'cosin'", words="--lr_scheduler_type cosin"),
    Case("schedule settings that are no JSON", r"^'\{min_lr' is no JSON \(.*\): write .* or a mapping in a recipe$", words="--lr_scheduler_kwargs {{min_lr"),
    Case("batch of 0", "batch_size", words="--per_device_train_batch_size 0"),
    Case("negative batch", "batch_size", words="--per_device_train_batch_size=-4"),
    Case("accumulation of 0", "^--gradient_accumulation_steps: allowed is 1 or more$", words="--gradient_accumulation_steps 0"),
    Case("accumulated evaluation of 0", "^--eval_accumulation_steps 0: allowed is 1 or more$", words="--eval_accumulation_steps 0"),
    Case("empty metric", "^--metric_for_best_model is empty: name a metric or leave", words="--metric_for_best_model="),
    Case("no predictions", "^--prediction_loss_only true: the metrics need predictions", words="--prediction_loss_only"),
    Case("the Trainer's label names", "^--label_names: the labels are those of --label_column", words="--label_names x"),
    Case("empty column name", "^--sequence_column is empty: name the column with the DNA$", words="--sequence_column="),
    Case("negative seed", "^--split_seed -1: allowed is 0 or more$", words="--split_seed -1"),
    Case("encoder-decoder", "^t5 models are encoder-decoders: take one that only encodes", words="--model_type t5 --config_overrides d_model=16"),
    Case("patience without evaluations", "^--early_stopping_patience needs evaluations: ", words="--early_stopping_patience 2 --eval_strategy no"),
    Case("resume without a checkpoint", "^--resume_from_checkpoint true: .*run holds no checkpoint to go on from$", words="--resume_from_checkpoint true"),
    Case("resume from elsewhere", "^--resume_from_checkpoint .*absent: no checkpoint there", words="--resume_from_checkpoint {}/absent"),
    Case("folder below a file", r"^--output_dir .*a.tsv/run cannot be written \(.*\): name another folder$", words="--output_dir {}/a.tsv/run"),
    Case("file as folder", r"^--output_dir .*a.tsv cannot be written \(.*\): name another folder$", words="--output_dir {}/a.tsv"),
    Case("folder that holds something", r"^--output_dir .*full is not empty \(it holds x.txt\): .*--overwrite_output_dir$", words="--output_dir {}/full"),
    Case("token folder below a file", "token files cannot be written there .*: name another --token_cache_dir$", words="--token_cache_dir {}/a.tsv/cache"),
    Case("file not found", "absent.tsv: no such file$", words="--train_file {}/absent.tsv"),
    Case("test file not found", "absent.tsv: no such file$", words="--test_file {}/absent.tsv"),
    Case("folder as file", "full is a folder: name a file in it", words="--train_file {}/full"),
    Case("unknown ending", "a.xlsx: the name does not say the format: allowed endings are .tsv", words="--train_file {}/a.xlsx"),
    Case("truncated gz", r"cut.tsv.gz: cannot be read \(.*\): is it whole", words="--train_file {}/cut.tsv.gz"),
    Case("plain text named gz", r"plain.tsv.gz: cannot be read \(.*\): is it whole, and what its name says\?$", words="--train_file {}/plain.tsv.gz"),
    Case("JSON that is no lines", r"list.json, line 1: .*: needed is one \{\"column\": value, ...\} a line$", words="--train_file {}/list.json"),
    Case("text named parquet", r"a.parquet: cannot be read \(.*\): is it whole", words="--train_file {}/a.parquet"),
    Case("same promoter in train and test", r"a.tsv, line 2 \(train\) and .*test.tsv, line 2 \(test\) hold the same sequence: remove it from one side$", words="--test_file {}/test.tsv --validation_split_percentage 0 --eval_strategy no"),
    Case("two names for validation", "^--split_column and --validation_file both name the validation rows: give one$", words="--split_column s --validation_file {}/test.tsv"),
    Case("dataset that is a file", "a.tsv' is a file: give it as --train_file$|give one$", words="--dataset_name {}/a.tsv"),
    Case("no such checkpoint", "^--model_name_or_path .*absent: no such folder, and not on the Hub", words="--model_name_or_path {}/absent"),
    Case("folder without a checkpoint", "^--model_name_or_path .*full holds no config.json: give the output folder of a training run$", words="--model_name_or_path {}/full"),
    Case("file as checkpoint", "^--model_name_or_path .*a.tsv is a file: give the folder that holds config.json", words="--model_name_or_path {}/a.tsv"),
    Case("checkpoint of another k", "^--k 3: the checkpoint .*other was trained with k 4; leave the flag out", words="--model_name_or_path {}/other"),
    Case("unknown architecture", "^--model_type 'brt' is no architecture: bert, modernbert, roberta, ...$", words="--model_type brt"),
    Case("unknown setting of the network", "^--config_overrides 'hidden=3': ", words="--config_overrides hidden=3"),
    Case("network that cannot be built", "no such model can be built: ", words="--config_overrides hidden_size=10,num_attention_heads=3"),
    Case("longer than the model reads", "a.tsv, line 2: 20 bases give 20 tokens, but the model reads 8: cut with --max_seq_length 8, or train", words=f"--config_overrides {NETWORK[:-2]}8"),
    Case("cut to nothing", "^--max_seq_length 2: allowed is 3 tokens or more$", words="--max_seq_length 2"),
]  # fmt: skip
# Only where both scripts have the flag or the check.
LABELLED = re.compile("label|NaN|inf|comma|float32|swapped|missing second|one row")
FRAMES = [
    Case("frames of another architecture", "^reading frames are there for bert, not for modernbert: leave them out$", words="--reading_frames 3 --model_type modernbert --config_overrides num_hidden_layers=1"),
    Case("frames and a stride", "^--stride 2: --reading_frames takes its k-mers from stride 1", words="--reading_frames 3 --stride 2"),
    Case("more frames than k-mers", r"a.tsv, line \d+: 18 k-mers are fewer than the model's 19 reading frames: remove the row, or train with fewer --reading_frames$", words="--reading_frames 19"),
    Case("more frames than k-mers of a test row", "short.tsv, line 3: 2 k-mers are fewer than the model's 3 reading frames", words="--reading_frames 3 --test_file {}/short.tsv"),
    Case("no frames", "^--reading_frames 0: allowed is 1 or more$", words="--reading_frames 0"),
    Case("unknown loss", "^argument --loss: invalid choice: 'huber'", words="--loss huber"),
]  # fmt: skip
PRETRAINING = [
    Case("top fraction of a missing column", "a.tsv: no column 'activity'", words="--top_fraction 0.2 --label_column activity"),
    Case("top fraction of all", "^--top_fraction 1.0: allowed is above 0 and below 1$", words="--top_fraction 1"),
    Case("top fraction of too few rows", "^--top_fraction 0.1 keeps 4 of 30 rows, which cannot give 3 validation and 1 test rows and leave some to train on: keep more, or hold out fewer$", words="--top_fraction 0.1 --validation_rows 3 --test_rows 1"),
    Case("top fraction of no validation rows", "^--top_fraction 0.1 keeps 4 rows, too few to hold 10 % of them out for validation: keep more, or set --validation_split_percentage or --validation_rows$", words="--top_fraction 0.1"),
    Case("top fraction of FASTA", "b.fa: a FASTA file has no column 'expression'", words="--train_file {}/b.fa --top_fraction 0.2"),
    Case("short windows of nothing", "^--short_windows 0.5: allowed is 0 to 1, with --window_length", words="--short_windows 0.5"),
    Case("no FASTA", "a.fa, line 1: 'ACGT' before the first header", words="--train_file {}/a.fa"),
    Case("region of words", "mask_region", words="--mask_region insert"),
    Case("region without an end", "mask_region|region", words="--mask_region 17"),
    Case("region backwards", "mask_region|region", words="--mask_region 12:3"),
    Case("region without bases", "mask_region|region", words="--mask_region=19:-19"),
    Case("window shorter than a k-mer", "^--window_length 2: allowed is one k-mer, 3 bases, or more$", words="--window_length 2"),
    Case("step above the window", "^--window_step 9: allowed is up to --window_length", words="--window_length 8 --window_step 9"),
    Case("probability of 1", "^--mlm_probability 1.0: allowed is above 0 and below 1$", words="--mlm_probability 1"),
    Case("labels in pretraining", "^--label_column expression says what --top_fraction counts by", words="--label_column expression"),
]  # fmt: skip
RECIPES = [
    Case(
        "unknown key",
        r"^--config .*r.yaml: unknown argument learning_rat: did you mean learning_rate\?$",
        "learning_rat: 1",
    ),
    Case("old key", "^--config .*r.yaml: warmup_ratio is not used here: write --warmup_steps 0.1", "warmup_ratio: 0.1"),
    Case("no mapping", "^--config .*r.yaml is no mapping: needed are lines of `flag: value`$", "- k: 3"),
    Case("no YAML", "^--config .*r.yaml is not YAML: ", "k: [3"),
    Case("words for a number", "^argument --k: invalid int value: 'three'$", "k: three"),
    Case("recipe within a recipe", "^--config .*r.yaml: unknown argument config", "config: other.yaml"),
    Case("no text", "^--config .*r.yaml is not YAML: ", b"\xff\xfe\x00"),
]
EVALUATION = [
    Case("no flags", "^give --predictions_file .* and --output_dir", words=""),
    Case("file not found", "absent.tsv", words="--predictions_file {}/absent.tsv --output_dir {}/e"),
    Case("folder as file", "full", words="--predictions_file {}/full --output_dir {}/e"),
    Case("empty file", "empty.tsv is empty|empty.tsv: the file is empty", words="--predictions_file {}/empty.tsv --output_dir {}/e"),
    Case("a training table", "a.tsv: no column 'prediction'; columns found: sequence, expression; run_predict.py", words="--predictions_file {}/a.tsv --output_dir {}/e"),
    Case("binary file", "binary.tsv", words="--predictions_file {}/binary.tsv --output_dir {}/e"),
    Case("truncated gz", "cut.tsv.gz", words="--predictions_file {}/cut.tsv.gz --output_dir {}/e"),
    Case("plain text named gz", "plain.tsv.gz", words="--predictions_file {}/plain.tsv.gz --output_dir {}/e"),
    Case("unknown ending", "a.xlsx", words="--predictions_file {}/a.xlsx --output_dir {}/e"),
    Case("text named parquet", "a.parquet", words="--predictions_file {}/a.parquet --output_dir {}/e"),
    Case("FASTA", "a.fa: predictions are read from .tsv", words="--predictions_file {}/a.fa --output_dir {}/e"),
    Case("text for a prediction", "word.tsv, line 3: prediction is 'x': allowed are numbers$", words="--predictions_file {}/word.tsv --output_dir {}/e"),
    Case("folder below a file", "a.tsv", words="--predictions_file {}/p.tsv --output_dir {}/a.tsv/e"),
    Case("no run", "^--run_dir .*full has no trainer_state.json: name the --output_dir of a training run$", words="--predictions_file {}/p.tsv --output_dir {}/e --run_dir {}/full"),
    Case("baseline of other rows", "^--baseline_file .*other_rows.tsv, by id: .*: predict the same rows$", words="--predictions_file {}/p.tsv --output_dir {}/e --baseline_file {}/other_rows.tsv"),
    Case("flag of another script", "^unknown argument --train_file", words="--train_file {}/a.tsv"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the cases name."""
    packed = gzip.compress(GOOD.encode())
    contents: dict[str, bytes | str] = {
        "full/x.txt": "mine",
        "a.xlsx": "PK",
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


def training_words(folder: Path, case: Case) -> list[str]:
    """The command line of a case, after words that are right."""
    (folder / "a.tsv").write_bytes(case.table.encode() if isinstance(case.table, str) else case.table)
    words = [f"--train_file={folder}/a.tsv", f"--output_dir={folder}/run", "--k=3", "--disable_tqdm"]
    network = [] if "--model_name_or_path" in case.words else [f"--config_overrides={NETWORK}"]
    return words + network + [word.format(folder) for word in case.words.split()]


def check(main: Callable[[list[str]], Any], words: list[str], message: str) -> None:
    """Runs a script, which must refuse with one line."""
    with pytest.raises((ValueError, OSError)) as found:
        main(words)
    text = str(found.value)
    assert re.search(message, text), text
    assert "\n" not in text
    assert 10 < len(text) < 1000, text


def named(cases: list[Case]) -> Any:
    """Runs a test for every case."""
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@named(DATA + SETTINGS + FRAMES)
def test_finetune(case: Case, folder: Path) -> None:
    check(run_finetune_regression.main, training_words(folder, case), case.message)


@named(
    [case for case in DATA + SETTINGS if not LABELLED.search(case.name) and "duplicate seq" not in case.name]
    + PRETRAINING
)
def test_pretrain(case: Case, folder: Path) -> None:
    check(run_pretrain_mlm.main, training_words(folder, case), case.message)


@named(RECIPES)
@pytest.mark.parametrize("main", [run_finetune_regression.main, run_pretrain_mlm.main], ids=["finetune", "pretrain"])
def test_recipe(main: Callable[[list[str]], Any], case: Case, folder: Path) -> None:
    (folder / "r.yaml").write_bytes(case.table.encode() if isinstance(case.table, str) else case.table)
    words = training_words(folder, Case("", ""))
    words.remove("--k=3")
    check(main, [*words, "--config", f"{folder}/r.yaml"], case.message)


@named(EVALUATION)
def test_evaluate(case: Case, folder: Path) -> None:
    (folder / "a.tsv").write_text(GOOD)
    check(run_evaluate.main, [word.format(folder) for word in case.words.split()], case.message)


def test_the_words_around_the_mistakes_are_right(folder: Path) -> None:
    """Otherwise the cases above could be refused for another reason."""
    words = training_words(folder, Case("", ""))
    metrics = run_finetune_regression.main([*words, "--max_steps=1"])
    assert "eval_pearsonr" in metrics
    assert (folder / "run" / "model.safetensors").is_file()
    metrics = run_pretrain_mlm.main([*words, "--max_steps=1", f"--output_dir={folder}/mlm"])
    assert "eval_perplexity" in metrics


def test_refused_runs_leave_nothing_that_looks_like_results(folder: Path) -> None:
    check(run_finetune_regression.main, training_words(folder, Case("", "", with_row("X\t1"))), "line 5")
    assert list((folder / "run").iterdir()) == []
    metrics = run_finetune_regression.main([*training_words(folder, Case("", "")), "--max_steps=1"])
    assert metrics["eval_rmse"] > 0


@pytest.mark.parametrize(
    ("script", "words", "line"),
    [
        ("run_finetune_regression.py", "--train_file {}/empty.tsv --output_dir {}/run", "error: {}/empty.tsv: the file is empty"),
        ("run_pretrain_mlm.py", "--train_file {}/a.fa --k 99", "error: --output_dir is missing: name a new folder for the results"),
        ("run_evaluate.py", "p.tsv", "error: unexpected word 'p.tsv': values follow a --flag, in quotes if they have blanks"),
    ],
)  # fmt: skip
def test_command_line_prints_one_line(script: str, words: str, line: str, folder: Path) -> None:
    found = subprocess.run(
        [sys.executable, ROOT / script, *words.replace("{}", str(folder)).split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert found.returncode == 2
    lines = found.stderr.splitlines()
    assert lines[-1] == line.replace("{}", str(folder))
    assert sum(text.startswith("error:") for text in lines) == 1
    assert "Traceback" not in found.stderr
    assert found.stdout == ""
