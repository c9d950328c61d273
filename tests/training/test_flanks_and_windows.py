"""From flags to splits: plasmid flanks, random windows and the most expressed rows."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from kmerbert.cli.flags import PretrainingDataArguments, RegressionDataArguments, SequenceDataArguments
from kmerbert.tokens.batches import TokenDataset
from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.splits import load_flanks, load_splits
from tests.support.messages import fails
from tests.support.tiny_shards import write_shards
from tokenization_kmer import Flanks, KmerTokenizer

TABLE = Callable[..., Path]
DNA = Callable[..., list[str]]
LEFT, RIGHT = "CCGGATTACATGCATTTTTTTCACATC", "GGTTACGGCTGTTAAGGCCTTA"
FLANKS = Flanks(LEFT, RIGHT, 20)


class Config:
    """What load_flanks reads and sets."""


def load(
    arguments: SequenceDataArguments,
    tokenizer: KmerTokenizer,
    labels: tuple[str, ...] = (),
    flanks: Flanks | None = None,
) -> dict[str, TokenDataset]:
    """The splits, for a training run with these flags."""
    return load_splits(arguments, KmerTrainingArguments(output_dir="unused"), tokenizer, None, labels, flanks)


def decoded(tokenizer: KmerTokenizer, dataset: TokenDataset) -> list[str]:
    """The DNA that the model reads, row by row."""
    rows = [dataset[row]["input_ids"][0] for row in range(len(dataset))]
    return [tokenizer.decode(row, skip_special_tokens=True) for row in rows]


@pytest.mark.parametrize("is_bare", [True, False])
def test_flanks_are_read_by_the_model(is_bare: bool, table: TABLE, dna: DNA) -> None:
    inserts, tokenizer = dna(20, 30), KmerTokenizer(3, alphabet="ACGTN")
    rows = inserts if is_bare else [LEFT[-17:] + insert + RIGHT[:13] for insert in inserts]
    arguments = RegressionDataArguments(train_file=str(table("a.tsv", sequence=rows, expression=range(20))))
    splits = load(arguments, tokenizer, ("expression",), FLANKS)
    sequences = {
        int(label[0]): dna
        for split in splits.values()
        for label, dna in zip(split.labels, decoded(tokenizer, split), strict=True)
    }
    assert [sequences[row] for row in range(20)] == [LEFT[-20:] + insert + RIGHT[:20] for insert in inserts]


def test_a_table_that_changes_after_flanks_were_learnt(table: TABLE, dna: DNA) -> None:
    """Whether its rows are bare inserts was learnt from rows that are not there any more."""
    inserts = dna(20, 30)
    path = table("a.tsv", sequence=inserts, expression=range(20))
    arguments = RegressionDataArguments(train_file=str(path), flank_length=20)
    config = Config()
    config.flanks = asdict(FLANKS)
    flanks = load_flanks(arguments, config)
    assert load(arguments, KmerTokenizer(3), ("expression",), flanks)
    table("a.tsv", sequence=[LEFT[-17:] + insert + RIGHT[:13] for insert in inserts], expression=range(20))
    with fails("a.tsv", "changed"):
        load(arguments, KmerTokenizer(3), ("expression",), flanks)


def test_one_insert_bare_and_with_flanks_is_a_leak(table: TABLE, dna: DNA) -> None:
    inserts = dna(20, 30)
    bare = table("bare.tsv", sequence=inserts, expression=range(20))
    full = table("full.tsv", sequence=[LEFT[-17:] + inserts[4] + RIGHT[:13]], expression=[1])
    arguments = RegressionDataArguments(train_file=str(bare), test_file=str(full))
    with fails("bare.tsv, line 6 (train)", "full.tsv, line 2 (test)", "sequence"):
        load(arguments, KmerTokenizer(3), ("expression",), FLANKS)


def test_rows_with_and_without_flanks_in_one_table(table: TABLE, dna: DNA) -> None:
    rows = dna(20, 30)
    rows[7] = LEFT[-17:] + rows[7] + RIGHT[:13]
    arguments = RegressionDataArguments(train_file=str(table("a.tsv", sequence=rows, expression=range(20))))
    with fails("a.tsv, line 9", "17 bases", "`flank_file`"):
        load(arguments, KmerTokenizer(3), ("expression",), FLANKS)


def test_bare_inserts_among_promoters_are_read_alike_by_the_scripts(table: TABLE, dna: DNA, tmp_path: Path) -> None:
    """Once it is known how many flanking bases most rows have, each row is completed by itself."""
    plasmid, inserts = tmp_path / "plasmid.txt", dna(20, 30)
    plasmid.write_text(LEFT + "N" + RIGHT)
    mixed = [LEFT[-17:] + insert + RIGHT[:13] if row % 5 else insert for row, insert in enumerate(inserts)]
    arguments = RegressionDataArguments(
        train_file=str(table("mixed.tsv", sequence=mixed, expression=range(20))),
        flank_file=str(plasmid),
        flank_length=20,
        validation_split_percentage=0,
    )
    tokenizer = KmerTokenizer(3)
    rows = load(arguments, tokenizer, ("expression",), load_flanks(arguments, Config()))["train"]
    assert decoded(tokenizer, rows) == [LEFT[-20:] + insert + RIGHT[:20] for insert in inserts]


def test_a_checkpoint_keeps_its_flanks(table: TABLE, dna: DNA, tmp_path: Path) -> None:
    plasmid = tmp_path / "plasmid.txt"
    plasmid.write_text(LEFT + "NNN" + RIGHT)
    bare = str(table("bare.tsv", sequence=dna(9), expression=range(9)))
    full = str(table("full.tsv", sequence=[LEFT[-9:] + row + RIGHT[:12] for row in dna(9)], expression=range(9)))
    config, plain = Config(), RegressionDataArguments(train_file=full)
    assert load_flanks(plain, config) is None
    assert not hasattr(config, "flanks")
    arguments = RegressionDataArguments(train_file=bare, flank_file=str(plasmid), flank_length=20)
    assert load_flanks(arguments, config) == replace(FLANKS, carried=[0, 0])
    assert config.flanks == {"left": LEFT, "right": RIGHT, "length": 20, "carried": [0, 0]}
    # How many flanking bases the rows have themselves is read again from each training file.
    assert load_flanks(plain, config) == replace(FLANKS, carried=[9, 12])
    assert config.flanks["carried"] == [9, 12]
    same = RegressionDataArguments(train_file=full, flank_length=20)
    assert load_flanks(same, config).length == 20
    other = RegressionDataArguments(train_file=full, flank_length=12)
    with fails("`flank_length` 12", "20 bases", "`flank_file`"):
        load_flanks(other, config)
    arguments.flank_length = 3
    assert load_flanks(arguments, config).length == 3 == config.flanks["length"]


def test_streamed_rows_say_what_they_include(dna: DNA, tmp_path: Path) -> None:
    """Otherwise a pipeline, which reads one text at a time, could not know a promoter with a mutation in its flanks."""
    rows = [FLANKS.left[-9:] + row + FLANKS.right[:12] for row in dna(12, 30)]
    folder = write_shards(tmp_path / "shards", rows, np.arange(12.0))
    plasmid = tmp_path / "plasmid.txt"
    plasmid.write_text(FLANKS.left + "N" * 10 + FLANKS.right)
    config = Config()
    arguments = RegressionDataArguments(
        train_file=str(folder), streaming=True, flank_file=str(plasmid), flank_length=FLANKS.length
    )
    assert load_flanks(arguments, config) == replace(FLANKS, carried=[9, 12])
    assert config.flanks["carried"] == [9, 12]


def test_150_bases_are_the_default(table: TABLE, dna: DNA, tmp_path: Path) -> None:
    plasmid, (left, right) = tmp_path / "plasmid.txt", dna(2, 160)
    plasmid.write_text(left + "N" + right)
    arguments = RegressionDataArguments(train_file=str(table("a.tsv", sequence=dna(9), expression=range(9))))
    arguments.flank_file = str(plasmid)
    assert load_flanks(arguments, Config()).length == 150
    arguments.flank_length = 0
    assert load_flanks(arguments, Config()).length == 0


def test_a_flank_length_needs_a_plasmid(table: TABLE, dna: DNA) -> None:
    path = str(table("a.tsv", sequence=dna(9), expression=range(9)))
    assert load_flanks(RegressionDataArguments(train_file=path, flank_length=0), Config()) is None
    with fails("`flank_length` 150", "no plasmid", "`flank_file`"):
        load_flanks(RegressionDataArguments(train_file=path, flank_length=150), Config())


def test_rows_with_fewer_kmers_than_frames(table: TABLE, dna: DNA) -> None:
    rows = dna(12)
    rows[7] = rows[7][:6]  # four 3-mers
    path = table("a.tsv", sequence=rows, expression=range(12))
    splits = load(RegressionDataArguments(train_file=str(path)), KmerTokenizer(3), ("expression",))
    for dataset in splits.values():
        dataset.check_reading_frames(4)
    with fails("a.tsv, line 9", "4 k-mers", "5 reading frames", "`reading_frames`"):
        for dataset in splits.values():
            dataset.check_reading_frames(5)


def test_top_fraction_is_taken_before_the_split(table: TABLE, dna: DNA) -> None:
    """Values 0 to 9, five rows of each: the value at place int(0.25 x 50) = 12, from the top, is 7."""
    path = table("a.tsv", sequence=dna(50), expression=[value for value in range(10) for _ in range(5)])
    arguments = PretrainingDataArguments(train_file=str(path), top_fraction=0.25, validation_rows=4)
    splits = load(arguments, KmerTokenizer(3))
    values = {split: rows.labels[:, 0].tolist() for split, rows in splits.items()}
    assert (len(values["train"]), len(values["validation"])) == (11, 4)
    assert sorted(values["train"] + values["validation"]) == [7.0] * 5 + [8.0] * 5 + [9.0] * 5
    assert "labels" not in splits["train"][0]


def test_top_fraction_with_a_split_column_and_other_files(table: TABLE, dna: DNA) -> None:
    rows, sides = dna(30), ["train", "train", "validation"] * 10
    path = table("a.tsv", sequence=rows, split=sides, activity=range(30))
    lines = table("b.tsv", sequence=dna(5, seed=9))
    settings = {"train_file": str(path), "test_file": str(lines), "split_column": "split"}
    arguments = PretrainingDataArguments(**settings, top_fraction=0.5, label_column="activity")
    splits = load(arguments, KmerTokenizer(3))
    assert splits["train"].labels[:, 0].tolist() == [15, 16, 18, 19, 21, 22, 24, 25, 27, 28]
    assert splits["validation"].labels[:, 0].tolist() == [14, 17, 20, 23, 26, 29]
    assert len(splits["test"]) == 5


def test_top_fraction_of_the_challenge_format(tmp_path: Path, dna: DNA) -> None:
    path = tmp_path / "train_sequences.txt"
    path.write_text("".join(f"{row}\t{value}\n" for value, row in enumerate(dna(40))))
    splits = load(PretrainingDataArguments(train_file=str(path), top_fraction=0.2), KmerTokenizer(3))
    assert sorted(np.concatenate([rows.labels[:, 0] for rows in splits.values()])) == list(range(31, 40))


def test_random_windows_do_not_depend_on_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dna: DNA) -> None:
    path = tmp_path / "genome.fa"
    path.write_text("".join(f">{number}\n{row}\n" for number, row in enumerate(dna(12, 400))))
    tokenizer = KmerTokenizer(6)

    def read(seed: int, cache: str) -> list[str]:
        arguments = PretrainingDataArguments(
            train_file=str(path),
            window_length=60,
            short_windows=0.5,
            split_seed=seed,
            token_cache_dir=str(tmp_path / cache),
        )
        return sorted(dna for split in load(arguments, tokenizer).values() for dna in decoded(tokenizer, split))

    whole = read(3, "a")
    assert min(map(len, whole)) >= 6
    assert max(map(len, whole)) == 60
    assert 12 * 400 - 12 * 5 <= sum(map(len, whole)) <= 12 * 400
    monkeypatch.setattr("kmerbert.reading.sources.BATCH_ROWS", 5)
    assert read(3, "b") == whole
    assert read(4, "c") != whole
