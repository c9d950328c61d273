"""The practice data behaves like the assay that it stands for, and its files are reproducible."""

import gzip
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.support.messages import fails

SCRIPT = Path(__file__).resolve().parents[2] / "data" / "simulate_promoters.py"
FLANK_5, FLANK_3 = "TGCATTTTTTTCACATC", "GGTTACGGCTGTT"
N_ROWS = 8192


@pytest.fixture(scope="module")
def simulator() -> ModuleType:
    """Import by path: `data/` holds programs and is no package."""
    specification = importlib.util.spec_from_file_location("simulate_promoters", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _collect(chunks: Iterator[tuple[list[str], np.ndarray]]) -> tuple[list[str], np.ndarray]:
    parts = list(chunks)
    return [sequence for sequences, _ in parts for sequence in sequences], np.concatenate([part[1] for part in parts])


@pytest.fixture(scope="module")
def promoters(simulator: ModuleType) -> tuple[list[str], np.ndarray]:
    return _collect(simulator.simulate_promoters(N_ROWS, seed=3))


def _promoter(site: str = "", distance: int = 45) -> str:
    """Return a 110-bp promoter without sites whose `site` ends `distance` bp before the 3' end."""
    variable = "GTCTGATCAC" * 8
    end = len(FLANK_5) + len(variable) + len(FLANK_3) - distance
    bare = FLANK_5 + variable + FLANK_3
    return bare[: end - len(site)] + site + bare[end:]


def _write(simulator: ModuleType, path: Path, *options: object) -> bytes:
    simulator.main(["--output_file", str(path), *map(str, options)])
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["promoters", "upstream"])
def test_same_seed_same_bytes_and_other_seed_other_bytes(simulator: ModuleType, tmp_path: Path, kind: str) -> None:
    first, second, other = (
        _write(simulator, tmp_path / f"{i}.txt", "--rows", 60, "--kind", kind, "--seed", seed)
        for i, seed in enumerate((5, 5, 6))
    )
    assert first == second
    assert not set(first.splitlines()) & set(other.splitlines())


@pytest.mark.parametrize(("kind", "chunk_rows"), [("promoters", 4096), ("upstream", 256)])
def test_shorter_file_is_the_beginning_of_a_longer_one(
    simulator: ModuleType, tmp_path: Path, kind: str, chunk_rows: int
) -> None:
    longer = _write(simulator, tmp_path / "long.txt", "--rows", chunk_rows + 30, "--kind", kind)
    for n_rows in (1, chunk_rows - 1, chunk_rows, chunk_rows + 3):
        shorter = _write(simulator, tmp_path / f"{n_rows}.txt", "--rows", n_rows, "--kind", kind)
        assert shorter.count(b"\n") == n_rows
        assert longer.startswith(shorter)


def test_chunks_do_not_repeat_each_other(promoters: tuple[list[str], np.ndarray]) -> None:
    assert len(set(promoters[0])) == N_ROWS


def test_file_is_the_headerless_two_column_form(simulator: ModuleType, tmp_path: Path) -> None:
    lines = _write(simulator, tmp_path / "plain.tsv", "--rows", 300).decode().splitlines()
    with_header = _write(simulator, tmp_path / "header.tsv", "--rows", 300, "--header").decode().splitlines()
    assert with_header == ["sequence\texpression", *lines]
    values = [line.split("\t")[1] for line in lines]
    assert "12" in values, "a whole bin is written without a decimal point"
    assert all(0 <= float(value) <= 17 and len(value.partition(".")[2]) <= 7 for value in values)
    sequences, labels = _collect(simulator.simulate_promoters(300))
    assert [line.split("\t")[0] for line in lines] == sequences
    assert [float(value) for value in values] == labels.tolist()


def test_promoters_have_the_scaffold_and_the_lengths_of_the_assay(promoters: tuple[list[str], np.ndarray]) -> None:
    sequences, _ = promoters
    assert all(sequence.startswith(FLANK_5) and sequence.endswith(FLANK_3) for sequence in sequences)
    assert set("".join(sequences)) == set("ACGTN")
    lengths = np.array([len(sequence) for sequence in sequences])
    assert lengths.min() >= 87 and lengths.max() <= 135
    assert 0.80 < np.mean(lengths == 110) < 0.84
    assert 0.11 < np.mean(lengths == 109) < 0.14
    unread = [sequence for sequence in sequences if "N" in sequence]
    assert 0.002 < len(unread) / N_ROWS < 0.006
    assert all(len(sequence) - sequence.index("N") <= 40 for sequence in unread)


def test_labels_are_distributed_as_in_the_assay(promoters: tuple[list[str], np.ndarray]) -> None:
    _, labels = promoters
    assert labels.min() >= 0 and labels.max() <= 17
    assert 0.55 < np.mean(labels == np.rint(labels)) < 0.61
    assert 10.9 < labels.mean() < 11.4
    assert 2.2 < labels.std() < 2.5
    low, median, high = np.percentile(labels, [25, 50, 75])
    assert 9.2 < low < 10.1 and 10.8 < median < 11.5 and 12.5 < high < 13.1


def test_noise_ceiling_and_gc_correlation_are_those_of_the_assay(
    simulator: ModuleType, promoters: tuple[list[str], np.ndarray]
) -> None:
    sequences, labels = promoters
    latent = simulator.latent_expression(sequences)
    gc = [sequence.count("G") + sequence.count("C") for sequence in sequences]
    assert 0.72 < np.corrcoef(latent, labels)[0, 1] < 0.79
    assert 0.5 < np.corrcoef(latent, gc)[0, 1] < 0.63


def test_more_reads_measure_the_same_promoters_better(
    simulator: ModuleType, promoters: tuple[list[str], np.ndarray]
) -> None:
    latent = simulator.latent_expression(promoters[0])
    sequences, labels = _collect(simulator.simulate_promoters(N_ROWS, seed=3, mean_reads=100))
    assert sequences == promoters[0]
    assert np.corrcoef(latent, labels)[0, 1] > 0.98
    _, single = _collect(simulator.simulate_promoters(300, mean_reads=1))
    assert np.array_equal(single, np.rint(single)), "one read is one bin"


def test_measure_averages_bins(simulator: ModuleType) -> None:
    rng = np.random.default_rng(0)
    assert simulator.measure(np.array([-50.0, 60.0]), rng, 20.0).tolist() == [0.0, 17.0], "the sorter has 18 bins"
    repeated = simulator.measure(np.full(200, 9.0), rng, 100.0)
    assert abs(repeated.mean() - 9.0) < 0.2 and repeated.std() < 0.5


@pytest.mark.parametrize("site", ["TTACCCG", "TGACTCA", "GGTGGCAAA", "TATAAAAG"])
def test_activator_site_raises_expression(simulator: ModuleType, site: str) -> None:
    bare, bound = simulator.latent_expression([_promoter(), _promoter(site)])
    assert bound > bare + 0.5


@pytest.mark.parametrize("site", ["TAGCCGCC", "AAAACCGGGG"])
def test_repressor_site_lowers_expression(simulator: ModuleType, site: str) -> None:
    bare, bound = simulator.latent_expression([_promoter(), _promoter(site)])
    assert bound < bare - 0.5


def test_strand_of_a_site_matters(simulator: ModuleType) -> None:
    bare, forward, reverse = simulator.latent_expression(
        [_promoter(), _promoter("CACCCATACA", 65), _promoter("TGTATGGGTG", 65)]
    )
    assert forward > reverse + 0.3
    assert reverse > bare + 0.3


def test_position_of_a_site_matters(simulator: ModuleType) -> None:
    near, far = simulator.latent_expression([_promoter("TTACCCG", 60), _promoter("TTACCCG", 13)])
    assert near > far + 0.5
    in_phase, out_of_phase = simulator.latent_expression([_promoter("TGACTCA", 45), _promoter("TGACTCA", 50)])
    assert in_phase > out_of_phase, "half a turn of the helix away"


def test_two_sites_in_phase_help_each_other(simulator: ModuleType) -> None:
    def pair(distance: int) -> str:
        return _promoter("AGGGG" + "T" * (distance - 5) + "CACGTG", 45)

    in_phase, out_of_phase = simulator.latent_expression([pair(21), pair(26)])
    assert in_phase > out_of_phase + 0.5


def test_latent_expression_takes_any_dna(simulator: ModuleType) -> None:
    sequences = [_promoter("TGACTCA"), _promoter("TGACTCA").lower(), "", "N" * 30, "ACGT" * 100]
    latent = simulator.latent_expression(sequences)
    assert latent.dtype == np.float64 and latent.shape == (5,)
    assert latent[0] == latent[1]
    assert ((latent > 0) & (latent < 17)).all()
    assert np.allclose(simulator.latent_expression(sequences[:1]), latent[:1]), "independent of the longest neighbour"
    assert simulator.latent_expression([]).shape == (0,)


def test_upstream_is_at_rich_dna_with_tracts_and_repeats(simulator: ModuleType) -> None:
    fragments = [fragment for chunk in simulator.simulate_upstream(512, seed=1) for fragment in chunk]
    others = "".join(fragment for chunk in simulator.simulate_upstream(256, seed=2) for fragment in chunk)
    dna = "".join(fragments)
    assert set(dna) == set("ACGT")
    assert {200 <= len(fragment) <= 800 for fragment in fragments} == {True}
    assert 0.59 < (dna.count("A") + dna.count("T")) / len(dna) < 0.66
    assert "A" * 12 in dna and "T" * 12 in dna
    known = {others[i : i + 16] for i in range(len(others) - 15)} - {"A" * 16, "T" * 16}
    shared = sum(dna[i : i + 16] in known for i in range(len(dna) - 15)) / len(dna)
    assert shared > 0.005, "repeat families are shared between files; chance gives below 0.0002"


def test_existing_file_is_refused(simulator: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "promoters.tsv"
    path.write_text("precious\n")
    with fails(path, "9 bytes", "--output_file", "--overwrite"):
        _write(simulator, path, "--rows", 5)
    assert path.read_text() == "precious\n"
    assert _write(simulator, path, "--rows", 5, "--overwrite").startswith(FLANK_5.encode())


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--rows", "0"], "--rows 0"),
        (["--rows", "5", "--seed", "-1"], "--seed -1"),
        (["--rows", "5", "--mean_reads", "0.5"], "--mean_reads 0.5"),
        (["--rows", "5", "--mean_reads", "nan"], "--mean_reads nan"),
        (["--rows", "5", "--kind", "upstream", "--header"], "leave out --header"),
        (["--rows", "5", "--kind", "upstream", "--mean_reads", "9"], "leave out --header and --mean_reads"),
    ],
)
def test_unusable_options_are_refused(simulator: ModuleType, tmp_path: Path, options: list[str], part: str) -> None:
    with fails(part):
        _write(simulator, tmp_path / "new.tsv", *options)
    assert not list(tmp_path.iterdir())


def test_folder_that_does_not_exist_is_refused(simulator: ModuleType, tmp_path: Path) -> None:
    with fails("--output_file", "in an existing folder"):
        _write(simulator, tmp_path / "absent" / "new.tsv", "--rows", 5)


def test_interrupted_run_leaves_nothing_behind(
    simulator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(simulator, "measure", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _write(simulator, tmp_path / "new.tsv", "--rows", 5)
    assert not list(tmp_path.iterdir())


def test_gz_holds_the_same_text_and_is_reproducible(simulator: ModuleType, tmp_path: Path) -> None:
    plain = _write(simulator, tmp_path / "plain.tsv", "--rows", 50)
    packed = _write(simulator, tmp_path / "packed.tsv.gz", "--rows", 50)
    assert gzip.decompress(packed) == plain
    assert packed == _write(simulator, tmp_path / "other_name.tsv.gz", "--rows", 50)


def test_help_names_every_option(simulator: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        simulator.main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(
        f"--{name}" in text for name in ("rows", "output_file", "kind", "seed", "mean_reads", "header", "overwrite")
    )
