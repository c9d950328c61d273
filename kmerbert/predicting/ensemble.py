"""Fine-tuned regression models, one or several that may be averaged: loaded, checked, in the unit of the labels.

Everything is known from their folders: k-mers, outputs, units, flanks. Runs no model.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from kmerbert.cli.flags import ModelArguments
from kmerbert.errors import REFUSALS
from kmerbert.models.loading import KMER_SETTINGS, load_config, load_tokenizer
from kmerbert.models.outputs import rescale_outputs

logger = logging.getLogger(__name__)


def load_ensemble(
    tokenizer_class: type, names: Sequence[str], revision: str = "main"
) -> tuple[Any, list[PreTrainedModel]]:
    """Loads checkpoints of run_finetune_regression.py that read and predict the same.

    Args:
        tokenizer_class: built with `k`, `stride` and `alphabet`.
        names: folders or Hub names; a `checkpoint-N` of a run, too, whose outputs are still standardised.
        revision: branch, tag or commit of all of them on the Hub.

    Returns:
        Their tokenizer, and the models in evaluation mode, with float32 weights and outputs in the unit of the labels.

    Raises:
        ValueError: for a folder that is no whole regression model, and for models that differ in what they read or predict.
    """
    loaded = [_load(tokenizer_class, name, revision) for name in names]
    first = _facts(loaded[0][1].config)
    for name, (_, model) in zip(names, loaded, strict=True):
        for what, found in _facts(model.config).items():
            if found != first[what]:
                own, wanted = (_in_words(value) for value in (found, first[what]))
                raise ValueError(
                    f"--model_name_or_path: {what} of {name} is {own}, but of {names[0]} "
                    f"{wanted if wanted != own else 'as many of other bases'}: models that differ in it cannot be averaged; "
                    "predict with each by itself"
                )
    return loaded[0][0], [model for _, model in loaded]


def output_names(config: PretrainedConfig) -> list[str]:
    """Names of what a model predicts, in the order of its outputs."""
    return [config.id2label[output] for output in range(config.num_labels)]


def check_strands(tokenizer: Any, names: Sequence[str], models: Sequence[PreTrainedModel]) -> None:
    """Warns of models that may not know the reverse complement of what they read, or read it without being asked.

    Raises:
        ValueError: for k-mers over letters without a complement.
    """
    if set(tokenizer.alphabet) - {"N"} != set("ACGT"):
        raise ValueError(f"--reverse_complement: k-mers over {tokenizer.alphabet} have none: allowed is ACGT or ACGTN")
    for name, model in zip(names, models, strict=True):
        if getattr(model.config, "both_strands", False):
            logger.warning("--reverse_complement: %s reads both strands anyway; this only takes twice as long", name)
        elif not getattr(model.config, "trained_on_both_strands", False):
            logger.warning(
                "--reverse_complement: %s does not say that it was trained on both strands. The average is right only for a "
                "measurement without direction; a promoter in a plasmid has one",
                name,
            )


def _load(tokenizer_class: type, name: str, revision: str) -> tuple[Any, PreTrainedModel]:
    place, arguments = f"--model_name_or_path {name}", ModelArguments(name, revision)
    tokenizer = load_tokenizer(tokenizer_class, arguments)
    config = load_config(arguments, tokenizer)
    saved = PretrainedConfig.get_config_dict(name, revision=revision)[0]  # load_config has filled k-mers in
    kind = ", ".join(saved.get("architectures") or ["no model"])
    if not kind.endswith("ForSequenceClassification") or "outputs_in_label_units" not in saved:
        raise ValueError(f"{place} holds {kind}, not of run_finetune_regression.py: fine-tune it first")
    for setting in KMER_SETTINGS:
        if (trained := saved.get(f"kmer_{setting}")) != (found := getattr(tokenizer, setting)):
            raise ValueError(
                f"{place}: trained with {setting} {trained}, but its tokenizer has {found}: copy the whole folder of the run, "
                "with tokenizer_config.json"
            )
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            name, revision=revision, config=config, dtype=torch.float32, output_loading_info=True
        )
    except REFUSALS as error:
        raise ValueError(f"{place}: the weights cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{place}: {len(missing)} weights are missing, the first is {missing[0]}: train it anew")
    if not config.outputs_in_label_units:
        rescale_outputs(model, config.label_scale, config.label_mean)
        config.outputs_in_label_units = True
    return tokenizer, model.eval().requires_grad_(False)


def _in_words(fact: Any) -> str:
    """A fact as a message shows it: of flanks, which are long, the lengths."""
    if not (isinstance(fact, dict) and "length" in fact):
        return repr(fact)
    carried = fact.get("carried")
    known = f", of which its training sequences bear {carried[0]} and {carried[1]}" if carried else ""
    return f"{fact['length']} bases on each side{known}"


def _facts(config: PretrainedConfig) -> dict[str, Any]:
    """What models that are averaged have in common."""
    facts = {setting: getattr(config, f"kmer_{setting}") for setting in KMER_SETTINGS}
    facts |= {name: getattr(config, name, None) for name in ("label_unit", "flanks")}
    return facts | {"outputs": output_names(config)}
