"""The comparison of two commits sees every difference and nothing else."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks.compare_commits import artefacts, compare, main


def write_run(folder: Path, loss: float, prediction: str, weight: float) -> None:
    """Writes what a run leaves."""
    folder.mkdir()
    log = [{"loss": loss, "step": 1}, {"train_runtime": np.random.default_rng().random()}]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    (folder / "test_predictions.tsv").write_text(f"id\tprediction\nfirst\t{prediction}\nsecond\t\n")
    save_file({"layer": np.array([weight, 2], np.float32)}, folder / "model.safetensors")


def test_equal_runs_are_equal_whatever_time_they_took(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, 0.5, "1.25", 3.0)
    first, second = (artefacts(tmp_path / name) for name in ("a", "b"))
    assert set(first) == {"losses and metrics", "predictions", "weights"}
    assert [compare(first[kind], second[kind]).n_different for kind in first] == [0, 0, 0]
    assert compare(first["weights"], second["weights"]).n_values == 2


def test_the_last_bit_counts(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.5, "1.25", 3.0)
    write_run(tmp_path / "b", 0.5 + 2**-53, "1.26", float(np.nextafter(np.float32(3), np.float32(4))))
    first, second = (artefacts(tmp_path / name) for name in ("a", "b"))
    for kind, by in (("losses and metrics", 2**-52), ("predictions", 0.01 / 1.26), ("weights", 2**-22 / 3)):
        found = compare(first[kind], second[kind])
        assert found.n_different == 1
        assert found.largest == pytest.approx(by, rel=1e-6)


def test_what_only_one_has_and_other_shapes_and_words_differ() -> None:
    assert compare({"a": 1.0}, {}) == (1, 1, math.inf)
    assert compare({"a": np.zeros(2)}, {"a": np.zeros(3)}) == (1, 1, math.inf)
    assert compare({"a": "x"}, {"a": "y"}) == (1, 1, math.inf)
    assert compare({"a": np.nan}, {"a": np.nan}) == (1, 0, 0.0)


@pytest.mark.parametrize("argv", [["nothing", "."], [".", ".", "--cases", "nothing"]])
def test_an_unknown_commit_or_case_is_an_error(argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*argv, "--output_dir", str(tmp_path)])
    assert stopped.value.code == 2
    assert "nothing" in capsys.readouterr().err
