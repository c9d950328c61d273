"""Tokenizer, configuration and weights: new ones, or a checkpoint's, checked against each other.

Which class is built and with which settings is the script's business; this module only makes sure that what is loaded
fits together, and says what does not.
"""

import json
import logging
from itertools import product
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HfHubHTTPError
from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from kmerbert.cli.flags import ModelArguments
from kmerbert.errors import REFUSALS, _line

logger = logging.getLogger(__name__)
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
KMER_SETTINGS = ("k", "stride", "alphabet")


def load_tokenizer(tokenizer_class: type, arguments: ModelArguments) -> Any:
    """Builds the tokenizer that the command line and the checkpoint agree on.

    Args:
        tokenizer_class: built with `k`, `stride` and `alphabet`.
        arguments: the checkpoint, if any, and the k-mer flags, if given.

    Raises:
        ValueError: when the checkpoint cannot be found, or was trained with other k-mers than asked for.
    """
    asked = {name: value for name in KMER_SETTINGS if (value := getattr(arguments, name)) is not None}
    saved: dict[str, Any] = {}
    if arguments.model_name_or_path:
        _checkpoint_file(arguments, "config.json", needed=True)
        path = _checkpoint_file(arguments, "tokenizer_config.json", needed=False)
        try:
            settings = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
        except ValueError as error:
            raise ValueError(f"{path} is not JSON: {_line(error)}") from None
        saved = {name: settings[name] for name in KMER_SETTINGS if name in settings}
        if not saved and (vocabulary := _checkpoint_file(arguments, "vocab.txt", needed=False)):
            saved = _read_vocabulary(Path(vocabulary))
    if getattr(arguments, "reading_frames", None):
        saved["stride"] = 1  # the frames are taken from all k-mers, whatever the pretraining read
    for name in asked.keys() & saved.keys():
        if asked[name] != saved[name]:
            raise ValueError(
                f"--{name} {asked[name]}: the checkpoint {arguments.model_name_or_path} was trained with {name} "
                f"{saved[name]}; leave the flag out, or train from scratch without --model_name_or_path"
            )
    tokenizer = tokenizer_class(**saved | asked)
    if (n_frames := getattr(arguments, "reading_frames", None) or tokenizer.k) != tokenizer.k:
        words = "--reading_frames %d: a frame's %d-mers begin every %d bases; %d frames would be of k-mers side by side"
        logger.info(words, n_frames, tokenizer.k, n_frames, tokenizer.k)
    return tokenizer


def _read_vocabulary(path: Path) -> dict[str, Any]:
    """k and alphabet of a vocabulary that is not ours, such as DNABERT's, when it gives every k-mer the same id as ours."""
    tokens = path.read_text(encoding="utf-8").split()
    kmers = tokens[len(SPECIAL_TOKENS) :]
    alphabet = "".join(dict.fromkeys(kmer[-1] for kmer in kmers))
    k = len(kmers[0]) if kmers else 0
    is_ours = tokens[: len(SPECIAL_TOKENS)] == SPECIAL_TOKENS and len(kmers) == len(alphabet) ** k  # first, as a bound
    if not is_ours or kmers != ["".join(letters) for letters in product(alphabet, repeat=k)]:
        raise ValueError(
            f"{path}: its tokens are not {' '.join(SPECIAL_TOKENS)} and then all k-mers in the order of an alphabet, so the "
            "checkpoint's ids mean something else here: use another checkpoint"
        )
    return {"k": k, "alphabet": alphabet}


def _checkpoint_file(arguments: ModelArguments, name: str, needed: bool) -> str | None:
    folder = arguments.model_name_or_path
    if Path(folder).is_file():
        raise ValueError(
            f"--model_name_or_path {folder} is a file: give the folder that holds config.json and the weights"
        )
    try:
        path = cached_file(folder, name, revision=arguments.model_revision, _raise_exceptions_for_missing_entries=False)
    except (OSError, HfHubHTTPError, ValueError) as error:
        raise ValueError(
            f"--model_name_or_path {folder}: no such folder, and not on the Hub ({_line(error)})"
        ) from None
    if path is None and needed and not Path(folder).is_dir():
        raise ValueError(f"--model_name_or_path {folder}: no such folder, and not on the Hub (no {name} found there)")
    if path is None and needed:
        raise ValueError(f"--model_name_or_path {folder} holds no {name}: give the output folder of a training run")
    return path


def load_config(arguments: ModelArguments, tokenizer: Any, **settings: Any) -> PretrainedConfig:
    """Builds the configuration of a new model, or reads a checkpoint's.

    Args:
        arguments: the checkpoint, or the architecture and its overrides.
        tokenizer: gives the number of ids and the special ones.
        settings: more settings (number of outputs, ...), given to both.

    Raises:
        ValueError: for an unknown architecture or setting, or a checkpoint with another vocabulary.
    """
    if arguments.model_name_or_path:
        place = f"--model_name_or_path {arguments.model_name_or_path}"
        try:
            config = AutoConfig.from_pretrained(
                arguments.model_name_or_path, revision=arguments.model_revision, **settings
            )
        except REFUSALS as error:
            raise ValueError(f"{place}: its config.json cannot be used: {_line(error)}") from None
        if hasattr(config, "auto_map"):
            del config.auto_map  # names code of the checkpoint's author, which was not run and does not go with ours
        if (n_ids := getattr(config, "vocab_size", None)) != len(tokenizer):
            raise ValueError(
                f"{place} has {n_ids} token ids, but k = {tokenizer.k} over {tokenizer.alphabet} has {len(tokenizer)}: "
                "give the --k and --alphabet it was trained with"
            )
    else:
        if arguments.model_type not in CONFIG_MAPPING:
            raise ValueError(
                f"--model_type {arguments.model_type!r} is no architecture: bert, modernbert, roberta, ..."
            )
        config_class = CONFIG_MAPPING[arguments.model_type]
        if arguments.config_overrides:
            settings |= _overrides(config_class(), arguments.config_overrides)
        config = config_class(**{"vocab_size": len(tokenizer)} | settings)
        if config.vocab_size != len(tokenizer):
            raise ValueError("--config_overrides vocab_size: leave it out, --k and --alphabet say how many there are")
    if config.is_encoder_decoder:
        raise ValueError(f"{config.model_type} models are encoder-decoders: take one that only encodes, such as bert")
    ids = {"pad_token_id": tokenizer.pad_token_id, "cls_token_id": tokenizer.cls_token_id}
    ids |= {"sep_token_id": tokenizer.sep_token_id, "bos_token_id": None, "eos_token_id": None}
    config.update(ids | {f"kmer_{name}": getattr(tokenizer, name) for name in KMER_SETTINGS})
    return config


def _overrides(defaults: PretrainedConfig, text: str) -> dict[str, Any]:
    """Reads `key=value,...` with the types of the defaults; given to the constructor, since some settings follow from
    others (ModernBERT's kinds of layers from their number)."""
    text = text.replace(" ", "")
    try:
        defaults.update_from_string(text)
    except REFUSALS as error:
        raise ValueError(f"--config_overrides {text!r}: {_line(error)}") from None
    return {key: getattr(defaults, key) for key in (part.split("=")[0] for part in text.split(","))}


def max_tokens(config: PretrainedConfig) -> int | None:
    """Tokens that the model can read, special ones included; None where there is no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    if (n_frames := getattr(config, "n_frames", 1)) > 1 and positions:
        return (positions - 2) * n_frames + 2  # each frame has positions, [CLS] and [SEP] of its own
    # RoBERTa and its kin count positions from pad_token_id + 1.
    offset = (config.pad_token_id or 0) + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
    return positions - offset if positions and positions > 0 else None


def load_model(auto_class: Any, arguments: ModelArguments, config: PretrainedConfig) -> PreTrainedModel:
    """Builds a model from scratch, or loads a checkpoint's weights into it, in float32.

    Args:
        auto_class: `AutoModelForMaskedLM` or another of the family.
        arguments: the checkpoint, if any.
        config: of `load_config`.

    Raises:
        ValueError: when the weights cannot be read, or are not those of this architecture.
    """
    if not arguments.model_name_or_path:
        try:
            model = auto_class.from_config(config)
        except REFUSALS as error:
            asked = f"--model_type {arguments.model_type} --config_overrides {arguments.config_overrides}"
            raise ValueError(f"{asked}: no such model can be built: {_line(error)}") from None
        logger.info("%s from scratch, %.1f million parameters", type(model).__name__, model.num_parameters() / 1e6)
        return model
    try:
        model, report = auto_class.from_pretrained(
            arguments.model_name_or_path,
            revision=arguments.model_revision,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except REFUSALS as error:
        raise ValueError(
            f"--model_name_or_path {arguments.model_name_or_path}: the weights cannot be loaded: {_line(error)}"
        ) from None
    prefix = f"{model.base_model_prefix}."
    new = sorted(report["missing_keys"])
    lost = [key for key in new if key.startswith(prefix) and "pooler" not in key]
    if lost:
        raise ValueError(
            f"--model_name_or_path {arguments.model_name_or_path}: {len(lost)} weights of the network are missing, the first "
            f"is {lost[0]}: this is not a checkpoint of a {config.model_type} model"
        )
    logger.info(
        "%s from %s, %.1f million parameters; new: %s",
        type(model).__name__,
        arguments.model_name_or_path,
        model.num_parameters() / 1e6,
        ", ".join(new) or "none",
    )
    return model
