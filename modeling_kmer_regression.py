"""A BERT that reads DNA in several reading frames and predicts measured values, which no stock class can.

Needs torch and transformers only, and travels to the Hub with the weights, so that
`AutoModelForSequenceClassification.from_pretrained(name, trust_remote_code=True)` and `pipeline("text-classification")`
load it. It keeps the names of BERT's weights: a pretrained BERT fits in, and the other way round.

A tokenizer of stride 1 gives every k-mer of a sequence. Frame f of n takes k-mers f, f + n, f + 2n, ...; with n = k these
are the n ways to cut the sequence into k-mers that do not overlap. Each frame goes through the network as a sequence of its
own, between [CLS] and [SEP], and the outputs of a sequence's frames are averaged before the loss.
"""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput


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


def split_frames(
    input_ids: torch.Tensor, attention_mask: torch.Tensor | None, n_frames: int, pad_id: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Divides rows of tokens into reading frames.

    Args:
        input_ids: int64 (rows, tokens), each row [CLS], k-mers, [SEP], padding.
        attention_mask: (rows, tokens), 0 at padding; None without padding.
        n_frames: Frames for each row; a row should have at least as many k-mers.
        pad_id: Id of the padding.

    Returns:
        Ids, int64 (rows * n_frames, longest frame), the frames of a row one after the other, each between the row's [CLS]
        and [SEP]; and their attention mask, None if all frames are equally long.
    """
    n_rows, width = input_ids.shape
    longest = -(-(width - 2) // n_frames)
    is_even = attention_mask is None and (width - 2) % n_frames == 0
    if attention_mask is None:
        n_kmers = torch.full((n_rows,), width - 2, device=input_ids.device)
    else:
        n_kmers = attention_mask.sum(dim=1) - 2
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


class KmerBertForSequenceClassification(BertForSequenceClassification):
    """BERT with a pooled linear head, whose outputs are averaged over the reading frames of a sequence."""

    config_class = KmerBertConfig

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **options: Any,
    ) -> SequenceClassifierOutput:
        """Predicts.

        Args:
            input_ids, attention_mask: (rows, tokens) of a tokenizer of stride 1.
            token_type_ids: ignored; every token is of the first type.
            labels: Float (rows, outputs) for a mean squared error; the training script has its own loss.

        Returns:
            `logits` (rows, outputs), averaged over the frames, and `loss` if there are labels.
        """
        n_frames = self.config.n_frames
        ids, mask = split_frames(input_ids, attention_mask, n_frames, self.config.pad_token_id)
        outputs = super().forward(ids, attention_mask=mask, **options | {"return_dict": True})
        logits = outputs.logits.view(len(input_ids), n_frames, -1).mean(dim=1)
        loss = None if labels is None else torch.nn.functional.mse_loss(logits, labels.to(logits.dtype).view_as(logits))
        return SequenceClassifierOutput(loss=loss, logits=logits)


AutoConfig.register("kmer_bert", KmerBertConfig, exist_ok=True)
AutoModelForSequenceClassification.register(KmerBertConfig, KmerBertForSequenceClassification, exist_ok=True)
KmerBertConfig.register_for_auto_class()
KmerBertForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
