"""The model card: README.md of an output folder, read by people and by the Hub. Its text is in `card.md`."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import PretrainedConfig, PreTrainedModel, TrainingArguments

from kmerbert.files import write_text
from kmerbert.scoring.baselines import NAMES as BASELINE_NAMES
from kmerbert.scoring.metrics import METRIC_LABELS

TEMPLATE = Path(__file__).with_name("card.md")


@dataclass(frozen=True)
class CardFacts:
    """What a card says.

    Attributes:
        task: `fill-mask` or `text-classification`, the pipelines that load it.
        summary: One paragraph: what goes in, what comes out.
        usage: Python lines that run the model, with `REPO` for its name.
        metrics: Split -> metric -> value.
        settings: Lines of the settings table.
        base_model: The checkpoint that training started from, if any.
        baselines: Name -> metrics, on the test rows, or the validation rows if there are no others.
        verdict: What the model is worth, in a few lines.
    """

    task: str
    summary: str
    usage: str
    metrics: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    base_model: str | None = None
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    verdict: Sequence[str] = ()


def select_metrics(metrics: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Returns those metrics of every split that a card shows, without the Trainer's prefixes."""
    return {
        split: {name: values[f"{prefix}_{name}"] for name in names if f"{prefix}_{name}" in values}
        for split, values in metrics.items()
        for prefix in ("eval" if split == "validation" else split,)
    }


def describe_settings(arguments: TrainingArguments, model: PreTrainedModel) -> dict[str, Any]:
    """Returns what a reader needs to repeat the run.

    Args:
        arguments: The training arguments.
        model: With the project's entries in its configuration.
    """
    config = model.config
    n_rejected = getattr(config, "n_rejected_rows", 0)
    return {
        "model": f"{type(model).__name__}, {model.num_parameters() / 1e6:.2f} million parameters",
        "k-mers": f"k = {config.kmer_k}, stride {config.kmer_stride}, alphabet {config.kmer_alphabet}",
        "sequence length": "{} to {} bases".format(*config.sequence_length),
        "epochs": arguments.num_train_epochs if arguments.max_steps <= 0 else f"{arguments.max_steps} steps",
        "sequences a step": arguments.train_batch_size * arguments.world_size * arguments.gradient_accumulation_steps,
        "learning rate": f"{arguments.learning_rate:g}, {arguments.lr_scheduler_type.value}",
        **({"rows left out": f"{n_rejected} that could not be used"} if n_rejected else {}),
        "seed": arguments.seed,
        "code": config.code_version,
        "versions": ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers")),
    }


def describe_unit(label_transform: Mapping[str, Any] | None, unit: str) -> str:
    """Returns a sentence about the numbers that a model answers with.

    Args:
        label_transform, unit: As the model's configuration has them.
    """
    if label_transform is None:
        return "The outputs are in the unit of the measured values."
    return f"The outputs are logarithms, {unit}, not the measured values themselves."


def code_version(root: Path) -> str:
    """Returns the commit of the checkout, with `+` if files differ from it; `unknown` outside a checkout."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit if re.fullmatch(r"[0-9a-f]+\+?", commit) else "unknown"


def write_card(folder: Path, repository: str, facts: CardFacts, config: PretrainedConfig) -> None:
    """Writes README.md, with valid Hub metadata, into a folder.

    Args:
        folder: The output folder.
        repository: Name or folder that loads the model.
        facts: About the run.
        config: The model's configuration, which says what it was trained on and what it reads.
    """
    write_text(folder / "README.md", model_card(repository, facts, config))


def model_card(repository: str, facts: CardFacts, config: PretrainedConfig) -> str:
    """Returns the card as Markdown that begins with a YAML block; arguments as for `write_card`."""
    title = repository.rstrip("/").split("/")[-1]
    results = [
        EvalResult(
            task_type=facts.task,
            dataset_type="table",
            dataset_name=config.data_name,
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
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        title=title,
        summary=facts.summary,
        usage=facts.usage.replace("REPO", json.dumps(repository, ensure_ascii=False)[1:-1]),
        metrics=facts.metrics,
        metric_names=list(dict.fromkeys(name for values in facts.metrics.values() for name in values)),
        metric_labels=METRIC_LABELS,
        baselines={BASELINE_NAMES[name]: values for name, values in facts.baselines.items()},
        judged_split="test" if "test" in facts.metrics else "validation",
        verdict=facts.verdict,
        settings=facts.settings,
        data_name=config.data_name,
        data_checksum=config.data_checksum,
        flank_length=(getattr(config, "flanks", None) or {}).get("length"),
    )
    return str(card).rstrip() + "\n"
