"""Convolutions over k-mers that read both strands of DNA and predict measured values.

Needs torch and transformers only, and travels to the Hub with the weights, so that
`AutoModelForSequenceClassification.from_pretrained(name, trust_remote_code=True)` and `pipeline("text-classification")`
load it. It computes the other strand from the tokens, with the k and the alphabet of its settings.
"""

from dataclasses import fields
from inspect import signature
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import MaskedLMOutput, SequenceClassifierOutput

N_SPECIAL = 5  # ids below are not k-mers; as in tokenization_kmer.py, which may not be imported here
OUTSIDE = 1e4  # subtracted from padding, so that it is no maximum; below what float16 can hold
INHERITED_SETTINGS = (
    *(field.name for field in fields(PretrainedConfig)), "num_labels", "output_attentions", "torch_dtype", "name_or_path",
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


def _convolution(n_in: int, n_out: int, kernel_size: int) -> nn.Conv1d:
    return nn.Conv1d(n_in, n_out, kernel_size, padding=kernel_size // 2, bias=False)


def _inside(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Sets (rows, channels, positions) to zero where the mask (rows, 1, positions) is, so that padding has no effect."""
    return values if mask is None else values * mask.to(values.dtype)


def _pairs(values: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The maximum of each pair of positions inside, and its mask. An odd last position stays as it is."""
    if mask is None:
        return nn.functional.max_pool1d(values, 2, ceil_mode=True), None
    values = nn.functional.max_pool1d(values + (mask.to(values.dtype) - 1) * OUTSIDE, 2, ceil_mode=True)
    mask = nn.functional.max_pool1d(mask, 2, ceil_mode=True)
    return _inside(values, mask), mask


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
        codes = torch.arange(self.n_letters**self.k, device=input_ids.device)
        table = self.parts[-1].weight
        for length, part in enumerate(self.parts[:-1], 1):
            after = self.k - length - (self.k - length) // 2  # letters of the k-mer to the right of the sub-k-mer
            centre = codes.div(self.n_letters**after, rounding_mode="floor") % self.n_letters**length
            table = table + part(centre)
        return nn.functional.embedding(input_ids, nn.functional.pad(table, (0, 0, N_SPECIAL, 0)))


class KmerConvStage(nn.Module):
    """Residual convolutions, a convolution to another number of channels, and the maximum of each pair of positions."""

    def __init__(self, n_in: int, n_out: int, config: KmerConvConfig) -> None:
        super().__init__()
        kernel, blocks = config.kernel_size, range(config.num_blocks)
        self.norm = nn.ModuleList(nn.BatchNorm1d(n_in) for _ in blocks)
        self.blocks = nn.ModuleList(_convolution(n_in, n_in, kernel) for _ in blocks)
        self.widen, self.widen_norm = _convolution(n_in, n_out, kernel), nn.BatchNorm1d(n_out)

    def forward(self, values: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        for norm, block in zip(self.norm, self.blocks, strict=True):
            values = values + block(_inside(nn.functional.silu(norm(values)), mask))
        return _pairs(nn.functional.silu(self.widen_norm(self.widen(_inside(values, mask)))), mask)


class KmerConvPreTrainedModel(PreTrainedModel):
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
        self.norm = nn.BatchNorm1d(widths[0])
        self.stages = nn.ModuleList(KmerConvStage(*pair, config) for pair in pairwise(widths))
        self.post_init()

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **options: Any
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Reads one strand.

        Returns:
            Float tensors (rows, channels, positions) of the stem, a position for each k-mer, and of each stage; and the
            mask of the last one, float (rows, 1, positions), None without padding.
        """
        # The token before [SEP] is a k-mer: a position is a k-mer if there is a token after it.
        mask = None if attention_mask is None else attention_mask[:, None, 2:].to(self.norm.weight.dtype)
        values = _inside(self.embedding(input_ids[:, 1:-1]).transpose(1, 2), mask)
        outputs = [_inside(nn.functional.silu(self.norm(self.stem(values))), mask)]
        for stage in self.stages:
            values, mask = stage(outputs[-1], mask)
            outputs.append(values)
        return outputs, mask


class KmerConvForSequenceClassification(KmerConvPreTrainedModel):
    """Convolutions over k-mers of one strand or both, then a mean over the positions and a head."""

    def __init__(self, config: KmerConvConfig) -> None:
        super().__init__(config)
        size = config.head_size
        self.network = KmerConvModel(config)
        self.mapper, self.mapper_norm = _convolution(config.hidden_size, size, 1), nn.BatchNorm1d(size)
        self.dense, self.dense_norm = nn.Linear(size, size), nn.BatchNorm1d(size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(size, config.num_labels)
        self.post_init()

    def _read(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Predicts from one strand, float (rows, outputs)."""
        outputs, mask = self.network(input_ids, attention_mask)
        values = nn.functional.silu(self.mapper_norm(self.mapper(outputs[-1])))
        n_positions = values.shape[2] if mask is None else mask.sum(dim=2).clamp(min=1)
        pooled = _inside(values, mask).sum(dim=2) / n_positions
        return self.classifier(self.dropout(nn.functional.silu(self.dense_norm(self.dense(pooled)))))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **options: Any,
    ) -> SequenceClassifierOutput:
        """Predicts `logits` (rows, outputs) for int64 (rows, tokens), in training from one strand of each, drawn at random.

        With `labels`, float (rows, outputs), it also returns a mean squared error as `loss`; the training script has its own.
        """
        config, n_strands = self.config, 1
        if config.both_strands:
            other = reverse_complement_ids(input_ids, attention_mask, config.kmer_k, config.kmer_alphabet)
            if self.training:
                is_turned = torch.rand(len(input_ids), 1, device=input_ids.device) < 0.5
                input_ids = torch.where(is_turned, other, input_ids)
            else:
                n_strands, input_ids = 2, torch.cat([input_ids, other])
                attention_mask = None if attention_mask is None else attention_mask.repeat(2, 1)
        logits = self._read(input_ids, attention_mask).unflatten(0, (n_strands, -1)).mean(dim=0)
        loss = None if labels is None else nn.functional.mse_loss(logits, labels.to(logits.dtype).view_as(logits))
        return SequenceClassifierOutput(loss=loss, logits=logits)


class KmerConvForMaskedLM(KmerConvPreTrainedModel):
    """Convolutions over k-mers of the strand as given, whose stages are brought back to a position for each k-mer."""

    def __init__(self, config: KmerConvConfig) -> None:
        super().__init__(config)
        self.network = KmerConvModel(config)
        self.laterals = nn.ModuleList(_convolution(after, before, 1) for before, after in pairwise(config.widths))
        first = config.embedding_size
        self.merge, self.norm = _convolution(first, first, config.kernel_size), nn.LayerNorm(first)
        self.decoder = nn.Linear(first, config.vocab_size)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        masked: torch.Tensor | None = None,
        **options: Any,
    ) -> MaskedLMOutput:
        """Scores the tokens at each position.

        Args:
            input_ids, attention_mask: (rows, tokens) of a tokenizer of stride 1. Types of tokens are ignored.
            labels: int64 (rows, tokens), -100 where nothing is to be predicted; not together with `masked`.
            masked: int64 (masked tokens,), positions in the flattened (rows, tokens); only these are then scored.

        Returns:
            `logits` (rows, tokens, ids), or (masked tokens, ids) and `masked`; and `loss` if there are labels.
        """
        outputs, _ = self.network(input_ids, attention_mask)
        values = outputs.pop()
        for lateral, finer in zip(reversed(self.laterals), reversed(outputs), strict=True):
            values = finer + lateral(values).repeat_interleave(2, dim=2)[..., : finer.shape[2]]
        states = self.norm(nn.functional.silu(self.merge(values)).transpose(1, 2))
        states = nn.functional.pad(states, (0, 0, 1, 1))  # [CLS] and the last token
        if masked is not None:
            return MaskedLMOutput(logits=self.decoder(states.flatten(0, 1)[masked])) | {"masked": masked}
        logits = self.decoder(states)
        loss = None if labels is None else nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return MaskedLMOutput(loss=loss, logits=logits)


AutoConfig.register("kmer_conv", KmerConvConfig, exist_ok=True)
KmerConvConfig.register_for_auto_class()
for auto_class, model_class in (
    (AutoModelForMaskedLM, KmerConvForMaskedLM),
    (AutoModelForSequenceClassification, KmerConvForSequenceClassification),
):
    auto_class.register(KmerConvConfig, model_class, exist_ok=True)
    model_class.register_for_auto_class(auto_class.__name__)
