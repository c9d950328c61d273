"""The benchmark of the first command: scores by hand, its commands, runs that are not repeated, messages."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.accuracy import first_run
from tests.support.messages import check_message
from tests.support.tiny_runs import write_table


@pytest.fixture
def table(tmp_path: Path) -> Path:
    splits = ["train", "validation", "test", "test"]
    return write_table(tmp_path / "fly.tsv", sequence=["ACGT"] * 4, dev=[1, 2, 3, 4], hk=[2, 1, 4, 3], split=splits)


def test_scores_are_means_over_measured_values(tmp_path: Path) -> None:
    """r is 1 and .6, r2 is 1 and 1 - 4 / 5; in one file, or in one for each value."""
    observed, other = np.arange(1.0, 5), np.array([2.0, 1, 4, 3])
    values = {"prediction_a": observed, "observed_a": observed, "prediction_b": other, "observed_b": observed}
    both = write_table(tmp_path / "both.tsv", id=range(4), sequence=["A"] * 4, **values)
    each = [
        write_table(tmp_path / f"{n}.tsv", id=range(4), sequence=["A"] * 4, prediction=x, observed=observed)
        for n, x in enumerate((observed, other))
    ]
    assert first_run.score([both]) == pytest.approx((0.8, 0.6))
    assert first_run.score(each) == pytest.approx((0.8, 0.6))
    (line,) = first_run.describe({"legnet": [(each, 60), (each[:1], 70)]}, "fly")
    assert "| 2 | 0.900 ± 0.141 | 0.800 ± 0.283 | 65 |" in line


def test_commands_run_once(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def call(command: list[str], **_: object) -> int:
        commands.append(command[1:])
        out = Path(command[command.index("--output_dir") + 1])
        out.mkdir(parents=True)
        names = ("",) if "legnet" in command[2] else ("_dev", "_hk")
        for file in ("test_predictions.tsv", "test_ridge_predictions.tsv"):
            values = {f"{kind}{name}": [1, 2, 4] for name in names for kind in ("prediction", "observed")}
            write_table(out / file, id=range(3), sequence=["A"] * 3, **values)
        return 0

    replace_call(monkeypatch, call)
    argv = [f"--table={table}:dev,hk", f"--output_dir={tmp_path / 'out'}", "--seeds=0,1", "--flags=--group_column gene"]
    first_run.main(argv)
    first = capsys.readouterr().out
    assert first.count("1.000 ± 0.000 | 1.000 ± 0.000") == 3
    assert "| fly | ridge regression, 1- to 6-mer counts | 1 | 1.000 | 1.000 | |" in first
    default, _, best, _, *legnet = commands
    assert default[default.index("--label_column") + 1] == "dev,hk"
    assert "--config" not in default and default[-2:] == ["--group_column", "gene"]
    assert best[best.index("--linear_term") + 1] == "false"
    assert [command[command.index("--label_column") + 1] for command in legnet] == ["dev", "hk"] * 2
    assert (tmp_path / "out" / "fly.test.tsv").read_text().splitlines()[1:] == ["ACGT\t3\t4\ttest", "ACGT\t4\t3\ttest"]
    replace_call(monkeypatch, lambda *_, **__: pytest.fail("a run was repeated"))
    first_run.main(argv)
    lines = [[line for line in text.splitlines() if "|" in line] for text in (first, capsys.readouterr().out)]
    assert lines[0] == lines[1]


def replace_call(monkeypatch: pytest.MonkeyPatch, call: Callable[..., int]) -> None:
    monkeypatch.setattr(first_run, "subprocess", SimpleNamespace(call=call))


@pytest.mark.parametrize(
    ("change", "parts"),
    [("--table=none.tsv", ["none.tsv"]), ("--contenders=bert", ["bert", "legnet"]), ("", ["fly.tsv", "split"])],
)
def test_mistakes(
    change: str, parts: list[str], table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not change:
        write_table(table, sequence=["ACGT"], dev=[1], split=["train"])
    with pytest.raises(SystemExit):
        first_run.main([f"--table={table}", f"--output_dir={tmp_path / 'out'}", *filter(None, [change])])
    check_message(capsys.readouterr().err.splitlines()[-1], *parts)
