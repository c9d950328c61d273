"""The tokenization benchmark at toy size: every method is measured, and methods that disagree stop it."""

import pytest

from benchmarks.speed import tokenization


def test_every_method_is_measured(capsys: pytest.CaptureFixture) -> None:
    found = tokenization.main(["--n_sequences", "60", "--length", "20"])
    assert len(found) == 9
    assert min(found.values()) > 0
    table = capsys.readouterr().out
    assert table.startswith("60 random sequences of 20 bases, 6-mers, one thread\n")
    assert all(f"\n{name} " in table for name in found)
    assert table.splitlines()[-1].endswith(" 1.0")  # the limit beside itself


def test_methods_that_disagree_stop_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenization.DictionaryTokenizer, "__call__", lambda self, sequences: [[2, 3]])
    with pytest.raises(RuntimeError, match="^two methods give different ids$"):
        tokenization.main(["--n_sequences", "5", "--length", "20"])


def test_the_limit_writes_as_many_ids_as_tokenization() -> None:
    first, second = tokenization.copy_limit(["ACGTACGT", "TTTTACGT"]), tokenization.copy_limit(["ACGTACGT"])
    assert first().shape == (2, 5)
    assert first().dtype == "int16"
    assert second()[0].tolist() == list(b"ACGTA")


@pytest.mark.parametrize("flags", [["--n_sequences", "0"], ["--length", "5"]])
def test_sizes_that_cannot_be(flags: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        tokenization.main(flags)
    assert "--n_sequences must be at least 1 and --length at least 6" in capsys.readouterr().err
