"""Plasmid flanks, random windows and the most expressed rows, on their way from a file to a split."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kmerbert.cli.flags import PretrainingDataArguments, RegressionDataArguments
from kmerbert.dna.flanks import Flanks
from kmerbert.training.splits import check_reading_frames, load_flanks, load_splits
from tokenization_kmer import KmerTokenizer

TABLE = Callable[..., Path]
DNA = Callable[..., list[str]]
LEFT, RIGHT = "CCGGATTACATGCATTTTTTTCACATC", "GGTTACGGCTGTTAAGGCCTTA"
FLANKS = Flanks(LEFT, RIGHT, 20)


class Config:
    """What load_flanks reads and sets."""


def spelt(tokenizer: KmerTokenizer, dataset: object) -> list[str]:
    """The DNA that the model reads, row by row."""
    rows = [dataset[row]["input_ids"][0] for row in range(len(dataset))]
    return [tokenizer.decode(row, skip_special_tokens=True) for row in rows]


@pytest.mark.parametrize("is_bare", [True, False])
def test_flanks_are_read_by_the_model(is_bare: bool, table: TABLE, dna: DNA) -> None:
    inserts, tokenizer = dna(20, 30), KmerTokenizer(3, alphabet="ACGTN")
    rows = inserts if is_bare else [LEFT[-17:] + insert + RIGHT[:13] for insert in inserts]
    arguments = RegressionDataArguments(train_file=str(table("a.tsv", sequence=rows, expression=range(20))))
    splits = load_splits(arguments, tokenizer, None, ["expression"], FLANKS)
    found = {
        int(label[0]): dna
        for split in splits.values()
        for label, dna in zip(split.labels, spelt(tokenizer, split), strict=True)
    }
    assert [found[row] for row in range(20)] == [LEFT[-20:] + insert + RIGHT[:20] for insert in inserts]


def test_one_insert_bare_and_with_flanks_is_a_leak(table: TABLE, dna: DNA) -> None:
    inserts = dna(20, 30)
    bare = table("bare.tsv", sequence=inserts, expression=range(20))
    full = table("full.tsv", sequence=[LEFT[-17:] + inserts[4] + RIGHT[:13]], expression=[1])
    arguments = RegressionDataArguments(train_file=str(bare), test_file=str(full))
    with pytest.raises(
        ValueError, match=r"bare.tsv, line 6 \(train\) and .*full.tsv, line 2 \(test\) hold the same sequence"
    ):
        load_splits(arguments, KmerTokenizer(3), None, ["expression"], FLANKS)


def test_a_mixture_is_refused_with_its_line(table: TABLE, dna: DNA) -> None:
    rows = dna(20, 30)
    rows[7] = LEFT[-17:] + rows[7] + RIGHT[:13]
    arguments = RegressionDataArguments(train_file=str(table("a.tsv", sequence=rows, expression=range(20))))
    words = r"a.tsv, line 9: the sequence begins with 17 bases of the plasmid, but most are bare inserts: --flank_file needs"
    with pytest.raises(ValueError, match=words):
        load_splits(arguments, KmerTokenizer(3), None, ["expression"], FLANKS)


def test_a_checkpoint_keeps_its_flanks(table: TABLE, dna: DNA, tmp_path: Path) -> None:
    plasmid = tmp_path / "plasmid.txt"
    plasmid.write_text(LEFT + "NNN" + RIGHT)
    bare = str(table("bare.tsv", sequence=dna(9), expression=range(9)))
    full = str(table("full.tsv", sequence=[LEFT[-9:] + row + RIGHT[:12] for row in dna(9)], expression=range(9)))
    config, plain = Config(), RegressionDataArguments(train_file=full)
    assert load_flanks(plain, config) is None
    assert not hasattr(config, "flanks")
    asked = RegressionDataArguments(train_file=bare, flank_file=str(plasmid), flank_length=20)
    assert load_flanks(asked, config) == replace(FLANKS, carried=[0, 0])
    assert config.flanks == {"left": LEFT, "right": RIGHT, "length": 20, "carried": [0, 0]}
    # What the rows bear themselves is learnt anew from each training file.
    assert load_flanks(plain, config) == replace(FLANKS, carried=[9, 12])
    assert config.flanks["carried"] == [9, 12]
    same = RegressionDataArguments(train_file=full, flank_length=20)
    assert load_flanks(same, config).length == 20
    other = RegressionDataArguments(train_file=full, flank_length=12)
    with pytest.raises(
        ValueError,
        match=r"^--flank_length 12: the checkpoint has flanks of 20 bases: give --flank_file with it, or leave",
    ):
        load_flanks(other, config)
    asked.flank_length = 3
    assert load_flanks(asked, config).length == 3 == config.flanks["length"]


def test_150_bases_are_the_default(table: TABLE, dna: DNA, tmp_path: Path) -> None:
    plasmid, (left, right) = tmp_path / "plasmid.txt", dna(2, 160)
    plasmid.write_text(left + "N" + right)
    asked = RegressionDataArguments(train_file=str(table("a.tsv", sequence=dna(9), expression=range(9))))
    asked.flank_file = str(plasmid)
    assert load_flanks(asked, Config()).length == 150
    asked.flank_length = 0
    assert load_flanks(asked, Config()).length == 0


def test_no_flanks_are_no_bases_of_them(table: TABLE, dna: DNA) -> None:
    path = str(table("a.tsv", sequence=dna(9), expression=range(9)))
    assert load_flanks(RegressionDataArguments(train_file=path, flank_length=0), Config()) is None
    with pytest.raises(ValueError, match=r"^--flank_length 150: no plasmid is known: give --flank_file with it"):
        load_flanks(RegressionDataArguments(train_file=path, flank_length=150), Config())


def test_rows_with_fewer_kmers_than_frames_are_refused(table: TABLE, dna: DNA) -> None:
    rows = dna(12)
    rows[7] = rows[7][:6]  # four 3-mers
    path = table("a.tsv", sequence=rows, expression=range(12))
    splits = load_splits(RegressionDataArguments(train_file=str(path)), KmerTokenizer(3), None, ["expression"])
    check_reading_frames(splits, 4)
    words = (
        r"a.tsv, line 9: 4 k-mers are fewer than the model's 5 reading frames: remove the row, or train with fewer --r"
    )
    with pytest.raises(ValueError, match=words):
        check_reading_frames(splits, 5)


def test_top_fraction_is_taken_before_the_split(table: TABLE, dna: DNA) -> None:
    """Values 0 to 9, five rows of each: the value at place int(0.25 x 50) = 12, from the top, is 7."""
    path = table("a.tsv", sequence=dna(50), expression=[value for value in range(10) for _ in range(5)])
    arguments = PretrainingDataArguments(train_file=str(path), top_fraction=0.25, validation_rows=4)
    splits = load_splits(arguments, KmerTokenizer(3), None)
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
    splits = load_splits(arguments, KmerTokenizer(3), None)
    assert splits["train"].labels[:, 0].tolist() == [15, 16, 18, 19, 21, 22, 24, 25, 27, 28]
    assert splits["validation"].labels[:, 0].tolist() == [14, 17, 20, 23, 26, 29]
    assert len(splits["test"]) == 5


def test_top_fraction_of_the_challenge_format(tmp_path: Path, dna: DNA) -> None:
    path = tmp_path / "train_sequences.txt"
    path.write_text("".join(f"{row}\t{value}\n" for value, row in enumerate(dna(40))))
    splits = load_splits(PretrainingDataArguments(train_file=str(path), top_fraction=0.2), KmerTokenizer(3), None)
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
        return sorted(
            dna for split in load_splits(arguments, tokenizer, None).values() for dna in spelt(tokenizer, split)
        )

    whole = read(3, "a")
    assert min(map(len, whole)) >= 6
    assert max(map(len, whole)) == 60
    assert 12 * 400 - 12 * 5 <= sum(map(len, whole)) <= 12 * 400
    monkeypatch.setattr("kmerbert.reading.sources.BATCH_ROWS", 5)
    assert read(3, "b") == whole
    assert read(4, "c") != whole
