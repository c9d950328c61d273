"""What every test has: no network, no screen, one thread, and nothing written outside its own folder."""

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
_HOME = tempfile.TemporaryDirectory(prefix="kmerbert-tests-")
# Before any library is imported, because they read these once; programs that tests start inherit them.
os.environ.update(
    HF_HOME=_HOME.name,
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_DATASETS_DISABLE_PROGRESS_BARS="1",
    MPLBACKEND="Agg",
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
)
for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "HF_DATASETS_CACHE", "KMERBERT_DEBUG", "ACCELERATE_MIXED_PRECISION"):
    os.environ.pop(name, None)
sys.path.insert(0, str(ROOT))

import datasets.config
import numpy as np
import pytest
import torch

from kmerbert.sharing import report

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def token_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the token files of this test; also for the programs that it starts."""
    folder = tmp_path / "hf_datasets"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder))
    return folder / "kmer_tokens"


@pytest.fixture(autouse=True)
def same_logging() -> Iterator[None]:
    """Scripts set logging up for themselves; the next test finds it as it was."""
    loggers = [logging.getLogger(name) for name in (None, "kmerbert", "transformers")]
    before = [(logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, (handlers, level) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def short_reports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports are made as always, but not drawn, which takes a second, unless a test asks for `whole_reports`."""
    if "whole_reports" not in request.fixturenames:
        page = '<meta name="generator" content="{}">'
        monkeypatch.setattr(report, "report_html", lambda facts: page.format(facts.program))


@pytest.fixture
def whole_reports() -> None:
    """A test that has this fixture gets reports with their figures."""


@pytest.fixture
def dna() -> Callable[..., list[str]]:
    """Makes distinct random sequences: dna(number, bases, seed=0)."""

    def make(n: int, n_bases: int = 20, seed: int = 0) -> list[str]:
        rows = np.random.default_rng(seed).choice(list("ACGT"), (2 * n, n_bases))
        return list(dict.fromkeys("".join(row) for row in rows))[:n]

    return make


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Writes a table into the test's folder: table("a.tsv", sequence=[...], expression=[...])."""

    def write(file_name: str, /, **columns: Sequence[object]) -> Path:
        delimiter = "," if ".csv" in file_name else "\t"
        rows = [list(columns), *zip(*columns.values(), strict=True)]
        path = tmp_path / file_name
        path.write_text("".join(delimiter.join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def promoters(table: Callable[..., Path], dna: Callable[..., list[str]]) -> Path:
    """A table of 30 promoters of 20 bases with measured values 0, 1, ... 29."""
    return table("promoters.tsv", sequence=dna(30), expression=range(30))
