"""The tokenization benchmark at toy size: every method is measured, and methods that disagree stop it."""

import pytest

from benchmarks.speed import tokenization
from tests.support.messages import check_message, fails


def test_every_method_is_measured(capsys: pytest.CaptureFixture) -> None:
    rates = tokenization.main(["--n_sequences", "60", "--length", "20"])
    assert len(rates) == 9
    assert min(rates.values()) > 0
    table = capsys.readouterr().out
    assert "60 random sequences of 20 bases, 6-mers" in table
    assert all(f"\n{name} " in table for name in rates)
    assert table.splitlines()[-1].endswith(" 1.0")  # the limit relative to itself


def test_methods_that_disagree_stop_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenization.DictionaryTokenizer, "__call__", lambda self, sequences: [[2, 3]])
    with fails("different ids", error=RuntimeError):
        tokenization.main(["--n_sequences", "5", "--length", "20"])


def test_random_dna_of_every_kind() -> None:
    data = tokenization.simulate(200, 40, 0)
    assert {len(sequence) for sequence in data["equal"]} == {40}
    assert {len(sequence) for sequence in data["ragged"]} == set(range(20, 41))
    assert all(full.startswith(cut) for full, cut in zip(data["equal"], data["ragged"], strict=True))
    n_unknown = "".join(data["with N"]).count("N")
    assert n_unknown == pytest.approx(80, abs=5 * 80**0.5)  # 1 % of 8000 bases, five standard errors


def test_the_limit_writes_as_many_ids_as_tokenization() -> None:
    first, second = tokenization.copy_limit(["ACGTACGT", "TTTTACGT"]), tokenization.copy_limit(["ACGTACGT"])
    assert first().shape == (2, 5)
    assert first().dtype == "int16"
    assert second()[0].tolist() == list(b"ACGTA")


@pytest.mark.parametrize("flags", [["--n_sequences", "0"], ["--length", "5"]])
def test_sizes_that_cannot_be(flags: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        tokenization.main(flags)
    check_message(capsys.readouterr().err.splitlines()[-1], "--n_sequences", "1", "--length", "6")
