"""The report, read as a browser reads it: what it says, what it shows, that nothing is loaded or runs, and what is missing."""

import doctest
import re
import subprocess
import sys
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kmerbert import figures
from kmerbert.figures import Axes, page_svg
from kmerbert.sharing import report
from kmerbert.sharing.report import Fold, ReportFacts, report_html, write_report
from tests.support.messages import fails
from tests.support.tiny_runs import random_dna

ROOT = Path(__file__).resolve().parents[2]
RANDOM = np.random.default_rng(0)
EVIL = '<script>alert("1")</script>&$x^$'
SECTIONS = ["result", "data", "training", "agreement", "errors", "intervals", "similarity", "settings"]
VOID = {"meta", "link", "img", "br", "hr"}
LOG = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 2, "eval_loss": 1.2, "eval_pearsonr": 0.5}]

pytestmark = pytest.mark.usefixtures("whole_reports", "quick_figures")


@pytest.fixture
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, but become empty elements, in half of the time; not in the page `html`."""
    svg = '<svg role="img" aria-label="{}"></svg>'
    monkeypatch.setattr(figures, "page_svg", lambda ax, alt, prefix: svg.format(escape(alt)))


class Page(HTMLParser):
    """The elements of a page, which must be closed in order, and the texts of its sections.

    Attributes:
        elements: Names and attributes of all elements.
        texts: Section -> its text; "" for what is in none.
        tables: Section -> rows of cells.
        alts: Section -> what its figures are said to show.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {"": ""}
        self.tables: dict[str, list[list[str]]] = {}
        self.alts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.section = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.elements.append((tag, values))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = values["id"]
            self.texts[self.section], self.tables[self.section], self.alts[self.section] = "", [], []
        elif tag == "tr":
            self.tables[self.section].append([])
        elif tag in ("td", "th"):
            self.tables[self.section][-1].append("")
        elif tag == "svg":
            assert values["role"] == "img"
            self.alts[self.section].append(values["aria-label"])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.section = "" if tag == "section" else self.section

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts[self.section] += data
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[self.section][-1][-1] += data


def predictions(n: int, names: tuple[str, ...] = ("",), shortest: int = 30, intervals: bool = True) -> pd.DataFrame:
    """Predictions of n rows whose measured values are known; names of the outputs with the underscore before them."""
    columns = {"id": [f"{EVIL}{row}" for row in range(n)]}
    columns["sequence"] = [row[: RANDOM.integers(shortest, 41)] for row in random_dna(RANDOM, n, 40)]
    for name in names:
        observed = RANDOM.normal(11, 3, n)
        columns[f"prediction{name}"] = observed + RANDOM.normal(0, 1, n)
        columns[f"observed{name}"] = observed
        if intervals:
            columns[f"lower{name}"], columns[f"upper{name}"] = (
                observed - 1,
                observed + np.where(np.arange(n) % 4, 1, -0.5),
            )
    return pd.DataFrame(columns)


METRICS = {"pearsonr": 0.9124, "spearmanr": 0.9, "r2": 0.8, "rmse": 1.25, "mae": 1.0}
FULL = ReportFacts(
    title=f"runs/{EVIL}",
    summary=f"Predicts {EVIL} from DNA.",
    outputs=[EVIL],
    predictions={"validation": predictions(30), "test": predictions(120)},
    metrics={"validation": METRICS, "test": METRICS | {"pearsonr": 0.8765}},
    baselines={f"ridge {EVIL}": {"test": {"pearsonr": 0.7654}}},
    verdict=[f"better than {EVIL}", "second line"],
    unit=EVIL,
    n_training_rows=1000,
    training_sequences=random_dna(RANDOM, 200, 40),
    training_labels=RANDOM.normal(11, 3, (200, 1)),
    counts={f"left out {EVIL}": 12345},
    log_history=LOG,
    saved_step=2,
    settings={f"setting {EVIL}": EVIL},
    command=f"python run.py --train_file {EVIL}",
    program="run.py",
)
BARE = ReportFacts("a", "b", [""], {})


@pytest.fixture(scope="module")
def html() -> str:
    return report_html(FULL)


def test_every_section_is_there_and_linked(html: str) -> None:
    page = Page(html)
    assert list(page.texts) == ["", *SECTIONS]
    links = [values["href"] for tag, values in page.elements if tag == "a"]
    assert links == [f"#{name}" for name in SECTIONS]
    ids = [values["id"] for _, values in page.elements if "id" in values]
    assert len(set(ids)) == len(ids)
    assert html.startswith("<!DOCTYPE html>")
    assert ("meta", {"name": "generator", "content": "run.py"}) in page.elements[:8]


def test_names_are_text_wherever_they_stand(html: str) -> None:
    page = Page(html)
    assert not {tag for tag, _ in page.elements} & {
        "script",
        "img",
        "link",
        "iframe",
        "object",
        "form",
        "foreignobject",
    }
    assert "<script" not in html
    assert not [name for _, values in page.elements for name in values if name.startswith("on")]
    for section in ("", "result", "data", "agreement", "errors", "intervals", "similarity", "settings"):
        assert EVIL in page.texts[section], section
    assert any(EVIL in alt for alt in page.alts["agreement"])


def test_nothing_is_loaded(html: str) -> None:
    page = Page(html)
    policy = [values["content"] for _, values in page.elements if values.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]
    addresses = [
        values[name] for _, values in page.elements for name in ("href", "src", "xlink:href") if name in values
    ]
    assert all(address.startswith("#") for address in addresses)
    assert all(address.startswith("#") for address in re.findall(r"url\(([^)]*)\)", html))
    assert not re.search("@import|@font-face|https?:", html)


def test_every_figure_says_what_it_shows(html: str) -> None:
    page = Page(html)
    assert {section: len(alts) for section, alts in page.alts.items()} == {
        "result": 1, "data": 3, "training": 1, "agreement": 2, "errors": 2, "intervals": 1, "similarity": 0, "settings": 0
    }  # fmt: skip
    alts = [alt for alts in page.alts.values() for alt in alts]
    assert len(set(alts)) == len(alts) == sum(tag == "figcaption" for tag, _ in page.elements)
    assert all(len(alt) > 15 for alt in alts)


def test_what_the_report_says(html: str) -> None:
    page = Page(html)
    head, *rows = page.tables["result"]
    assert head == ["split", "model", "rows", "r", "ρ", "R²", "RMSE", "MAE"]
    assert rows == [
        ["validation", "this model", "30", "0.912", "0.900", "0.800", "1.250", "1.000"],
        ["validation", f"ridge {EVIL}", "30", "", "", "", "", ""],
        ["test", "this model", "120", "0.876", "0.900", "0.800", "1.250", "1.000"],
        ["test", f"ridge {EVIL}", "120", "0.765", "", "", "", ""],
    ]
    data = page.tables["data"]
    assert data[1][:6] == ["train", "1,000", "87.0", "40", "40", "40"]
    values = FULL.predictions["test"]["observed"]
    assert [EVIL, "test", "120", f"{values.mean():.4g}", f"{values.std(ddof=0):.3g}"] == data[7][:5]
    assert data[-1] == [f"left out {EVIL}", "12,345"]
    for section, text in (
        ("data", "200 are shown"),
        ("intervals", "hold 75.0 %"),
        ("similarity", "120 test rows were compared with 200 of 1,000 training rows"),
        ("settings", FULL.command),
    ):
        assert text in page.texts[section]


def test_similar_rows_are_counted() -> None:
    table = predictions(40)
    training = [*table["sequence"][:10], *random_dna(RANDOM, 30, 40)]
    page = Page(report_html(replace(BARE, predictions={"test": table}, training_sequences=training)))
    assert "25 % of 40 test rows share 90 %" in page.texts["similarity"]
    assert len(page.alts["similarity"]) == 1
    reverse = [row[::-1].translate(str.maketrans("ACGT", "TGCA")) for row in training]
    for both_strands, share in ((False, 0), (True, 25)):
        facts = replace(BARE, predictions={"test": table}, training_sequences=reverse, both_strands=both_strands)
        assert f"{share} % of 40 test rows share 90 %" in Page(report_html(facts)).texts["similarity"]


def test_one_range_of_similarity_is_a_sentence() -> None:
    table = predictions(40)
    facts = replace(BARE, predictions={"test": table}, training_sequences=list(table["sequence"]))
    page = Page(report_html(facts))
    assert not page.alts["similarity"]
    assert "test rows: all share 90 to 100 %" in page.texts["similarity"]


def test_axes_name_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = []

    def note(ax: Axes, alt: str, prefix: str) -> str:
        labels.extend((ax.get_xlabel(), ax.get_ylabel()))
        return ""

    monkeypatch.setattr(figures, "page_svg", note)
    report_html(
        replace(BARE, outputs=["YFP mean"], unit="a.u.", predictions={"test": predictions(20)}, same_scale=True)
    )
    assert {label for label in labels if "YFP mean" in label} == {
        *("measured YFP mean (a.u.)", "predicted YFP mean (a.u.)", "predicted \N{MINUS SIGN} measured YFP mean\n(a.u.)")
    }


def test_the_linear_term_is_not_in_the_curve() -> None:
    for has_term in (False, True):
        page = Page(report_html(replace(BARE, log_history=LOG, has_linear_term=has_term)))
        assert ("adds ridge regression to the network" in page.texts["training"]) == has_term


def test_no_number_is_minus_nothing() -> None:
    metrics = {"test": {"pearsonr": -0.0004, "r2": -0.0006}}
    page = Page(report_html(replace(BARE, predictions={"test": predictions(20)}, metrics=metrics)))
    assert page.tables["result"][1][3:6] == ["0.000", "", "-0.001"]


def test_commands_wrap_between_words(html: str) -> None:
    assert "<span>--train_file</span> <span>" in html


def test_folds() -> None:
    folds = [
        Fold(EVIL, [20], {"pearsonr": 0.5, "r2": 0.25}, {"ridge": {"pearsonr": 0.4}}),
        Fold("1", [20], {"pearsonr": 0.7, "r2": 0.45}, {"ridge": {"pearsonr": 0.2}}),
    ]
    table = predictions(40).assign(fold=[row // 20 for row in range(40)])
    # Half of fold 0 is also in fold 1, and the rest occurs once.
    table.loc[20:29, "sequence"] = table["sequence"][:10].to_numpy()
    facts = replace(BARE, predictions={"validation": table}, folds=folds, metrics={"validation": METRICS}, ceiling=0.95)
    page = Page(report_html(facts))
    assert list(page.texts)[1:3] == ["result", "folds"]
    assert page.tables["folds"] == [
        ["fold", "rows", "r", "ρ", "R²", "RMSE", "MAE", "r, ridge"],
        [EVIL, "20", "0.500", "", "0.250", "", "", "0.400"],
        ["1", "20", "0.700", "", "0.450", "", "", "0.200"],
        ["mean", "", "0.600", "", "0.350", "", "", "0.300"],
        ["SD", "", "0.141", "", "0.141", "", "", "0.141"],
    ]
    assert len(page.alts["folds"]) == 1
    assert "its folder" in page.texts["training"]
    assert "50 % of 40 validation rows share 90 %" in page.texts["similarity"]
    assert "those of the other folds" in page.texts["similarity"]
    both = replace(facts, predictions={"validation": table, "test": predictions(12)})
    assert "12 test rows were compared with 40 training rows." in Page(report_html(both)).texts["similarity"]


def test_folds_of_several_outputs() -> None:
    metrics = {"pearsonr": 0.5, "pearsonr_a": 0.6, "pearsonr_b": 0.4}
    folds = [Fold("0", [5, 6], metrics, {}), Fold("1", [7, 8], metrics, {})]
    page = Page(report_html(replace(BARE, outputs=["a", "b"], folds=folds)))
    assert [row[:4] for row in page.tables["folds"][1:6]] == [
        ["0", "mean", "", "0.500"],
        ["1", "mean", "", "0.500"],
        ["mean", "mean", "", "0.500"],
        ["SD", "mean", "", "0.000"],
        ["0", "a", "5", "0.600"],
    ]
    assert len(page.alts["folds"]) == 2


def test_intervals_say_what_they_were_learnt_from() -> None:
    facts = replace(BARE, predictions={"test": predictions(20)}, calibrated_on=EVIL)
    assert f"errors of the {EVIL} rows" in Page(report_html(facts)).texts["intervals"]


def test_several_outputs_with_missing_values() -> None:
    names = [f"tissue {number}" for number in range(6)]
    table = predictions(20, tuple(f"_{name}" for name in names), intervals=False)
    table.loc[:11, "observed_tissue 1"] = np.nan
    table["observed_tissue 2"] = np.nan
    metrics = {"pearsonr": 0.5} | {f"pearsonr_{name}": number / 10 for number, name in enumerate(names)}
    page = Page(report_html(ReportFacts("a", "b", names, {"test": table}, metrics={"test": metrics})))
    head, mean, *rows = page.tables["result"]
    assert head[:5] == ["split", "model", "output", "rows", "r"]
    assert mean[2:5] == ["mean", "", "0.500"]
    assert [row[2:5] for row in rows] == [
        [name, {1: "8", 2: ""}.get(number, "20"), f"{number / 10:.3f}"] for number, name in enumerate(names)
    ]
    assert len(page.alts["agreement"]) == report.MOST_OUTPUTS - 1  # one of these has no measured value
    assert "first 4 of 6 outputs" in page.texts["data"]
    assert "Only 8 test rows" in page.texts["result"]


@pytest.mark.parametrize("n", [1, 2, 9])
def test_few_rows(n: int) -> None:
    facts = replace(BARE, predictions={"validation": predictions(n)}, n_training_rows=5)
    page = Page(report_html(replace(facts, training_sequences=["ACGT"] * 5, training_labels=np.ones((5, 1)))))
    assert f"Only {n} validation rows" in page.texts["result"]
    assert "There are no test rows" in page.texts["result"]
    assert len(page.alts["agreement"]) == 1


def test_what_is_missing_is_said() -> None:
    page = Page(report_html(BARE))
    assert not any(page.alts.values())
    assert "training" not in page.texts
    parts = {
        "result": "No rows were held out",
        "agreement": "no predictions",
        "errors": "no predictions",
        "intervals": "calibration_file",
        "similarity": "not at hand",
        "settings": "None",
    }
    for section, text in parts.items():
        assert text in page.texts[section]
    page = Page(report_html(replace(FULL, predictions={}, metrics={}, verdict=[], baselines={})))
    for text in ("no validation rows", "no test rows", "no baseline"):
        assert text in page.texts["result"]
    assert "no predictions" in page.texts["similarity"]
    bare = predictions(15, intervals=False).drop(columns=["id", "sequence"])
    page = Page(report_html(replace(BARE, predictions={"rows of a.tsv": bare})))
    assert "Without sequences" in page.texts["data"]
    assert page.alts["agreement"] == ["Predicted against measured values: rows of a.tsv, 15 with a measured value"]


def test_one_length_another_scale_and_numbers_that_are_none() -> None:
    table = predictions(20, shortest=40)
    table.loc[0, "prediction"] = np.inf
    page = Page(report_html(replace(BARE, predictions={"test": table}, log_history=[{"step": 1, "loss": np.nan}])))
    assert "All sequences have 40 bases" in page.texts["data"]
    assert "length does not vary" in page.texts["errors"]
    assert len(page.alts["errors"]) == 1
    assert "No loss" in page.texts["training"]
    table["prediction"] = 1000 * table["observed"]
    for same_scale, n_figures in ((None, 0), (True, 1)):
        page = Page(report_html(replace(BARE, predictions={"test": table}, same_scale=same_scale)))
        assert len(page.alts["errors"]) == n_figures
        assert ("not on one scale" in page.texts["errors"]) == (not n_figures)


def test_tables_that_are_no_predictions() -> None:
    with fails("`outputs`", "1 name", "test", "2"):
        report_html(replace(BARE, predictions={"test": predictions(3, ("_a", "_b"))}))
    with fails("`predictions`", "test", "'observed'", "prediction"):
        report_html(replace(BARE, predictions={"test": predictions(3).drop(columns="observed")}))


def test_the_file_is_whole_and_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "page_svg", page_svg)
    path = tmp_path / "report.html"
    n = 30_000
    table = pd.DataFrame({"sequence": random_dna(RANDOM, 300, 60) * 100})
    table["observed"] = RANDOM.normal(0, 1, n)
    table["prediction"] = table["observed"] + RANDOM.normal(0, 1, n)
    write_report(
        path, replace(BARE, predictions={"test": table}, command="run \udcff", training_sequences=["ACGT" * 5])
    )
    assert path.stat().st_size < 500_000
    page = Page(path.read_text(encoding="utf-8"))
    assert "run ?" in page.texts["settings"]
    assert "2,000 test rows were compared" in page.texts["similarity"]
    assert list(tmp_path.iterdir()) == [path]


def test_reports_may_be_imported_before_training() -> None:
    code = "import sys, kmerbert.sharing.report; sys.exit(bool({'matplotlib', 'torch', 'evaluate'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    scripts = (ROOT / "run_finetune_regression.py", *ROOT.glob("kmerbert/training/*.py"))
    assert not [path.name for path in scripts if "kmerbert.figures" in path.read_text()]


def test_examples() -> None:
    assert doctest.testmod(report).failed == 0
