"""Tokenizer, configuration and weights: new ones, or a checkpoint's, checked against each other.

Which class is built and with which settings is the caller's business; this module only makes sure that what is loaded
fits together, and says what does not.
"""

import logging
from collections.abc import Callable
from inspect import signature
from itertools import product
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HfHubHTTPError
from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER
from transformers.utils import cached_file

import modeling_kmer_conv  # noqa: F401 (makes its models known to the Auto classes)
import modeling_kmer_ensemble  # noqa: F401
import modeling_kmer_regression  # noqa: F401
from kmerbert.errors import LOADING_ERRORS, one_line
from kmerbert.files import read_json
from tokenization_kmer import N_SPECIAL, SPECIAL_TOKENS, Flanks, KmerTokenizer

logger = logging.getLogger(__name__)
KMER_SETTINGS = ("k", "stride", "alphabet")
# The files that a saved model and its tokenizer consist of, as patterns.
MODEL_FILES = (
    "config.json", "model.safetensors", "model-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9].safetensors",
    "model.safetensors.index.json", "modeling_kmer_conv.py", "modeling_kmer_ensemble.py", "modeling_kmer_regression.py",
    "tokenization_kmer.py", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json",
    "added_tokens.json",
)  # fmt: skip


def load_tokenizer(
    model_name_or_path: str | None = None,
    model_revision: str = "main",
    k: int | None = None,
    stride: int | None = None,
    alphabet: str | None = None,
    reading_frames: int | None = None,
) -> KmerTokenizer:
    """Builds the tokenizer that the caller and the checkpoint agree on.

    Args:
        model_name_or_path: Checkpoint, a folder or Hub name; None for none.
        model_revision: Branch, tag or commit of a checkpoint on the Hub.
        k, stride, alphabet: K-mer settings; None for the checkpoint's, or otherwise the tokenizer's default.
        reading_frames: Frames of k-mers that the model reads, which it takes from k-mers of stride 1; None for one.

    Raises:
        ValueError: The checkpoint does not exist, or was trained with other k-mers.
    """
    given = {name: value for name, value in zip(KMER_SETTINGS, (k, stride, alphabet), strict=True) if value is not None}
    saved: dict[str, Any] = {}
    if model_name_or_path:
        _checkpoint_file(model_name_or_path, model_revision, "config.json", is_needed=True)
        saved = _saved_kmers(model_name_or_path, model_revision)
    if reading_frames:
        saved["stride"] = 1  # the frames are taken from all k-mers, whatever the pretraining read
    for name in given.keys() & saved.keys():
        if given[name] != saved[name]:
            raise ValueError(
                f"`{name}` {given[name]}: the checkpoint {model_name_or_path} was trained with {name} {saved[name]}; leave "
                "it out, or train from scratch without `model_name_or_path`"
            )
    tokenizer = KmerTokenizer(**saved | given)
    if reading_frames and reading_frames != tokenizer.k:
        message = "`reading_frames` %d: the %d-mers of a frame begin every %d bases; with %d frames they are adjacent"
        logger.info(message, reading_frames, tokenizer.k, reading_frames, tokenizer.k)
    return tokenizer


def _saved_kmers(name: str, revision: str) -> dict[str, Any]:
    """What the files of a checkpoint say about its k-mers.

    Raises:
        ValueError: Two files contradict each other, a file's tokens are other ones, or no file says what an id means.
    """
    saved: dict[str, Any] = {}
    said_by: dict[str, str] = {}
    for file, read in KMER_FILES.items():
        path = _checkpoint_file(name, revision, file, is_needed=False)
        for setting, value in (read(Path(path)) if path else {}).items():
            if saved.setdefault(setting, value) != value:
                first, second = _shown(saved[setting], value), _shown(value, saved[setting])
                raise ValueError(
                    f"`model_name_or_path` {name}: by {said_by[setting]} it was trained with {setting} {first}, by {file} with "
                    f"{setting} {second}: copy the whole folder of the run, with its tokenizer_config.json"
                )
            said_by.setdefault(setting, file)
    if not {"k", "alphabet"} <= saved.keys():
        raise ValueError(
            f"`model_name_or_path` {name}: no file says which k-mer an id means ({', '.join(KMER_FILES)}): save the tokenizer "
            "that it was trained with into its folder"
        )
    return saved


def _shown(value: Any, other: Any) -> str:
    """A value as a message shows it next to another one, which may be its text."""
    return repr(value) if str(value) == str(other) else str(value)


def _settings(path: Path, prefix: str = "") -> dict[str, Any]:
    """The k-mers that are named in a configuration file."""
    settings = read_json(path)
    if not isinstance(settings, dict):
        raise ValueError(f"{path} contains no settings")
    return {name: settings[prefix + name] for name in KMER_SETTINGS if settings.get(prefix + name) is not None}


def _model_settings(path: Path) -> dict[str, Any]:
    return _settings(path, "kmer_")


def _text_vocabulary(path: Path) -> dict[str, Any]:
    return _read_vocabulary(path, path.read_text(encoding="utf-8-sig", errors="replace").split())


def _json_vocabulary(path: Path) -> dict[str, Any]:
    """The vocabulary of tokenizer.json, whatever kind of model it is, or of vocab.json."""
    content = read_json(path)
    try:
        vocabulary = content["model"]["vocab"] if "model" in content else content
        if isinstance(vocabulary, list):  # of a Unigram model: pairs of token and score
            vocabulary = {token: index for index, (token, _) in enumerate(vocabulary)}
        vocabulary = {**vocabulary, **{token["content"]: token["id"] for token in content.get("added_tokens", [])}}
        tokens = sorted(vocabulary, key=vocabulary.get)
        ids = [vocabulary[token] for token in tokens]
    except (AttributeError, LookupError, TypeError):
        raise ValueError(f"{path} contains no vocabulary") from None
    if ids != list(range(len(ids))):
        row = next(row for row, index in enumerate(ids) if index != row)
        raise ValueError(
            f"{path}: the token {tokens[row]!r} has the id {ids[row]!r}, where {row} comes next: ids are 0, 1, 2, ..., each once"
        )
    return _read_vocabulary(path, tokens)


def _read_vocabulary(path: Path, tokens: list[str]) -> dict[str, Any]:
    """k and alphabet of a vocabulary, such as DNABERT's, if it gives every k-mer and special token the same id as ours."""
    kmers = tokens[N_SPECIAL:]
    alphabet = "".join(dict.fromkeys(kmer[-1:] for kmer in kmers))
    k = len(kmers[0]) if kmers else 0
    is_ours = tuple(tokens[:N_SPECIAL]) == SPECIAL_TOKENS and len(kmers) == len(alphabet) ** k  # first, as a bound
    if not is_ours or kmers != ["".join(letters) for letters in product(alphabet, repeat=k)]:
        raise ValueError(
            f"{path}: its tokens are not {' '.join(SPECIAL_TOKENS)} and then all k-mers in the order of an alphabet, so the "
            "checkpoint's ids mean something else here: use another checkpoint"
        )
    return {"k": k, "alphabet": alphabet}


# The files of a checkpoint that say what its ids mean, and how it is read from them.
KMER_FILES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "config.json": _model_settings,
    "tokenizer_config.json": _settings,
    "vocab.txt": _text_vocabulary,
    "vocab.json": _json_vocabulary,
    "tokenizer.json": _json_vocabulary,
}


def tokenizer_for(model: PreTrainedModel, tokenizer: KmerTokenizer) -> KmerTokenizer:
    """Returns the tokenizer to save with a model: it knows what the model reads, so that any program reads the same.

    Args:
        model: With the `flanks` of its sequences in the configuration, if it has any.
        tokenizer: That the training rows were read with, which had their flanks already.
    """
    config = model.config
    taken = signature(model.forward).parameters
    n_frames = getattr(config, "n_frames", 1)
    return KmerTokenizer(
        **{name: getattr(tokenizer, name) for name in KMER_SETTINGS},
        min_bases=tokenizer.k + n_frames - 1 if n_frames > 1 else None,
        flanks=getattr(config, "flanks", None),
        model_max_length=max_tokens(config) or VERY_LARGE_INTEGER,
        model_input_names=[name for name in KmerTokenizer.model_input_names if name in taken],
    )


def _checkpoint_file(folder: str, revision: str, name: str, is_needed: bool) -> str | None:
    if Path(folder).is_file():
        raise ValueError(
            f"`model_name_or_path` {folder} is a file: give the folder that contains config.json and the weights"
        )
    try:
        path = cached_file(folder, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    except (OSError, HfHubHTTPError, ValueError) as error:
        raise ValueError(
            f"`model_name_or_path` {folder}: no such folder, and not on the Hub ({one_line(error)})"
        ) from None
    if path is None and is_needed and not Path(folder).is_dir():
        raise ValueError(f"`model_name_or_path` {folder}: no such folder, and not on the Hub (it has no {name})")
    if path is None and is_needed:
        raise ValueError(f"`model_name_or_path` {folder} contains no {name}: give the output folder of a training run")
    return path


def load_config(
    tokenizer: KmerTokenizer,
    model_name_or_path: str | None = None,
    model_revision: str = "main",
    model_type: str = "bert",
    config_overrides: str | None = None,
    **settings: Any,
) -> PretrainedConfig:
    """Builds the configuration of a new model, or reads a checkpoint's.

    Args:
        tokenizer: Gives the number of ids and the special ones.
        model_name_or_path, model_revision: Of a checkpoint; None for a new model.
        model_type, config_overrides: Architecture of a new model, and its settings as `key=value,...`.
        settings: More settings (number of outputs, ...) of either.

    Raises:
        ValueError: The architecture or a setting does not exist, or the checkpoint has another vocabulary.
    """
    if model_name_or_path:
        checkpoint = f"`model_name_or_path` {model_name_or_path}"
        try:
            saved = PretrainedConfig.get_config_dict(model_name_or_path, revision=model_revision)[0]
            if "auto_map" in saved and saved.get("model_type") not in CONFIG_MAPPING:
                raise ValueError(
                    f"its network, `model_type` {saved.get('model_type')}, is code of its own, which is not run: use another "
                    "checkpoint"
                )
            options = {"revision": model_revision, "trust_remote_code": False}
            config = AutoConfig.from_pretrained(model_name_or_path, **options, **settings)
        except LOADING_ERRORS as error:
            raise ValueError(f"{checkpoint}: its config.json cannot be used: {one_line(error)}") from None
        _check_flanks(model_name_or_path, model_revision, getattr(config, "flanks", None))
        if hasattr(config, "auto_map"):
            del config.auto_map  # names code of the checkpoint's author, which was not run and does not go with ours
        if (n_ids := getattr(config, "vocab_size", None)) != len(tokenizer):
            raise ValueError(
                f"{checkpoint} has {n_ids} token ids, but k = {tokenizer.k} over {tokenizer.alphabet} has "
                f"{len(tokenizer)}: give the `k` and `alphabet` it was trained with"
            )
    else:
        if model_type not in CONFIG_MAPPING:
            raise ValueError(
                f"`model_type` {model_type!r} is not a known architecture: use kmer_conv, bert, modernbert, roberta, ..."
            )
        config_class = CONFIG_MAPPING[model_type]
        if config_overrides:
            settings |= _read_overrides(config_class(), config_overrides)
        config = config_class(**{"vocab_size": len(tokenizer)} | settings)
        if config.vocab_size != len(tokenizer):
            raise ValueError("`config_overrides` vocab_size: leave it out, `k` and `alphabet` determine it")
    if config.is_encoder_decoder:
        raise ValueError(f"{config.model_type} models are encoder-decoders: use one that only encodes, such as bert")
    ids = {"pad_token_id": tokenizer.pad_token_id, "cls_token_id": tokenizer.cls_token_id}
    ids |= {"sep_token_id": tokenizer.sep_token_id, "bos_token_id": None, "eos_token_id": None}
    config.update(ids | {f"kmer_{name}": getattr(tokenizer, name) for name in KMER_SETTINGS})
    return config


def _check_flanks(name: str, revision: str, flanks: Any) -> None:
    """Checks what a checkpoint's files say about the plasmid's bases that the model reads around every sequence.

    Raises:
        ValueError: They are no flanks, or the tokenizer adds other ones than the configuration names.
    """
    checkpoint = f"`model_name_or_path` {name}"
    if flanks is not None:
        try:
            Flanks(**flanks)
        except TypeError as error:
            raise ValueError(f"{checkpoint}: `flanks` in its config.json cannot be used: {one_line(error)}") from None
    path = _checkpoint_file(name, revision, "tokenizer_config.json", is_needed=False)
    added = read_json(Path(path)).get("flanks") if path else flanks
    if added and added != flanks:
        raise ValueError(
            f"{checkpoint}: its tokenizer_config.json and config.json name different flanks: copy the whole folder of the run"
        )
    if flanks and not added:
        logger.info(
            "%s: its tokenizer, of an earlier version, adds no flanks: predictions of this program are right, but a pipeline is "
            "right only for sequences that include them all",
            name,
        )


def has_settings(model_type: str, config_overrides: str) -> bool:
    """Tells whether an architecture has all the settings in `key=value,...`."""
    defaults = CONFIG_MAPPING[model_type]()
    return all(hasattr(defaults, setting.partition("=")[0].strip()) for setting in config_overrides.split(","))


def _read_overrides(defaults: PretrainedConfig, text: str) -> dict[str, Any]:
    """Reads `key=value,...` with the types of the defaults.

    They are given to the constructor, since some settings follow from others (ModernBERT's kinds of layers from their
    number).
    """
    text = text.replace(" ", "")
    try:
        defaults.update_from_string(text)
    except LOADING_ERRORS as error:
        raise ValueError(f"`config_overrides` {text!r}: {one_line(error)}") from None
    return {key: getattr(defaults, key) for key in (part.split("=")[0] for part in text.split(","))}


def max_tokens(config: PretrainedConfig) -> int | None:
    """Tokens that the model, or every member of an ensemble, can read, special ones included; None if there is no limit.

    Longer sequences than those that training cut its own to (`kmer_max_tokens` in the configuration) are not what the model
    has learnt to read, and count as too long.
    """
    if members := getattr(config, "member_configs", None):
        return min(filter(None, map(max_tokens, members)), default=None)
    limits = (_max_positions(config), getattr(config, "kmer_max_tokens", None))
    return min(filter(None, limits), default=None)


def _max_positions(config: PretrainedConfig) -> int | None:
    """Tokens that the network has positions for."""
    positions = getattr(config, "max_position_embeddings", None)
    if (n_frames := getattr(config, "n_frames", 1)) > 1 and positions:
        return (positions - 2) * n_frames + 2  # each frame has positions, [CLS] and [SEP] of its own
    # RoBERTa and its relatives count positions from pad_token_id + 1.
    offset = (config.pad_token_id or 0) + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
    return positions - offset if positions and positions > 0 else None


def load_model(
    auto_class: type[_BaseAutoModelClass],
    config: PretrainedConfig,
    model_name_or_path: str | None = None,
    model_revision: str = "main",
) -> PreTrainedModel:
    """Builds a model from scratch, or loads a checkpoint's weights into it, in float32.

    Args:
        auto_class: `AutoModelForMaskedLM` or another of the family.
        config: Result of `load_config`.
        model_name_or_path, model_revision: Of a checkpoint; None for a new model.

    Raises:
        ValueError: The weights cannot be read, or are not those of this architecture.
    """
    if not model_name_or_path:
        try:
            model = auto_class.from_config(config, trust_remote_code=False)
        except LOADING_ERRORS as error:
            raise ValueError(
                f"`model_type` {config.model_type} with these `config_overrides` cannot be built: {one_line(error)}"
            ) from None
        logger.info("%s from scratch, %.1f million parameters", type(model).__name__, model.num_parameters() / 1e6)
        return model
    model, missing = load_weights(auto_class, config, model_name_or_path, model_revision)
    if "merge_norm.weight" in missing and "merge.weight" not in missing:
        raise ValueError(
            f"`model_name_or_path` {model_name_or_path}: its masked language model is of version 0.2 or older, where two layers "
            "had one name, which transformers exchanges: pretrain it again (fine-tuning it is right)"
        )
    prefix = f"{model.base_model_prefix}."
    lost = [name for name in missing if name.startswith(prefix) and "pooler" not in name]
    if lost:
        raise ValueError(
            f"`model_name_or_path` {model_name_or_path}: {len(lost)} weights of the network are missing, the first is "
            f"{lost[0]}: this is not a checkpoint of a {config.model_type} model"
        )
    logger.info(
        "%s from %s, %.1f million parameters; new: %s",
        *(type(model).__name__, model_name_or_path, model.num_parameters() / 1e6, ", ".join(missing) or "none"),
    )
    return model


def load_weights(
    auto_class: type[_BaseAutoModelClass], config: PretrainedConfig, name: str, revision: str
) -> tuple[PreTrainedModel, list[str]]:
    """Loads a checkpoint in float32; returns the model and the names of weights that the checkpoint does not have.

    Raises:
        ValueError: The weights cannot be read.
    """
    try:
        model, report = auto_class.from_pretrained(
            name,
            revision=revision,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except LOADING_ERRORS as error:
        has_other_sizes = "ignore_mismatched_sizes" in str(error)
        reason = f"they have other sizes than {config.num_labels} outputs and the settings in its config.json need"
        raise ValueError(
            f"`model_name_or_path` {name}: the weights cannot be loaded: {reason if has_other_sizes else one_line(error)}"
        ) from None
    return model, sorted(report["missing_keys"])
