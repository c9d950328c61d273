"""The model card: README.md of an output folder, read by people and by the Hub. Text only; builds and runs no model."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

METRIC_NAMES = {"pearsonr": "Pearson r", "spearmanr": "Spearman rho", "rmse": "RMSE", "mae": "MAE", "r2": "R2"}


@dataclass(frozen=True)
class CardFacts:
    """What a card says.

    Attributes:
        task: `fill-mask` or `text-classification`, the pipelines that load it.
        summary: one paragraph: what goes in, what comes out.
        usage: Python lines that run the model, with `REPO` for its name.
        metrics: split -> metric -> value.
        settings: further lines of the settings table.
        base_model: the checkpoint that training started from, if any.
    """

    task: str
    summary: str
    usage: str
    metrics: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    base_model: str | None = None


def chosen(metrics: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Those metrics of every split that a card shows, without the Trainer's prefixes."""
    return {
        split: {name: values[f"{prefix}_{name}"] for name in names if f"{prefix}_{name}" in values}
        for split, values in metrics.items()
        for prefix in ("eval" if split == "validation" else split,)
    }


def settings(arguments: Any, model: Any) -> dict[str, Any]:
    """What a reader needs to repeat the run.

    Args:
        arguments: the training arguments.
        model: with the project's entries in its configuration.
    """
    config = model.config
    return {
        "model": f"{type(model).__name__}, {model.num_parameters() / 1e6:.2f} million parameters",
        "k-mers": f"k = {config.kmer_k}, stride {config.kmer_stride}, alphabet {config.kmer_alphabet}",
        "sequence length": "{} to {} bases".format(*config.sequence_length),
        "epochs": arguments.num_train_epochs if arguments.max_steps <= 0 else f"{arguments.max_steps} steps",
        "sequences a step": arguments.train_batch_size * arguments.world_size * arguments.gradient_accumulation_steps,
        "learning rate": f"{arguments.learning_rate:g}, {arguments.lr_scheduler_type.value}",
        "seed": arguments.seed,
        "code": config.code_version,
        "versions": ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers")),
    }


def code_version(root: Path) -> str:
    """The commit of the checkout, with `+` when files differ from it; `unknown` outside a checkout."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found if re.fullmatch(r"[0-9a-f]+\+?", found) else "unknown"


def write_card(folder: Path, repository: str, facts: CardFacts, config: Any) -> None:
    """Writes README.md, with valid Hub metadata, into a folder.

    Args:
        folder: the output folder.
        repository: name or folder that loads the model.
        facts: of the run.
        config: the model's configuration; `data_name` and `data_checksum` say what it was trained on.
    """
    if flanks := getattr(config, "flanks", None):
        words = (
            f" It reads each sequence between {flanks['length']} bases of its plasmid on each side (`flanks` in "
            "config.json): `run_predict.py` puts them on; to any other program give sequences that have them."
        )
        facts = replace(facts, summary=facts.summary + words)
    text = model_card(facts, repository, config.data_name, config.data_checksum)
    unfinished = folder / ".README.md.unfinished"
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(folder / "README.md")


def model_card(facts: CardFacts, repository: str, data_name: str, checksum: str) -> str:
    """Returns the card as Markdown that begins with a YAML block."""
    title = repository.rstrip("/").split("/")[-1]
    results = [
        EvalResult(
            task_type=facts.task,
            dataset_type="table",
            dataset_name=data_name,
            dataset_split=split,
            metric_type=metric,
            metric_value=round(value, 6),
        )
        for split, values in facts.metrics.items()
        for metric, value in values.items()
    ]
    base_model = facts.base_model or ""
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=facts.task,
        # The Hub wants a repository name here; a folder of somebody's machine is nobody else's business.
        base_model=base_model if base_model.count("/") == 1 and not Path(base_model).exists() else None,
        tags=["biology", "genomics", "dna", "k-mer"],
        model_name=title,
        eval_results=results or None,
    )
    usage = facts.usage.replace("REPO", repository)
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {title}",
        facts.summary,
        "## Use",
        f"```python\n{usage}\n```",
        "## Results",
        _results_table(facts.metrics),
        "## Training",
        f"Data: {data_name}, checksum `{checksum}`.",
        _table(("setting", "value"), [(key, value) for key, value in facts.settings.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _results_table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    if not names:
        return "Not evaluated."
    rows = [(split, *(f"{values[n]:.4f}" if n in values else "" for n in names)) for split, values in metrics.items()]
    return _table(("split", *(METRIC_NAMES.get(name, name) for name in names)), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
