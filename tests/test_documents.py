"""Keeps documents true: every command parses, every file exists, every recipe is valid, the notebook's examples run."""

import argparse
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser

import run_finetune_regression
from tests.support.tiny_runs import flags, planted_table

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(ROOT.glob("run_*.py"))
PROGRAMS = [path for folder in ("data", "baselines", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
RECIPES = sorted(ROOT.glob("recipes/*/*.yaml"))
DOCUMENTS = sorted(path for path in ROOT.rglob("*.md") if not {".venv", "runs"} & set(path.relative_to(ROOT).parts))


class Parsed(Exception):
    """Raised instead of running a program once its command line has been accepted."""


def load(path: Path) -> object:
    """Imports a program by its path."""
    spec = importlib.util.spec_from_file_location(f"program_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def check_command(path: Path, argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a program as far as its command line."""
    module = load(path)
    with monkeypatch.context() as patch:

        def stop(real):
            def parse(*args, **kwargs):
                real(*args, **kwargs)
                raise Parsed

            return parse

        if hasattr(module, "parse"):
            patch.setattr(module, "parse", stop(module.parse))
        else:
            patch.setattr(argparse.ArgumentParser, "parse_args", stop(argparse.ArgumentParser.parse_args))
        with pytest.raises(Parsed):
            module.main(argv)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every `python ...` and `accelerate launch ...` in documents, docstrings, recipes and the demo, with its location."""
    start = r"python -m (benchmarks|baselines)\.|(python|accelerate launch)\b.*\b[\w/]+\.py\b"
    configurations = [*ROOT.glob("*.yaml"), *ROOT.glob("launch/*.yaml"), *ROOT.glob("recipes/*/*.sh")]
    for path in [*DOCUMENTS, *SCRIPTS, *PROGRAMS, *RECIPES, *sorted(configurations)]:
        text = path.read_text(encoding="utf-8").replace("\\\\\n", "\\\n").replace("$PYTHON ", "python ")
        text = re.sub(r"\\\n[#\s]*", " ", text).replace("$OUT", "runs/demo")
        for line in text.splitlines():
            line = line.strip().lstrip("#$ ").strip()
            if re.match(start, line) and "..." not in line:
                yield f"{path.relative_to(ROOT)}: {line[:60]}", shlex.split(line, comments=True)


def python_blocks(name: str) -> list[str]:
    """The Python examples of a document, in their order."""
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)


COMMANDS = list(commands())


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_parses_and_has_a_readme(recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = next((script for script in SCRIPTS if f"run_{recipe.stem}".startswith(script.stem)), None)
    assert script, "the name of a recipe begins with its script's"
    argv = ["--config", str(recipe), "--train_file", "x.tsv", "--output_dir", str(tmp_path)]
    check_command(script, argv, monkeypatch)
    assert (recipe.parent / "README.md").is_file()
    assert f"({recipe.parent.name}/README.md)" in (ROOT / "recipes/README.md").read_text()


def test_commands_are_found() -> None:
    locations = {location.split(":")[0] for location, _ in COMMANDS}
    assert {"README.md", "recipes/best/README.md", "docs/dream2022.md", "recipes/smoke/demo.sh"} <= locations
    assert {path.name for path in SCRIPTS} <= locations
    assert len(RECIPES) >= 5


@pytest.mark.parametrize(("location", "words"), COMMANDS, ids=[location for location, _ in COMMANDS])
def test_every_command_parses(location: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if words[0] == "accelerate":
        launch = launch_command_parser().parse_args(words[2:])
        assert launch.config_file is None or (ROOT / launch.config_file).is_file()
        script, argv = launch.training_script, launch.training_script_args
    elif words[1] == "-m":
        script, argv = f"{words[2].replace('.', '/')}.py", words[3:]
    else:
        script, argv = words[1], words[2:]
    assert (ROOT / script).is_file()
    monkeypatch.chdir(ROOT)
    check_command(ROOT / script, argv, monkeypatch)


def test_what_commands_of_the_readme_read_was_written_by_earlier_ones() -> None:
    """One after the other, in a fresh clone; and no command writes into the folder of another."""
    made: list[str] = []
    for location, words in COMMANDS:
        if location.startswith("README.md"):
            given = dict(pairwise(words))
            for flag in {"--train_file", "--input_file", "--model_name_or_path", "--predictions_file"} & given.keys():
                assert any(f"{given[flag]}/".startswith(f"{path}/") for path in made), given[flag]
            outputs = [given[flag] for flag in ("--output_file", "--output_dir") if flag in given]
            assert not set(made) & set(outputs)
            made += outputs
    assert len(made) > 5


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_named_in_documents_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    folders = "kmerbert|recipes|baselines|benchmarks|tests|data|docs|launch"
    names = re.findall(rf"`((?:{folders})/[\w./-]+\.(?:py|yaml|sh|md))`", text)
    for link in links:
        assert (path.parent / link).exists(), link
    for name in names:
        assert (ROOT / name).exists(), name


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model in runs/expression, and the files that the examples read."""
    folder = tmp_path_factory.mktemp("notebook")
    table = planted_table(folder / "promoters.tsv", 200)
    conv = "embedding_size=8,hidden_size=16,num_stages=2,head_size=16"
    settings = {"model_type": "kmer_conv", "config_overrides": conv, "validation_rows": 60}
    run_finetune_regression.main(flags(table, folder / "runs" / "expression", **settings))
    records = [line.split("\t")[0] for line in table.read_text().splitlines()[1:6]]
    (folder / "promoters.fa").write_text("".join(f">{row}\n{sequence}\n" for row, sequence in enumerate(records)))
    return folder


@pytest.mark.parametrize("name", ["docs/notebook.md", "README.md"])
def test_python_examples_run(name: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All examples of a document, one after the other, each expression at the end of a block shown as a notebook does."""
    monkeypatch.chdir(project)
    blocks = [block for block in python_blocks(name) if "you/expression" not in block]  # which is on the Hub
    assert blocks
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, name, "exec"), namespace)
    table = namespace["predictor"].predict(["TGCATTTTTTTCACATCAAAAAGCGTCCC"])
    assert table["prediction"].dtype == float
