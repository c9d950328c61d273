"""Fine-tuned regression models, one or several that may be averaged: loaded, checked, in the unit of the labels.

Everything is known from their folders: k-mers, outputs, units, flanks.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from kmerbert.errors import counted
from kmerbert.models.loading import KMER_SETTINGS, load_config, load_tokenizer, load_weights
from kmerbert.models.outputs import rescale_outputs
from kmerbert.reading.training_sample import TrainingSample
from tokenization_kmer import KmerTokenizer

logger = logging.getLogger(__name__)


class Ensemble(NamedTuple):
    """Models that are averaged: their tokenizer, the models, and what messages call each."""

    tokenizer: KmerTokenizer
    models: list[PreTrainedModel]
    names: list[str]


def load_ensemble(names: Sequence[str], revision: str = "main") -> Ensemble:
    """Loads checkpoints of run_finetune_regression.py that read and predict the same.

    Args:
        names: Folders or Hub names; also a `checkpoint-N` of a run, whose outputs are still standardised, and a model that is
            an ensemble itself, whose members then take part one by one.
        revision: Branch, tag or commit of all of them on the Hub.

    Returns:
        The models in evaluation mode, with float32 weights and outputs in the unit of the labels.

    Raises:
        ValueError: A folder is not a complete regression model, or models differ in what they read or predict.
    """
    loaded = [part for name in names for part in _load(name, revision)]
    names = [name for name, _, _ in loaded]
    expected = _facts(loaded[0][2].config)
    for name, _, model in loaded:
        for fact, value in _facts(model.config).items():
            if not expected[fact] and fact == "label_unit":
                expected[fact] = value  # the first models do not say theirs
            elif value != expected[fact] and (value or fact != "label_unit"):
                this, first = (_describe(value) for value in (value, expected[fact]))
                raise ValueError(
                    f"`model_name_or_path`: {fact} of {name} is {this}, but of {names[0]} "
                    f"{first if first != this else 'as many of other bases'}: models that differ in it cannot be averaged; "
                    "predict with each separately"
                )
    return Ensemble(loaded[0][1], [model for _, _, model in loaded], names)


def joint_facts(models: Sequence[PreTrainedModel]) -> dict[str, Any]:
    """What the mean of some models says about its training rows in its configuration: those of any of them."""
    facts: dict[str, Any] = {}
    lengths = [model.config.sequence_length for model in models if hasattr(model.config, "sequence_length")]
    if len(lengths) == len(models):
        facts["sequence_length"] = [min(map(min, lengths)), max(map(max, lengths))]
    samples = [TrainingSample.from_text(getattr(model.config, "training_sample", None)) for model in models]
    if all(samples):
        facts["training_sample"] = reduce(TrainingSample.joined, samples).text
    return facts


def output_names(config: PretrainedConfig) -> list[str]:
    """Names of what a model predicts, in the order of its outputs."""
    return [config.id2label[output] for output in range(config.num_labels)]


def check_strands(tokenizer: KmerTokenizer, names: Sequence[str], models: Sequence[PreTrainedModel]) -> None:
    """Warns of models that may not know the reverse complement of what they read, or read it without being asked.

    Raises:
        ValueError: The k-mers are over letters without a complement.
    """
    if set(tokenizer.alphabet) - {"N"} != set("ACGT"):
        raise ValueError(
            f"`reverse_complement`: k-mers over {tokenizer.alphabet} have no complement: allowed is ACGT or ACGTN"
        )
    for name, model in zip(names, models, strict=True):
        if getattr(model.config, "both_strands", False):
            logger.warning("`reverse_complement`: %s reads both strands anyway; this only takes twice as long", name)
        elif not getattr(model.config, "trained_on_both_strands", False):
            logger.warning(
                "`reverse_complement`: %s does not say that it was trained on both strands. The average is right only for "
                "a measurement without direction; a promoter in a plasmid has one",
                name,
            )


def _load(name: str, revision: str) -> Iterator[tuple[str, KmerTokenizer, PreTrainedModel]]:
    """A checkpoint by its name, or the members of an ensemble by theirs."""
    checkpoint = f"`model_name_or_path` {name}"
    tokenizer = load_tokenizer(name, revision)
    config = load_config(tokenizer, name, revision)
    saved = PretrainedConfig.get_config_dict(name, revision=revision)[0]  # load_config has filled k-mers in
    kind = ", ".join(saved.get("architectures") or ["no model"])
    if not kind.endswith("ForSequenceClassification") or "outputs_in_label_units" not in saved:
        raise ValueError(f"{checkpoint} contains {kind}, not a model of run_finetune_regression.py: fine-tune it first")
    _check_outputs(checkpoint, config)
    model, missing = load_weights(AutoModelForSequenceClassification, config, name, revision)
    if missing:
        raise ValueError(f"{checkpoint}: {len(missing)} weights are missing, the first is {missing[0]}: train it again")
    members = getattr(model, "members", None)
    for number, member in enumerate(members or [model]):
        if not member.config.outputs_in_label_units:
            rescale_outputs(member, member.config.label_scale, member.config.label_mean)
            member.config.outputs_in_label_units = True
        yield f"member {number} of {name}" if members else name, tokenizer, member.eval().requires_grad_(False)


def _check_outputs(checkpoint: str, config: PretrainedConfig) -> None:
    """Raises ValueError if a configuration does not say what each output is, and in which unit."""
    outputs = range(config.num_labels)
    if sorted(config.id2label) != list(outputs):
        raise ValueError(
            f"{checkpoint}: `id2label` in its config.json must name outputs {', '.join(map(str, outputs))}"
        )
    for name in () if config.outputs_in_label_units else ("label_scale", "label_mean"):
        values = getattr(config, name, None)
        is_list = isinstance(values, list) and all(isinstance(value, int | float) for value in values)
        if not is_list or len(values) != len(outputs) or not np.isfinite(values).all():
            raise ValueError(
                f"{checkpoint}: `{name}` in its config.json is {values!r}: {counted(len(outputs), 'finite number')} needed"
            )


def _describe(fact: Any) -> str:
    """A fact as a message shows it; of flanks, which are long, the lengths."""
    if not (isinstance(fact, dict) and "length" in fact):
        return repr(fact)
    carried = fact.get("carried")
    known = f", of which its training sequences include {carried[0]} and {carried[1]}" if carried else ""
    return f"{fact['length']} bases on each side{known}"


def _facts(config: PretrainedConfig) -> dict[str, Any]:
    """What models that are averaged must have in common."""
    facts = {setting: getattr(config, f"kmer_{setting}") for setting in KMER_SETTINGS}
    facts |= {name: getattr(config, name, None) for name in ("label_unit", "label_transform", "flanks")}
    return facts | {"outputs": output_names(config)}
