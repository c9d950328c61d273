"""Keeps the repository honest: who imports whom, recipes, commands in the documents, flags."""

import argparse
import ast
import dataclasses
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser

from kmerbert.cli import flags as arguments
from kmerbert.dna import sequences
from tokenization_kmer import KmerTokenizer

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(ROOT.glob("run_*.py"))
PROGRAMS = [path for folder in ("data", "baselines", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
PACKAGE = sorted(ROOT.glob("kmerbert/**/*.py"))
RECIPES = sorted(ROOT.glob("recipes/*/*.yaml"))
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md"))]
# Which rooms of kmerbert/ a room may import, besides itself; a file that lies in kmerbert/ itself is a room, too.
# Nobody imports the scripts, data/, baselines/, benchmarks/ or tests/.
GROUND = {"dna", "figures", "files", "errors"}
ROOMS = {
    **{room: set() for room in (*GROUND, "cli")},
    "models": GROUND,
    "reading": GROUND,
    "predicting": GROUND | {"models", "reading"},
    "tokens": GROUND | {"models", "reading"},
    "splitting": GROUND | {"models", "reading", "predicting", "tokens"},
    "scoring": GROUND | {"models", "reading", "predicting", "tokens"},
    "sharing": GROUND | {"models", "reading", "predicting", "tokens", "splitting", "scoring"},
    "training": GROUND | {"models", "reading", "predicting", "tokens", "splitting", "scoring", "cli"},
}
STANDS_ALONE = {"numpy", "tokenizers", "transformers"}


class Parsed(Exception):
    """Raised instead of running a program once its command line has been accepted."""


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, anywhere in it; a relative import begins with a point."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "kmerbert" else {module}
    return found


def load(path: Path) -> object:
    """Imports a program by its path."""
    spec = importlib.util.spec_from_file_location(f"program_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))  # as Python does for a program that it is asked to run
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
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
    """Every `python ...` and `accelerate launch ...` in documents, docstrings, recipes and the demo, with its place."""
    for path in [*DOCUMENTS, *SCRIPTS, *PROGRAMS, *RECIPES, *sorted(ROOT.glob("*.yaml")), *ROOT.glob("recipes/*/*.sh")]:
        text = path.read_text(encoding="utf-8").replace("\\\\\n", "\\\n").replace("$PYTHON ", "python ")
        text = re.sub(r"\\\n[#\s]*", " ", text).replace("$OUT", "runs/demo")
        for line in text.splitlines():
            line = line.strip().lstrip("#$ ").strip()
            if (
                re.match(r"python -m (benchmarks|baselines)|(python|accelerate launch)\b.*\b[\w/]+\.py\b", line)
                and "..." not in line
            ):
                words = shlex.split(line, comments=True)
                yield f"{path.relative_to(ROOT)}: {line[:60]}", words


COMMANDS = list(commands())


# Until flags stop at the door.
STILL = {"models/loading.py", "predicting/ensemble.py", "splitting/groups.py", "tokens/masking.py"}


def room(path: Path) -> str:
    """The room of kmerbert/ that a file is in."""
    return path.relative_to(ROOT / "kmerbert").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT / "kmerbert")))
def test_rooms_import_what_is_below_them(path: Path) -> None:
    if path.stem == "__init__":
        assert not imports(path)
        return
    rooms = {name.split(".")[1] for name in imports(path) if name.startswith("kmerbert.")}
    still = {"cli"} if str(path.relative_to(ROOT / "kmerbert")) in STILL else set()
    assert rooms - {room(path)} <= ROOMS[room(path)] | still
    assert not any(name.startswith(".") for name in imports(path)), "imports name the room"
    assert room(path) == "figures" or not any(name.split(".")[0] == "matplotlib" for name in imports(path))


def test_sequences_needs_the_standard_library_only() -> None:
    assert {name.split(".")[0] for name in imports(ROOT / "kmerbert/dna/sequences.py")} <= sys.stdlib_module_names


def test_the_tokenizer_stands_alone() -> None:
    outside = {name.split(".")[0] for name in imports(ROOT / "tokenization_kmer.py")} - sys.stdlib_module_names
    assert outside <= STANDS_ALONE


def test_no_script_imports_a_script_or_a_program() -> None:
    forbidden = {path.stem for path in SCRIPTS} | {"data", "baselines", "benchmarks", "tests", "recipes"}
    for path in [*SCRIPTS, *PACKAGE]:
        assert not {name.split(".")[0] for name in imports(path)} & forbidden, path


def test_the_letters_of_tokenizer_and_sequences_agree() -> None:
    assert set(KmerTokenizer().alphabet) | {"N"} == set(sequences.canonical("ACGTUN"))


def test_recipes_are_found() -> None:
    assert len(RECIPES) >= 5


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_parses(recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = next((script for script in SCRIPTS if f"run_{recipe.stem}".startswith(script.stem)), None)
    assert script, "the name of a recipe begins with its script's"
    argv = ["--config", str(recipe), "--train_file", "x.tsv", "--output_dir", str(tmp_path)]
    check_command(script, argv, monkeypatch)


def test_commands_are_found() -> None:
    places = {place.split(":")[0] for place, _ in COMMANDS}
    assert {"README.md", "recipes/README.md", "data/README.md", "recipes/smoke/demo.sh"} <= places
    assert {path.name for path in SCRIPTS} <= places


@pytest.mark.parametrize(("place", "words"), COMMANDS, ids=[place for place, _ in COMMANDS])
def test_every_command_parses(place: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_named_in_documents_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    names = re.findall(r"`((?:kmerbert|recipes|baselines|benchmarks|tests|data)/[\w./-]+\.(?:py|yaml|sh|md))`", text)
    for link in links:
        assert (path.parent / link).exists(), link
    for name in names:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help_works(path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        load(path).main(["--help"])
    assert stopped.value.code == 0
    assert "--config" in capsys.readouterr().out


def test_every_flag_has_help_and_is_read() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in [*PACKAGE, *SCRIPTS])
    groups = [getattr(arguments, name) for name in dir(arguments) if name.endswith("Arguments")]
    assert len(groups) >= 4
    for group in groups:
        for field in dataclasses.fields(group):
            assert len(field.metadata["help"]) > 20, field.name
            # Some are read by a name that is put together: f"{split}_rows".
            together = re.sub("^(validation|test)_", "{split}_", field.name)
            used = re.search(rf'\.{field.name}\b|"{field.name}"|{re.escape(together)}\b', code)
            assert used or field.name in ("k", "stride", "alphabet"), f"--{field.name} is not read"
