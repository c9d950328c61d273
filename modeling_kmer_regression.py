"""A BERT that reads DNA in several reading frames and predicts measured values, which no stock class can.

Needs torch and transformers only, and travels to the Hub with the weights, so that
`AutoModelForSequenceClassification.from_pretrained(name, trust_remote_code=True)` and `pipeline("text-classification")`
load it; `AutoModel` gives embeddings. It keeps the names of BERT's weights: a pretrained BERT fits in, and the other way
round.

A tokenizer of stride 1 gives every k-mer of a sequence. Frame f of n takes k-mers f, f + n, f + 2n, ...; with n = k these
are the n ways to cut the sequence into k-mers that do not overlap. Each frame goes through the network as a sequence of its
own, between [CLS] and [SEP], and the outputs of a sequence's frames are averaged before the loss.
"""

from inspect import getfile
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedModel,
)
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.utils import can_return_tuple, logging

logger = logging.get_logger(__name__)
IS_OF_REPOSITORY = __name__.startswith("transformers_modules.")
CLS, SEP = 2, 3  # as in tokenization_kmer.py, which may not be imported here


class KmerBertConfig(BertConfig):
    """A BERT's settings, and the number of reading frames.

    Its own `model_type` keeps the model from being loaded as a plain BERT, which would read all frames as one.
    """

    model_type = "kmer_bert"

    def __init__(self, n_frames: int = 3, **settings: Any) -> None:
        if n_frames < 1:
            raise ValueError(f"n_frames {n_frames}: allowed is 1 or more")
        self.n_frames = n_frames
        super().__init__(**settings)

    @classmethod
    def from_bert(cls, config: BertConfig, n_frames: int) -> "KmerBertConfig":
        """Takes over a BERT's settings.

        Raises:
            ValueError: for another architecture.
        """
        if config.model_type not in ("bert", cls.model_type):
            raise ValueError(
                f"`reading_frames`: only bert has them, this is {config.model_type}: leave them out, or use `model_type` bert"
            )
        settings = {name: value for name, value in config.to_dict().items() if name not in ("model_type", "auto_map")}
        return cls(**settings | {"n_frames": n_frames})


def padding_shift(attention_mask: torch.Tensor) -> torch.Tensor:
    """Tokens of padding on the left of each row, int64 (rows, 1)."""
    return (attention_mask.cumsum(dim=1) == 0).sum(dim=1, keepdim=True)


def rolled(values: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Moves the tokens of (rows, tokens, ...) `shift` places to the left, those that leave come back on the right."""
    width = torch.full(
        (1,), values.shape[1], dtype=torch.int64, device=values.device
    )  # a tensor, because ONNX needs one
    source = (torch.arange(values.shape[1], device=values.device) + shift) % width
    source = source.reshape(*source.shape, *[1] * (values.dim() - 2))
    return values.gather(1, source.expand_as(values))


def check_ends(input_ids: torch.Tensor) -> None:
    """Warns once of rows (rows, tokens), padding on the right, that are not one sequence between [CLS] and [SEP].

    The tokens at both ends are not read: without special tokens, a k-mer is lost at each. On a GPU nothing is looked at.
    """
    if input_ids.device.type != "cpu" or not input_ids.numel():
        return
    if (input_ids[:, 0] != CLS).any() or ((input_ids == CLS) | (input_ids == SEP)).sum(dim=1).max() > 2:
        logger.warning_once(
            "rows are not [CLS], the k-mers of one sequence, [SEP], as `tokenizer(sequence)` returns them: such outputs are wrong"
        )


def split_frames(
    input_ids: torch.Tensor, attention_mask: torch.Tensor | None, n_frames: int, pad_id: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Divides rows of tokens into reading frames.

    Args:
        input_ids: int64 (rows, tokens), each row [CLS], k-mers, [SEP], padding.
        attention_mask: (rows, tokens), 0 at padding, which may be on either side; None without padding.
        n_frames: Frames for each row; a row must have at least as many k-mers.
        pad_id: Id of the padding.

    Returns:
        Ids, int64 (rows * n_frames, longest frame), the frames of a row one after the other, each between the row's [CLS]
        and [SEP]; and their attention mask, None if all frames are equally long.

    Raises:
        ValueError: A row has fewer k-mers than frames. On a GPU only the longest is looked at, because the others would have
            to be waited for.
    """
    n_rows, width = input_ids.shape
    # What is recorded while a graph is traced must hold for any length: "-(-n // m)" would be rounded another way there.
    is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    longest = (width - 2 + n_frames - 1) // n_frames
    is_even = not is_traced and attention_mask is None and (width - 2) % n_frames == 0
    if attention_mask is None:
        n_kmers = torch.full((n_rows,), width - 2, dtype=torch.int64, device=input_ids.device)
    else:
        n_kmers = attention_mask.sum(dim=1) - 2
        input_ids = rolled(input_ids, padding_shift(attention_mask))
    if not is_traced:
        is_known = n_kmers.device.type == "cpu" and n_rows
        fewest = int(n_kmers.min()) if is_known else width - 2
        if fewest < n_frames:
            raise ValueError(
                f"a sequence of {max(0, fewest)} k-mers: the fewest that the network reads are {n_frames}, one in each frame"
            )
        check_ends(input_ids)
    frame = torch.arange(n_frames, device=input_ids.device)[:, None]
    kmer = frame + n_frames * torch.arange(longest + 1, device=input_ids.device)  # (frames, longest + 1): last is [SEP]
    count = (n_kmers[:, None] - frame[:, 0] + n_frames - 1).div(n_frames, rounding_mode="floor")  # (rows, frames)
    position = torch.arange(longest + 1, device=input_ids.device)
    # A k-mer's token is one position to the right of its number; the token after a row's last k-mer is its [SEP].
    source = torch.where(position < count[..., None], kmer + 1, n_kmers[:, None, None] + 1)
    ids = input_ids[:, None].expand(-1, n_frames, -1).gather(2, source)
    ids = torch.where(position <= count[..., None], ids, pad_id)
    first = input_ids[:, None, :1].expand(-1, n_frames, -1)
    ids = torch.cat([first, ids], dim=2).flatten(0, 1)
    if is_even:
        return ids, None
    return ids, torch.nn.functional.pad((position <= count[..., None]).long(), (1, 0), value=1).flatten(0, 1)


def join_frames(states: torch.Tensor, attention_mask: torch.Tensor | None, n_frames: int, width: int) -> torch.Tensor:
    """Puts what the network says in the frames back in the order of the tokens.

    Args:
        states: Float (rows * n_frames, longest frame, channels).
        attention_mask: As for `split_frames`.
        n_frames, width: Frames of each row; tokens of each row.

    Returns:
        Float (rows, width, channels): at every k-mer what its frame says there, at [CLS] and [SEP] the mean of the frames'
        [CLS], and zero at padding.
    """
    frames = states.unflatten(0, (-1, n_frames))
    kmer = torch.arange(width - 2, device=states.device)
    source = (kmer % n_frames) * states.shape[1] + kmer // n_frames + 1
    kmers = frames.flatten(1, 2).index_select(1, source)
    first = frames[:, :, 0].mean(dim=1, keepdim=True)
    if attention_mask is None:
        return torch.cat([first, kmers, first], dim=1)
    shift = padding_shift(attention_mask)
    is_token = rolled(attention_mask, shift)[..., None].to(states.dtype)
    tokens = is_token * torch.cat([first, torch.where(is_token[:, 2:] > 0, kmers, first), first], dim=1)
    return rolled(tokens, -shift)


def check_options(config: KmerBertConfig, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None) -> None:
    """Raises ValueError for vectors in place of ids: frames are taken from ids."""
    if inputs_embeds is not None or input_ids is None:
        raise ValueError(f"`inputs_embeds`: {config.model_type} takes its frames from `input_ids`: give these")


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


class KmerBertModel(CodeOfRepository, BertModel):
    """BERT that reads every reading frame, and embeds the tokens of a sequence in their order."""

    config_class = KmerBertConfig

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Embeds sequences.

        Args:
            input_ids, attention_mask: (rows, tokens) of a tokenizer of stride 1.
            token_type_ids: ignored; every token is of the first type.
            inputs_embeds: None.
            output_attentions, output_hidden_states: Return these, too.

        Returns:
            `last_hidden_state` and each of the `hidden_states`, the result of `join_frames`; `pooler_output`
            (rows, channels), the mean over the frames; `attentions`, (rows, frames, heads, longest frame, longest frame).
        """
        config, n_frames = self.config, self.config.n_frames
        check_options(config, input_ids, inputs_embeds)
        ids, mask = split_frames(input_ids, attention_mask, n_frames, config.pad_token_id)
        outputs = super().forward(
            ids, attention_mask=mask, return_dict=True, **wanted(config, output_attentions, output_hidden_states)
        )
        joined = [
            join_frames(states, attention_mask, n_frames, input_ids.shape[1]) for states in outputs.hidden_states or ()
        ]
        pooled = outputs.pooler_output
        return BaseModelOutputWithPooling(
            last_hidden_state=join_frames(outputs.last_hidden_state, attention_mask, n_frames, input_ids.shape[1]),
            pooler_output=None if pooled is None else pooled.unflatten(0, (-1, n_frames)).mean(dim=1),
            hidden_states=tuple(joined) or None,
            attentions=by_row(outputs.attentions, n_frames),
        )


def wanted(
    config: KmerBertConfig, output_attentions: bool | None, output_hidden_states: bool | None
) -> dict[str, bool]:
    """What a call asks for, or otherwise the configuration, as arguments of BERT."""
    given = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
    return {name: getattr(config, name) if value is None else value for name, value in given.items()}


def by_row(attentions: tuple[torch.Tensor, ...] | None, n_frames: int) -> tuple[torch.Tensor, ...] | None:
    """Attentions (rows * frames, ...) of each layer as (rows, frames, ...)."""
    return tuple(layer.unflatten(0, (-1, n_frames)) for layer in attentions) if attentions else None


class KmerBertForSequenceClassification(CodeOfRepository, BertForSequenceClassification):
    """BERT with a pooled linear head, whose outputs are averaged over the reading frames of a sequence."""

    config_class = KmerBertConfig

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Predicts.

        Args:
            input_ids, attention_mask: (rows, tokens) of a tokenizer of stride 1.
            token_type_ids: ignored; every token is of the first type.
            labels: Float (rows, outputs) for a mean squared error; the training script has its own loss.
            inputs_embeds, output_attentions, output_hidden_states: As for `KmerBertModel`.

        Returns:
            `logits` (rows, outputs), averaged over the frames, and `loss` if there are labels; `hidden_states` and
            `attentions` as of `KmerBertModel`.
        """
        config, n_frames = self.config, self.config.n_frames
        check_options(config, input_ids, inputs_embeds)
        ids, mask = split_frames(input_ids, attention_mask, n_frames, config.pad_token_id)
        outputs = super().forward(
            ids, attention_mask=mask, return_dict=True, **wanted(config, output_attentions, output_hidden_states)
        )
        logits, loss = outputs.logits.view(-1, n_frames, config.num_labels).mean(dim=1), None
        if labels is not None:
            if config.problem_type not in (None, "regression"):
                raise ValueError(f"`problem_type` {config.problem_type}: {config.model_type} has a loss for regression")
            loss = torch.nn.functional.mse_loss(logits, labels.to(logits.dtype).view_as(logits))
        joined = [
            join_frames(states, attention_mask, n_frames, input_ids.shape[1]) for states in outputs.hidden_states or ()
        ]
        return SequenceClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=tuple(joined) or None,
            attentions=by_row(outputs.attentions, n_frames),
        )

    def save_pretrained(self, save_directory: Any, *arguments: Any, **options: Any) -> None:
        """Saves the model so that every Auto class finds its class in this file."""
        self.config.auto_map = {name: f"{__name__.rpartition('.')[2]}.{kind.__name__}" for name, kind in AUTO_CLASSES}
        super().save_pretrained(save_directory, *arguments, **options)


AUTO_CLASSES = (
    ("AutoConfig", KmerBertConfig),
    ("AutoModel", KmerBertModel),
    ("AutoModelForSequenceClassification", KmerBertForSequenceClassification),
)
for name, kind in AUTO_CLASSES:
    kind.register_for_auto_class(name)
# Code that came from a repository is found by its auto_map: registered, it would also run for every other repository.
if not IS_OF_REPOSITORY:
    AutoConfig.register("kmer_bert", KmerBertConfig, exist_ok=True)
    AutoModel.register(KmerBertConfig, KmerBertModel, exist_ok=True)
    AutoModelForSequenceClassification.register(KmerBertConfig, KmerBertForSequenceClassification, exist_ok=True)
