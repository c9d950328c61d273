"""Convolutions over k-mers that read both strands of DNA and predict measured values.

Needs torch and transformers only, and travels to the Hub with the weights, so that
`AutoModelForSequenceClassification.from_pretrained(name, trust_remote_code=True)` and `pipeline("text-classification")`
load it; `AutoModel` gives embeddings. It computes the other strand from the tokens, with the k and the alphabet of its
settings.

Padding may be on either side. In a batch with padding every row answers as it would alone.
"""

from inspect import getfile, signature
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.modeling_outputs import BaseModelOutputWithPooling, MaskedLMOutput, SequenceClassifierOutput
from transformers.utils import can_return_tuple, logging

logger = logging.get_logger(__name__)
IS_OF_REPOSITORY = __name__.startswith("transformers_modules.")
N_SPECIAL = 5  # ids below are not k-mers; as in tokenization_kmer.py, which may not be imported here
CLS, SEP = 2, 3
OUTSIDE = 1e4  # subtracted from padding, so that it is no maximum; below what float16 can hold
INHERITED_SETTINGS = (
    *vars(PretrainedConfig()), "num_labels", "output_attentions", "torch_dtype", "name_or_path",
    "_name_or_path", "auto_map", "attn_implementation", "bos_token_id", "cls_token_id", "eos_token_id", "mask_token_id",
    "sep_token_id",
)  # fmt: skip
COMPLEMENTS = dict(zip("ACGTURYSWKMBDHVN", "TGCAAYRSWMKVHDBN", strict=True))


class KmerConvConfig(PretrainedConfig):
    """Settings of a network of convolutions over k-mers.

    Args:
        vocab_size, pad_token_id, kmer_k, kmer_stride, kmer_alphabet: Of the tokenizer.
        embedding_size: Width of a k-mer's embedding, and channels of the stem.
        hidden_size: Channels after the last stage; those of the stages before grow evenly up to it.
        num_stages: Number of stages; each halves the number of positions.
        num_blocks: Residual convolutions in each stage.
        kernel_size, stem_kernel_size: Positions that a convolution sees, odd numbers.
        head_size: Channels whose means over the positions go to the head, and units in it.
        hidden_dropout_prob: Dropout of the head.
        both_strands: Whether the network is trained on a random strand of each sequence and answers with the mean over
            both.
        sub_kmers: Whether a k-mer's embedding is its own vector plus those of its central sub-k-mers.
        linear_term: Whether the outputs also get a sum of one number for each k-mer, such as a regression on their counts.
        **inherited: As for any `PretrainedConfig` (`num_labels`, `id2label`, ...).

    Raises:
        ValueError: A setting does not exist.
    """

    model_type = "kmer_conv"

    def __init__(
        self,
        vocab_size: int = 4101,
        pad_token_id: int = 0,
        kmer_k: int = 6,
        kmer_stride: int = 1,
        kmer_alphabet: str = "ATCG",
        embedding_size: int = 64,
        hidden_size: int = 128,
        num_stages: int = 4,
        num_blocks: int = 1,
        kernel_size: int = 9,
        stem_kernel_size: int = 11,
        head_size: int = 256,
        hidden_dropout_prob: float = 0.1,
        both_strands: bool = True,
        sub_kmers: bool = True,
        linear_term: bool = False,
        **inherited: Any,
    ) -> None:
        if unknown := [name for name in inherited if not self._is_setting(name)]:
            raise ValueError(
                f"{unknown[0]} is not a setting of {self.model_type}; its own are {', '.join(OWN_SETTINGS)}"
            )
        super().__init__(
            vocab_size=vocab_size,
            pad_token_id=pad_token_id,
            kmer_k=kmer_k,
            kmer_stride=kmer_stride,
            kmer_alphabet=kmer_alphabet,
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            num_stages=num_stages,
            num_blocks=num_blocks,
            kernel_size=kernel_size,
            stem_kernel_size=stem_kernel_size,
            head_size=head_size,
            hidden_dropout_prob=hidden_dropout_prob,
            both_strands=both_strands,
            sub_kmers=sub_kmers,
            linear_term=linear_term,
            **inherited,
        )

    @classmethod
    def _is_setting(cls, name: str) -> bool:
        return name in OWN_SETTINGS or name in INHERITED_SETTINGS or hasattr(PretrainedConfig, name)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Reads a saved configuration; its entries that are no settings (data, units, ...) become attributes."""
        settings = {name: value for name, value in config_dict.items() if cls._is_setting(name)}
        result = super().from_dict(settings, **kwargs)
        config = result[0] if isinstance(result, tuple) else result
        for name, value in config_dict.items():
            if not cls._is_setting(name):
                setattr(config, name, value)
        return result

    @property
    def widths(self) -> list[int]:
        """Channels of the stem and of each stage."""
        first, stages = self.embedding_size, self.num_stages
        return [first + (self.hidden_size - first) * stage // stages for stage in range(stages + 1)]


OWN_SETTINGS = tuple(signature(KmerConvConfig.__init__).parameters)[1:-1]


def reverse_complement_ids(
    input_ids: torch.Tensor, attention_mask: torch.Tensor | None, k: int, alphabet: str
) -> torch.Tensor:
    """Turns rows of tokens into those of the other strand, without going back to letters.

    Args:
        input_ids: int64 (rows, tokens) of a tokenizer of stride 1, each row [CLS], k-mers, [SEP], padding.
        attention_mask: (rows, tokens), 0 at padding; None without padding.
        k, alphabet: Of the tokenizer.

    Returns:
        Ids of the same shape, with the special tokens where they were.

    Raises:
        ValueError: A letter's complement is not in the alphabet.
    """
    if missing := sorted({COMPLEMENTS.get(letter, "its complement") for letter in alphabet} - set(alphabet)):
        raise ValueError(f"alphabet {alphabet} lacks {missing[0]}: both strands need, for example, ATCG")
    n_letters, width = len(alphabet), input_ids.shape[1]
    partner = torch.tensor([alphabet.index(COMPLEMENTS[letter]) for letter in alphabet], device=input_ids.device)
    code = (input_ids - N_SPECIAL).clamp(min=0)
    turned = torch.zeros_like(code)
    for _ in range(k):  # a k-mer's number in base n_letters, last letter first
        turned = turned * n_letters + partner[code % n_letters]
        code = code.div(n_letters, rounding_mode="floor")
    turned = torch.where(input_ids < N_SPECIAL, input_ids, turned + N_SPECIAL)
    last = width - 1 if attention_mask is None else attention_mask.sum(dim=1, keepdim=True) - 1  # position of [SEP]
    position = torch.arange(width, device=input_ids.device).expand_as(input_ids)
    return turned.gather(1, torch.where((position > 0) & (position < last), last - position, position))


def other_strand(k: int, alphabet: str) -> torch.Tensor:
    """The id of the reverse complement of every k-mer, int64 (ids,); of a special token, its own.

    Raises:
        ValueError: A letter's complement is not in the alphabet.
    """
    ids = torch.arange(N_SPECIAL + len(alphabet) ** k)
    rows = torch.stack([torch.full_like(ids, CLS), ids, torch.full_like(ids, SEP)], dim=1)
    return reverse_complement_ids(rows, None, k, alphabet)[:, 1]


def is_traced() -> bool:
    """Tells whether a graph for inputs of any length is being recorded, so that nothing may depend on this one's."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def padding_shift(attention_mask: torch.Tensor | None) -> torch.Tensor | None:
    """Tokens of padding on the left of each row, int64 (rows, 1); None without a mask."""
    return None if attention_mask is None else (attention_mask.cumsum(dim=1) == 0).sum(dim=1, keepdim=True)


def rolled(values: torch.Tensor, shift: torch.Tensor | None) -> torch.Tensor:
    """Moves the tokens of (rows, tokens, ...) `shift` places to the left, those that leave come back on the right."""
    if shift is None:
        return values
    width = torch.full(
        (1,), values.shape[1], dtype=torch.int64, device=values.device
    )  # a tensor, because ONNX needs one
    source = (torch.arange(values.shape[1], device=values.device) + shift) % width
    source = source.reshape(*source.shape, *[1] * (values.dim() - 2))
    return values.gather(1, source.expand_as(values))


class Norm(nn.BatchNorm1d):
    """A batch norm that keeps its statistics as they are while its weights are frozen.

    An adapter (LoRA) is saved without the statistics: they must not move while it is trained. A batch of one value, which has
    no variance, such as the last row of an epoch, is normalised by the statistics of the others.
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        is_alone = values.numel() == values.shape[1]
        if self.training and (is_alone or not self.weight.requires_grad):
            statistics = self.running_mean, self.running_var
            return nn.functional.batch_norm(values, *statistics, self.weight, self.bias, eps=self.eps)
        return super().forward(values)


def check_kmers(tokens: torch.Tensor, attention_mask: torch.Tensor | None, needed: int) -> None:
    """Checks that rows (rows, tokens), padding on the right, have the k-mers that a network needs.

    Raises:
        ValueError: A row has fewer. On a GPU only the longest is looked at, because the others would have to be waited for.
    """
    fewest = tokens.shape[1] - 2
    if attention_mask is not None and not is_traced() and attention_mask.device.type == "cpu" and len(attention_mask):
        fewest = int(attention_mask.sum(dim=1).min()) - 2
    if not is_traced() and fewest < needed:
        raise ValueError(f"a sequence of {max(0, fewest)} k-mers: the fewest that the network reads are {needed}")


def check_ends(input_ids: torch.Tensor) -> None:
    """Warns once of rows (rows, tokens), padding on the right, that are not one sequence between [CLS] and [SEP].

    The tokens at both ends are not read: without special tokens, a k-mer is lost at each. On a GPU nothing is looked at.
    """
    if is_traced() or input_ids.device.type != "cpu" or input_ids.is_floating_point() or not input_ids.numel():
        return
    if (input_ids[:, 0] != CLS).any() or ((input_ids == CLS) | (input_ids == SEP)).sum(dim=1).max() > 2:
        logger.warning_once(
            "rows are not [CLS], the k-mers of one sequence, [SEP], as `tokenizer(sequence)` returns them: such outputs are wrong"
        )


def _convolution(n_in: int, n_out: int, kernel_size: int) -> nn.Conv1d:
    return nn.Conv1d(n_in, n_out, kernel_size, padding=kernel_size // 2, bias=False)


def _inside(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Sets (rows, channels, positions) to zero where the mask (rows, 1, positions) is, so that padding has no effect."""
    return values if mask is None else values * mask.to(values.dtype)


def _pairs(values: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The maximum of each pair of positions inside, and its mask. An odd last position stays as it is."""
    if mask is None:
        return _maxima(values), None
    return _inside(_maxima(values + (mask.to(values.dtype) - 1) * OUTSIDE), mask := _maxima(mask)), mask


def _maxima(values: torch.Tensor) -> torch.Tensor:
    """The maximum of positions 2n and 2n + 1 of (rows, channels, positions)."""
    if not is_traced():
        return nn.functional.max_pool1d(values, 2, ceil_mode=True)  # faster; its graph holds for one length only
    last = values.shape[2] - 1
    left = torch.arange((last + 2) // 2, device=values.device) * 2
    return torch.maximum(values.index_select(2, left), values.index_select(2, (left + 1).clamp(max=last)))


def _repeated(values: torch.Tensor, times: int, n_positions: int) -> torch.Tensor:
    """Each position of (rows, channels, positions) `times` times, the first `n_positions` of them."""
    return values.index_select(2, torch.arange(n_positions, device=values.device) // times)


class KmerEmbedding(nn.Module):
    """The embedding of a k-mer: its own vector plus those of its central sub-k-mers (1-mer, 2-mer, ...).

    So rare k-mers share strength with their sub-k-mers. Special tokens, and with them [UNK], are zeros.
    """

    def __init__(self, config: KmerConvConfig) -> None:
        super().__init__()
        self.n_letters, self.k = len(config.kmer_alphabet), config.kmer_k
        sizes = [self.n_letters**length for length in range(1 if config.sub_kmers else self.k, self.k + 1)]
        if config.vocab_size != N_SPECIAL + sizes[-1]:
            raise ValueError(
                f"vocab_size {config.vocab_size}: k = {self.k} over {config.kmer_alphabet} has {N_SPECIAL + sizes[-1]} ids"
            )
        self.parts = nn.ModuleList(nn.Embedding(size, config.embedding_size) for size in sizes)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Returns float (rows, tokens, embedding_size) for int64 ids (rows, tokens)."""
        return nn.functional.embedding(input_ids, self.weight)

    @property
    def weight(self) -> torch.Tensor:
        """Vectors of all ids, float (ids, embedding_size)."""
        whole = self.parts[-1]
        codes = torch.arange(self.n_letters**self.k, device=whole.weight.device)
        table = whole.weight if type(whole) is nn.Embedding else whole(codes)  # of an adapter, with its updates
        for length, part in enumerate(self.parts[:-1], 1):
            after = self.k - length - (self.k - length) // 2  # letters of the k-mer to the right of the sub-k-mer
            centre = codes.div(self.n_letters**after, rounding_mode="floor") % self.n_letters**length
            table = table + part(centre)
        return nn.functional.pad(table, (0, 0, N_SPECIAL, 0))


class KmerSum(nn.Module):
    """A number for each k-mer and output, summed over the k-mers of a sequence; it is not trained."""

    def __init__(self, n_ids: int, n_outputs: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(n_ids, n_outputs))

    def reset_parameters(self) -> None:
        """Starts with zeros."""
        nn.init.zeros_(self.weight)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Returns float32 (rows, outputs) for int64 ids (rows, tokens); special tokens, padding and [UNK] count as nothing."""
        return nn.functional.embedding(input_ids, self.weight).sum(dim=1, dtype=torch.float32)


class KmerConvStage(nn.Module):
    """Residual convolutions, a convolution to another number of channels, and the maximum of each pair of positions."""

    def __init__(self, n_in: int, n_out: int, config: KmerConvConfig) -> None:
        super().__init__()
        kernel, blocks = config.kernel_size, range(config.num_blocks)
        self.norm = nn.ModuleList(Norm(n_in) for _ in blocks)
        self.blocks = nn.ModuleList(_convolution(n_in, n_in, kernel) for _ in blocks)
        self.widen, self.widen_norm = _convolution(n_in, n_out, kernel), Norm(n_out)

    def forward(self, values: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        for norm, block in zip(self.norm, self.blocks, strict=True):
            values = values + block(_inside(nn.functional.silu(norm(values)), mask))
        return _pairs(nn.functional.silu(self.widen_norm(self.widen(_inside(values, mask)))), mask)


class CodeOfRepository:
    """Loads a model with the code of its repository where that is trusted, although this file is imported from elsewhere.

    transformers prefers the classes that are registered, which are those of this file.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *arguments: Any, **options: Any) -> PreTrainedModel:
        """Loads a model; arguments as for any `PreTrainedModel`."""
        config = options.get("config")
        reference = (getattr(config, "auto_map", None) or {}).get(
            next((n for n, kind in AUTO_CLASSES if kind is cls), "")
        )
        if options.get("trust_remote_code") and reference and not IS_OF_REPOSITORY:
            names = ("cache_dir", "force_download", "local_files_only", "revision", "token")
            given = {name: options[name] for name in names if name in options}
            theirs = get_class_from_dynamic_module(reference, pretrained_model_name_or_path, **given)
            if Path(getfile(theirs)).read_bytes() != Path(__file__).read_bytes():
                options["config"] = theirs.config_class.from_dict(config.to_dict())
                return theirs.from_pretrained(pretrained_model_name_or_path, *arguments, **options)
        return super().from_pretrained(pretrained_model_name_or_path, *arguments, **options)


class KmerConvPreTrainedModel(CodeOfRepository, PreTrainedModel):
    """What the models share: the names of their weights, and how new ones are initialised."""

    config_class = KmerConvConfig
    base_model_prefix = "network"
    main_input_name = "input_ids"

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(
                module.weight, std=self.config.kmer_k**-0.5 if self.config.sub_kmers else 1
            )  # k vectors are added
        elif hasattr(module, "reset_parameters"):
            module.reset_parameters()  # torch's own

    def get_input_embeddings(self) -> nn.Module:
        """Returns the module that turns ids into vectors."""
        return self.base_model.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Puts another module in its place."""
        self.base_model.embedding = value

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *_: Any, **__: Any) -> nn.Module:
        """Returns the embeddings; the number of k-mers, and with it their size, is fixed.

        Raises:
            ValueError: Another size is asked for.
        """
        if new_num_tokens not in (None, self.config.vocab_size):
            raise ValueError(
                f"{new_num_tokens} token ids: {self.config.model_type} has those of its k-mers, {self.config.vocab_size}; "
                "add no tokens to the tokenizer"
            )
        return self.get_input_embeddings()

    def save_pretrained(self, save_directory: Any, *arguments: Any, **options: Any) -> None:
        """Saves the model so that every Auto class finds its class in this file."""
        self.config.auto_map = {name: f"{__name__.rpartition('.')[2]}.{kind.__name__}" for name, kind in AUTO_CLASSES}
        super().save_pretrained(save_directory, *arguments, **options)

    def _wants_hidden_states(self, output_hidden_states: bool | None, output_attentions: bool | None) -> bool:
        if self.config.output_attentions if output_attentions is None else output_attentions:
            raise ValueError(f"`output_attentions`: {self.config.model_type} consists of convolutions and has none")
        return bool(self.config.output_hidden_states if output_hidden_states is None else output_hidden_states)

    def _stages(
        self, tokens: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """What `KmerConvModel.read` returns; through its `forward`, which a sharded model needs."""
        name = "inputs_embeds" if tokens.is_floating_point() else "input_ids"
        return self.network(**{name: tokens}, attention_mask=attention_mask, as_stages=True)

    def _check_regression(self) -> None:
        if self.config.problem_type not in (None, "regression"):
            raise ValueError(
                f"`problem_type` {self.config.problem_type}: {self.config.model_type} has a loss for regression"
            )


class KmerConvModel(KmerConvPreTrainedModel):
    """Convolutions over k-mers, in stages that halve the positions.

    In the manner of LegNet (doi:10.1093/bioinformatics/btad457), with plain convolutions in place of its bottlenecks.
    """

    def __init__(self, config: KmerConvConfig) -> None:
        super().__init__(config)
        if config.kmer_stride != 1:
            raise ValueError(f"stride {config.kmer_stride}: {config.model_type} reads k-mers of stride 1")
        if config.kernel_size % 2 == 0 or config.stem_kernel_size % 2 == 0:
            raise ValueError(f"kernel sizes {config.kernel_size}, {config.stem_kernel_size}: allowed are odd numbers")
        widths = config.widths
        self.embedding = KmerEmbedding(config)
        self.stem = _convolution(widths[0], widths[0], config.stem_kernel_size)
        self.norm = Norm(widths[0])
        self.stages = nn.ModuleList(KmerConvStage(*pair, config) for pair in pairwise(widths))
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        as_stages: bool = False,
    ) -> BaseModelOutputWithPooling | tuple[list[torch.Tensor], torch.Tensor | None]:
        """Embeds the strand as given.

        Args:
            input_ids, attention_mask: (rows, tokens) of a tokenizer of stride 1. Types of tokens are ignored.
            inputs_embeds: Float (rows, tokens, embedding_size), in place of `input_ids`.
            output_hidden_states: Return the outputs of the stem and of every stage, too.
            output_attentions: Not true; there are none.
            as_stages: Return the result of `read`, for heads; padding is then on the right.

        Returns:
            `last_hidden_state`, float (rows, tokens, channels): the last stage at each k-mer; stages halve the positions, so
            that neighbours share vectors. At [CLS] and [SEP] it is the mean over the k-mers, which is also the
            `pooler_output` (rows, channels); at padding, zero. `hidden_states` likewise, in the order of the stages.
        """
        values = inputs_embeds if input_ids is None else input_ids
        if as_stages:
            return self.read(values, attention_mask)
        wants_states = self._wants_hidden_states(output_hidden_states, output_attentions)
        shift = padding_shift(attention_mask)
        values, mask = rolled(values, shift), None if attention_mask is None else rolled(attention_mask, shift)
        check_ends(values)
        stages, _ = self.read(values, mask)
        chosen = range(len(stages)) if wants_states else [len(stages) - 1]
        states = tuple(self.by_token(stages[stage], stage, values.shape[1], mask) for stage in chosen)
        return BaseModelOutputWithPooling(
            last_hidden_state=rolled(states[-1], None if shift is None else -shift),
            pooler_output=states[-1][:, 0],
            hidden_states=tuple(rolled(s, None if shift is None else -shift) for s in states) if wants_states else None,
        )

    def read(
        self, tokens: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Reads one strand.

        Args:
            tokens: int64 ids (rows, tokens) or float vectors (rows, tokens, embedding_size), padding on the right.
            attention_mask: (rows, tokens); None without padding.

        Returns:
            Float tensors (rows, channels, positions) of the stem, a position for each k-mer, and of each stage; and the
            mask of the last one, float (rows, 1, positions), None without padding.

        Raises:
            ValueError: A row has no k-mer.
        """
        check_kmers(tokens, attention_mask, 1)
        # The token before [SEP] is a k-mer: a position is a k-mer if there is a token after it.
        mask = None if attention_mask is None else attention_mask[:, None, 2:].to(self.norm.weight.dtype)
        vectors = tokens[:, 1:-1] if tokens.is_floating_point() else self.embedding(tokens[:, 1:-1])
        values = _inside(vectors.transpose(1, 2), mask)
        outputs = [_inside(nn.functional.silu(self.norm(self.stem(values))), mask)]
        for stage in self.stages:
            values, mask = stage(outputs[-1], mask)
            outputs.append(values)
        return outputs, mask

    @staticmethod
    def by_token(values: torch.Tensor, stage: int, width: int, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Outputs of a stage (rows, channels, positions) at each of `width` tokens: (rows, tokens, channels)."""
        kmers = _repeated(values, 2**stage, width - 2).transpose(1, 2)
        if attention_mask is None:
            mean = kmers.mean(dim=1, keepdim=True)
            return torch.cat([mean, kmers, mean], dim=1)
        is_token = attention_mask[..., None].to(values.dtype)
        is_kmer = is_token[:, 2:]
        mean = (kmers * is_kmer).sum(dim=1, keepdim=True) / is_kmer.sum(dim=1, keepdim=True).clamp(min=1)
        return is_token * torch.cat([mean, torch.where(is_kmer > 0, kmers, mean), mean], dim=1)


class KmerConvForSequenceClassification(KmerConvPreTrainedModel):
    """Convolutions over k-mers of one strand or both, then a mean over the positions and a head.

    With a linear term, the sums over the k-mers are further inputs of the last layer, one for each output.
    """

    def __init__(self, config: KmerConvConfig) -> None:
        super().__init__(config)
        size = config.head_size
        self.network = KmerConvModel(config)
        self.mapper, self.mapper_norm = _convolution(config.hidden_size, size, 1), Norm(size)
        self.dense, self.dense_norm = nn.Linear(size, size), Norm(size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.linear_term = KmerSum(config.vocab_size, config.num_labels) if config.linear_term else None
        self.classifier = nn.Linear(size + config.num_labels * config.linear_term, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def add_linear_term(self, values: torch.Tensor, factor: torch.Tensor, shift: torch.Tensor) -> None:
        """Changes every output to output * factor + the sum of `values` over the k-mers + shift, in place.

        Args:
            values: Float (ids, outputs), zeros for special tokens. With `both_strands`, a k-mer and its reverse complement get
                the mean of their values, so that a sequence has one sum on either strand.
            factor, shift: Float (outputs,).
        """
        config, before = self.config, self.classifier
        weight, bias = before.weight.double(), before.bias.double()
        values, factor, shift = (part.to(weight) for part in (values, factor, shift))
        if config.both_strands:
            other = other_strand(config.kmer_k, config.kmer_alphabet).to(weight.device)
            values = (values + values[other]) / 2
        if self.linear_term is not None:  # the one it had becomes part of the new one
            values = values + self.linear_term.weight.double() @ (weight[:, config.head_size :].T * factor)
        config.linear_term = True
        self.linear_term = KmerSum(config.vocab_size, config.num_labels).to(before.weight)
        self.linear_term.weight.copy_(values)
        self.classifier = nn.Linear(config.head_size + config.num_labels, config.num_labels).to(before.weight)
        own = factor[:, None] * weight[:, : config.head_size]
        self.classifier.weight.copy_(torch.cat([own, torch.eye(config.num_labels).to(own)], dim=1))
        self.classifier.bias.copy_(factor * bias + shift)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Predicts `logits` (rows, outputs) for int64 (rows, tokens), in training from one strand of each, drawn at random.

        With `labels`, float (rows, outputs), it also returns a mean squared error as `loss`; the training script has its
        own. `hidden_states` are those of `KmerConvModel`, of the strand as given, or as drawn. `inputs_embeds` are of one
        strand and tell no ids: only a network that reads one strand and has no linear term takes them.
        """
        config, n_strands = self.config, 1
        wants_states = self._wants_hidden_states(output_hidden_states, output_attentions)
        shift = padding_shift(attention_mask)
        tokens = rolled(input_ids if inputs_embeds is None else inputs_embeds, shift)
        attention_mask = None if attention_mask is None else rolled(attention_mask, shift)
        check_kmers(tokens, attention_mask, 1)
        check_ends(tokens)
        if inputs_embeds is not None and (config.both_strands or config.linear_term):
            raise ValueError("`inputs_embeds`: the network needs ids, for the other strand or for its linear term")
        if config.both_strands:
            other = reverse_complement_ids(tokens, attention_mask, config.kmer_k, config.kmer_alphabet)
            if self.training:
                is_turned = torch.rand(tokens.shape[0], 1, device=tokens.device) < 0.5
                tokens = torch.where(is_turned, other, tokens)
            else:
                n_strands, tokens = 2, torch.cat([tokens, other])
                attention_mask = None if attention_mask is None else attention_mask.repeat(2, 1)
        stages, mask = self._stages(tokens, attention_mask)
        values = nn.functional.silu(self.mapper_norm(self.mapper(stages[-1])))
        n_positions = values.shape[2] if mask is None else mask.sum(dim=2).clamp(min=1)
        pooled = _inside(values, mask).sum(dim=2) / n_positions
        features = self.dropout(nn.functional.silu(self.dense_norm(self.dense(pooled))))
        if self.linear_term is not None:
            features = torch.cat([features, self.linear_term(tokens).to(features.dtype)], dim=1)
        every = self.classifier(features)
        logits, loss, states = every.unflatten(0, (n_strands, -1)).mean(dim=0), None, None
        if labels is not None:
            self._check_regression()
            loss = nn.functional.mse_loss(logits, labels.to(logits.dtype).view_as(logits))
        if wants_states:
            n_rows = tokens.shape[0] // n_strands
            mask = None if attention_mask is None else attention_mask[:n_rows]
            states = tuple(
                rolled(
                    self.network.by_token(values[:n_rows], stage, tokens.shape[1], mask),
                    None if shift is None else -shift,
                )
                for stage, values in enumerate(stages)
            )
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=states)


class KmerConvForMaskedLM(KmerConvPreTrainedModel):
    """Convolutions over k-mers of the strand as given, whose stages are brought back to a position for each k-mer."""

    def __init__(self, config: KmerConvConfig) -> None:
        super().__init__(config)
        self.network = KmerConvModel(config)
        self.laterals = nn.ModuleList(_convolution(after, before, 1) for before, after in pairwise(config.widths))
        first = config.embedding_size
        self.merge, self.merge_norm = _convolution(first, first, config.kernel_size), nn.LayerNorm(first)
        self.decoder = nn.Linear(first, config.vocab_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        masked: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> MaskedLMOutput:
        """Scores the tokens at each position.

        Args:
            input_ids, attention_mask: (rows, tokens) of a tokenizer of stride 1. Types of tokens are ignored.
            labels: int64 (rows, tokens), -100 where nothing is to be predicted; not together with `masked`.
            masked: int64 (masked tokens,), positions in the flattened (rows, tokens); only these are then scored.
            inputs_embeds, output_hidden_states, output_attentions: As for `KmerConvModel`.

        Returns:
            `logits` (rows, tokens, ids), or (masked tokens, ids) and `masked`; and `loss` if there are labels.
        """
        wants_states = self._wants_hidden_states(output_hidden_states, output_attentions)
        shift = padding_shift(attention_mask)
        back = None if shift is None else -shift
        tokens = rolled(input_ids if inputs_embeds is None else inputs_embeds, shift)
        attention_mask = None if attention_mask is None else rolled(attention_mask, shift)
        stages, _ = self._stages(tokens, attention_mask)
        values = stages[-1]
        for lateral, finer in zip(reversed(self.laterals), reversed(stages[:-1]), strict=True):
            values = finer + _repeated(lateral(values), 2, finer.shape[2])
        states = self.merge_norm(nn.functional.silu(self.merge(values)).transpose(1, 2))
        states = rolled(nn.functional.pad(states, (0, 0, 1, 1)), back)  # [CLS] and the last token
        if masked is not None:
            outputs = MaskedLMOutput(logits=self.decoder(states.flatten(0, 1)[masked]))
            outputs["masked"] = masked
            return outputs
        logits, hidden = self.decoder(states), None
        loss = None if labels is None else nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        if wants_states:
            hidden = tuple(
                rolled(self.network.by_token(values, stage, tokens.shape[1], attention_mask), back)
                for stage, values in enumerate(stages)
            )
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=hidden)


AUTO_CLASSES = (
    ("AutoConfig", KmerConvConfig),
    ("AutoModel", KmerConvModel),
    ("AutoModelForMaskedLM", KmerConvForMaskedLM),
    ("AutoModelForSequenceClassification", KmerConvForSequenceClassification),
)
for name, kind in AUTO_CLASSES:
    kind.register_for_auto_class(name)
# Code that came from a repository is found by its auto_map: registered, it would also run for every other repository.
if not IS_OF_REPOSITORY:
    AutoConfig.register("kmer_conv", KmerConvConfig, exist_ok=True)
    AutoModel.register(KmerConvConfig, KmerConvModel, exist_ok=True)
    AutoModelForMaskedLM.register(KmerConvConfig, KmerConvForMaskedLM, exist_ok=True)
    AutoModelForSequenceClassification.register(KmerConvConfig, KmerConvForSequenceClassification, exist_ok=True)
