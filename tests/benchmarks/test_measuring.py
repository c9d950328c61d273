"""What the benchmarks measure with: random rows, seconds, bytes, processes of their own and operations, by hand."""

import json
import platform
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import measuring
from benchmarks.dictionary import DictionaryTokenizer
from tests.support.messages import check_message
from tokenization_kmer import KmerTokenizer


def test_random_dna_has_all_letters_and_follows_the_seed() -> None:
    letters = measuring.random_letters(50, 20, np.random.default_rng(0))
    assert letters.shape == (50, 20)
    assert set(letters.tobytes()) == set(b"ACGT")
    assert np.array_equal(letters, measuring.random_letters(50, 20, np.random.default_rng(0)))
    assert not np.array_equal(letters, measuring.random_letters(50, 20, np.random.default_rng(1)))


def test_letters_become_strings() -> None:
    letters = np.frombuffer(b"ACGTTT", np.uint8).reshape(2, 3)
    assert measuring.to_strings(letters) == ["ACG", "TTT"]
    assert measuring.to_strings(letters, [3, 1]) == ["ACG", "T"]


def test_a_table_is_written_piece_by_piece(tmp_path: Path) -> None:
    measuring.write_table(tmp_path / "rows.tsv", 10_001, 5)  # one row more than a piece
    header, *rows = (line.split("\t") for line in (tmp_path / "rows.tsv").read_text().splitlines())
    assert header == ["sequence", "expression"]
    assert len(rows) == 10_001
    assert {len(sequence) for sequence, _ in rows} == {5}
    values = np.array([float(value) for _, value in rows])
    assert values.mean() == pytest.approx(11, abs=5 * 2.5 / 100)  # five standard errors
    assert values.std() == pytest.approx(2.5, abs=0.1)


def test_the_fastest_of_several_runs_counts() -> None:
    times, results = iter([0.0, 5.0, 10.0, 12.0, 20.0, 24.0]), iter("abc")
    assert measuring.best_seconds(lambda: next(results), 3, lambda: next(times)) == (2.0, "c")


def test_costs() -> None:
    result, figures = measuring.costs(lambda: sum(range(100_000)))
    assert result == 4_999_950_000
    assert set(figures) == {"seconds", "cpu", "memory"}
    assert min(figures.values()) > 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux only")
def test_memory_at_its_peak() -> None:
    n_bytes = 60_000_000
    size, growth = measuring.memory_growth(lambda: np.ones(n_bytes, np.uint8).size)  # freed before it is measured
    assert size == n_bytes
    assert 0.9 * n_bytes < growth < 1.5 * n_bytes
    assert measuring.peak_memory() > n_bytes
    _, growth = measuring.memory_growth(lambda: None)
    assert growth < 0.2 * n_bytes


def test_bytes_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/two").write_bytes(b"12")
    (tmp_path / "a/three").write_bytes(b"123")
    assert measuring.bytes_on_disk(tmp_path / "a") == 5
    assert measuring.bytes_on_disk(tmp_path / "a/three") == 3


def test_command_lines() -> None:
    command = measuring.words(
        "run.py --lr_scheduler_kwargs {{}} --seed {seed} --file {folder}/a.tsv", seed=1, folder="my runs"
    )
    assert command == ["run.py", "--lr_scheduler_kwargs", "{}", "--seed", "1", "--file", "my runs/a.tsv"]
    assert measuring.as_flags({"seed": 1, "use_cpu": True}) == ["--seed=1", "--use_cpu=True"]


def test_a_script_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "if __name__ == '__main__':\n"
        "    print(os.getcwd(), sys.argv)\n"
        "    open(sys.argv[1], 'w').write(os.getcwd())\n"
        "    block = bytearray(b'1') * 60_000_000\n"
    )
    figures = measuring.run_apart("benchmarks.measuring", script, tmp_path / "out")
    assert (tmp_path / "out").read_text() == str(measuring.ROOT)
    # It does not count what this process holds, which has loaded torch.
    assert 60_000_000 < figures["memory"] < measuring.peak_memory()


def test_a_script_that_fails_says_why_in_a_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("print('begun')\nraise ValueError('rows.txt, line 3: no sequence')\n")
    with pytest.raises(SystemExit) as stopped:
        measuring.run_apart("benchmarks.measuring", script)
    check_message(str(stopped.value), script, "ValueError", "rows.txt, line 3: no sequence")


def test_the_script_sees_its_own_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["other"])
    (tmp_path / "script.py").write_text("import sys\nprint(sys.argv[1:])\n")
    measuring.main([str(tmp_path / "script.py"), "--seed", "1"])
    flags, figures = capsys.readouterr().out.splitlines()
    assert flags == "['--seed', '1']"
    assert json.loads(figures)["memory"] > 0


def test_operations_of_an_encoder_by_hand() -> None:
    # A layer of width 2 and 8: queries, keys, values and output 4 x 8, feed-forward 2 x 32, of 3 tokens; attention 2 x 36.
    by_hand = 5 * (3 * (4 * 8 + 2 * 32) + 2 * 36)
    assert measuring.encoder_products(3, 5, 2, 8) == by_hand
    assert measuring.encoder_products(3, 5, 2, 8, has_gate=True) == by_hand + 5 * 3 * 32
    assert measuring.encoder_products(np.array([3, 0]), 5, 2, 8).tolist() == [by_hand, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("by_onednn", [False, True])
def test_the_rate_of_products(dtype: torch.dtype, by_onednn: bool) -> None:
    before = torch.get_float32_matmul_precision()
    assert measuring.product_rate(torch.device("cpu"), dtype, 64, by_onednn) > 0
    assert torch.get_float32_matmul_precision() == before


def test_where_it_was_measured() -> None:
    assert measuring.processor_name()
    assert measuring.processor_name() in measuring.device_name(torch.device("cpu"))
    assert measuring.versions("numpy") == f"Python {platform.python_version()}, numpy {np.__version__}"


def test_the_dictionary_has_the_ids_of_our_tokenizer() -> None:
    assert DictionaryTokenizer(1)(["ATCGN"]) == [[2, 5, 6, 7, 8, 1, 3]]
    sequences = ["ACGTACGT", "TTGANACCA"]
    assert DictionaryTokenizer(3)(sequences) == KmerTokenizer(3)(sequences)["input_ids"]
