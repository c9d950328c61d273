"""Keeps the repository in order: who imports whom, where flags may be named, what stands alone, what is installed."""

import ast
import dataclasses
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import modeling_kmer_conv
import tokenization_kmer
from kmerbert.cli import flags
from kmerbert.dna.sequences import canonical

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(ROOT.glob("run_*.py"))
PACKAGE = sorted(ROOT.glob("kmerbert/**/*.py"))
# Which folders of kmerbert/ a folder may import, besides itself; a file directly in kmerbert/ counts as a folder.
# Nobody imports the scripts, data/, baselines/, benchmarks/ or tests/.
LOWEST = {"dna", "figures", "files", "errors"}
MAY_IMPORT = {
    **{name: set() for name in LOWEST},
    "cli": {"errors"},  # which errors of libraries become one line
    "models": LOWEST,
    "reading": LOWEST,
    "predicting": LOWEST | {"models", "reading"},
    "tokens": LOWEST | {"models", "reading"},
    "splitting": LOWEST | {"models", "reading", "predicting", "tokens"},
    "scoring": LOWEST | {"models", "reading", "predicting", "tokens"},
    "sharing": LOWEST | {"models", "reading", "predicting", "tokens", "splitting", "scoring"},
    # Of cli, the flags that become splits, and what every launch does.
    "training": LOWEST | {"models", "reading", "predicting", "tokens", "splitting", "scoring", "cli"},
}
# Files that travel to other places, and all they may import besides the standard library.
STAND_ALONE = {
    "tokenization_kmer.py": {"numpy", "tokenizers", "transformers"},
    "modeling_kmer_conv.py": {"torch", "transformers"},
    "modeling_kmer_regression.py": {"torch", "transformers"},
    # With its members' networks, which transformers copies to wherever the file goes.
    "modeling_kmer_ensemble.py": {"torch", "transformers", "modeling_kmer_conv", "modeling_kmer_regression"},
    "kmerbert/scoring/dna_metrics/dna_metrics.py": {"datasets", "evaluate", "numpy"},
    "kmerbert/dna/sequences.py": {"tokenization_kmer"},
}


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, anywhere in it; a relative import begins with a point."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names |= {f"{module}.{alias.name}" for alias in node.names} if module == "kmerbert" else {module}
    return names


def folder_of(path: Path) -> str:
    """The folder of kmerbert/ that a file is in."""
    return path.relative_to(ROOT / "kmerbert").parts[0].removesuffix(".py")


def in_package(path: Path) -> str:
    return str(path.relative_to(ROOT / "kmerbert"))


@pytest.mark.parametrize("path", PACKAGE, ids=in_package)
def test_folders_import_what_is_below_them(path: Path) -> None:
    if path.stem == "__init__":
        assert not path.read_text()
        return
    imported = {name.split(".")[1] for name in imports(path) if name.startswith("kmerbert.")}
    assert imported - {folder_of(path)} <= MAY_IMPORT[folder_of(path)]
    assert not any(name.startswith(".") for name in imports(path)), "imports name the folder"
    assert folder_of(path) == "figures" or not any(name.split(".")[0] == "matplotlib" for name in imports(path))


@pytest.mark.parametrize("path", PACKAGE, ids=in_package)
def test_only_the_command_line_knows_dashes(path: Path) -> None:
    """Texts that the program builds name arguments in backticks; only cli/ and the training flags know dashes."""
    if folder_of(path) == "cli" or in_package(path) == "training/flags.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    # sharing/card.py asks git for the commit; sharing/hub.py shows a command of the Hub's own client.
    others = ("--always", "--dirty=+", "--abbrev=12", "--exclude=*", " --revision ", "--include ")
    assert not [text for text in texts if re.search(r"--[a-z]", text) and text not in docstrings and text not in others]


@pytest.mark.parametrize("name", STAND_ALONE)
def test_files_that_travel_stand_alone(name: str) -> None:
    outside = {module.lstrip(".").split(".")[0] for module in imports(ROOT / name)} - sys.stdlib_module_names
    assert outside <= STAND_ALONE[name]


def test_no_script_imports_a_script_or_a_program() -> None:
    forbidden = {path.stem for path in SCRIPTS} | {"data", "baselines", "benchmarks", "tests", "recipes"}
    for path in [*SCRIPTS, *PACKAGE]:
        assert not {name.split(".")[0] for name in imports(path)} & forbidden, path


def test_what_is_written_twice_agrees() -> None:
    """The tokenizer and the network may import nothing of each other or of the project."""
    tokenizer = tokenization_kmer.KmerTokenizer()
    assert set(tokenizer.alphabet) | {"N"} == set(canonical("ACGTUN"))
    assert modeling_kmer_conv.N_SPECIAL == tokenization_kmer.N_SPECIAL == len(tokenizer.all_special_ids)
    assert tokenizer.num_special_tokens_to_add() == tokenization_kmer.N_ADDED


def test_every_flag_has_help_and_is_read() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in [*PACKAGE, *SCRIPTS])
    groups = [getattr(flags, name) for name in dir(flags) if name.endswith("Arguments")]
    assert len(groups) >= 4
    for group in groups:
        for field in dataclasses.fields(group):
            assert len(field.metadata["help"]) >= 20, field.name
            # Some are read by a name that is put together: f"{split}_rows".
            together = re.sub("^(validation|test)_", "{split}_", field.name)
            assert re.search(rf'\.{field.name}\b|"{field.name}"|{re.escape(together)}\b', code), f"--{field.name}"


def test_pip_install_asks_for_what_requirements_have() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    pinned = {requirement.name: requirement for requirement in map(Requirement, filter(None, lines))}
    for requirement in map(Requirement, project["dependencies"]):
        if requirement.name == "torch":
            assert requirement.specifier.contains(next(iter(pinned["torch"].specifier)).version)
        else:
            assert requirement.specifier == pinned[requirement.name].specifier
    roots = {"kmerbert", *(Path(name).stem for name in STAND_ALONE if "/" not in name)}
    files = [*PACKAGE, *map(ROOT.joinpath, STAND_ALONE)]
    names = {name.lstrip(".").split(".")[0] for path in files for name in imports(path)}
    imported = names - sys.stdlib_module_names - roots
    given = {"yaml": "PyYAML", "jinja2": "Jinja2", "sklearn": "scikit-learn"}
    given |= dict.fromkeys(("tokenizers", "safetensors"), "transformers")
    assert {given.get(name, name) for name in imported} <= {Requirement(d).name for d in project["dependencies"]}
