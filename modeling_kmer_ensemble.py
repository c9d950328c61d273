"""Several regression models of DNA as one, which answers with their mean.

Needs torch, transformers and the other networks of the project only, and travels to the Hub with them and with the weights,
so that `AutoModelForSequenceClassification.from_pretrained(name, trust_remote_code=True)` and
`pipeline("text-classification")` load it. Each member is a whole model with its own settings, in `model.members`. The
members' outputs must be in one unit.
"""

import json
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import can_return_tuple

try:  # next to it in a repository, from where transformers copies these files, too
    from .modeling_kmer_conv import KmerConvForSequenceClassification
    from .modeling_kmer_regression import KmerBertForSequenceClassification
except ImportError:
    from modeling_kmer_conv import KmerConvForSequenceClassification
    from modeling_kmer_regression import KmerBertForSequenceClassification

# Networks of the project; others are those of transformers.
OWN_KINDS = {
    kind.config_class.model_type: kind
    for kind in (KmerConvForSequenceClassification, KmerBertForSequenceClassification)
}
# What is said of a saved model that is not one of its settings.
NO_SETTINGS = ("architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "_name_or_path")


class KmerEnsembleConfig(PretrainedConfig):
    """Settings of several models.

    Args:
        members: The configuration of each, as its config.json has it.
        **shared: What all of them have in common (`num_labels`, `id2label`, k-mers, flanks, ...).
    """

    model_type = "kmer_ensemble"

    def __init__(self, members: Sequence[dict[str, Any]] = (), **shared: Any) -> None:
        super().__init__(members=list(members), **shared)

    @property
    def member_configs(self) -> list[PretrainedConfig]:
        """The configuration of each member.

        Raises:
            ValueError: The architecture of one is unknown.
        """
        return [_read_config(member) for member in self.members]


def _read_config(settings: dict[str, Any]) -> PretrainedConfig:
    name = settings.get("model_type")
    if name in OWN_KINDS:
        config_class = OWN_KINDS[name].config_class
    elif name in CONFIG_MAPPING and name != KmerEnsembleConfig.model_type:
        config_class = CONFIG_MAPPING[name]
    else:
        raise ValueError(
            f"`model_type` {name} of a member: allowed are {', '.join(OWN_KINDS)} and those of transformers"
        )
    return config_class.from_dict({key: value for key, value in settings.items() if key not in NO_SETTINGS})


def _build(config: PretrainedConfig) -> PreTrainedModel:
    if config.model_type in OWN_KINDS:
        return OWN_KINDS[config.model_type](config)
    return AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)


class KmerEnsembleForSequenceClassification(PreTrainedModel):
    """Several models for regression, whose outputs are averaged."""

    config_class = KmerEnsembleConfig
    main_input_name = "input_ids"

    def __init__(self, config: KmerEnsembleConfig) -> None:
        super().__init__(config)
        if not config.members:
            raise ValueError("`members` is empty: an ensemble has one model or more")
        self.members = nn.ModuleList(_build(member) for member in config.member_configs)
        self.post_init()

    @classmethod
    def from_members(cls, members: Sequence[PreTrainedModel], **facts: Any) -> Self:
        """Joins models that read and predict the same; their weights are copied.

        Args:
            members: Models for sequence classification, with outputs in one unit.
            facts: Entries of the configuration that replace those that all members have in common.
        """
        dropped = (*NO_SETTINGS, "model_type")
        settings = [
            {
                name: value
                for name, value in json.loads(member.config.to_json_string()).items()
                if name not in NO_SETTINGS
            }
            for member in members
        ]
        names = [
            name
            for name, value in settings[0].items()
            if name not in dropped and all(name in other and other[name] == value for other in settings)
        ]
        shared = {name: getattr(members[0].config, name) for name in names}
        config = KmerEnsembleConfig(members=settings, num_labels=members[0].config.num_labels, **shared)
        config.update(facts)
        model = cls(config)
        for own, given in zip(model.members, members, strict=True):
            own.load_state_dict(given.state_dict())
        return model.eval()

    def _init_weights(self, module: nn.Module) -> None:
        """Leaves new weights to the members, which have initialised theirs."""

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Predicts.

        Args:
            input_ids, attention_mask: (rows, tokens), as every member takes them. Types of tokens are ignored.
            token_type_ids: Ignored.
            labels: Float (rows, outputs) for a mean squared error.
            output_hidden_states, output_attentions: Not true; ask one of the `members`.

        Returns:
            `logits` (rows, outputs), the mean over the members, and `loss` if there are labels.
        """
        if output_hidden_states or output_attentions:
            raise ValueError(
                "`output_hidden_states`, `output_attentions`: an ensemble has those of its members: ask one"
            )
        every = [member(input_ids=input_ids, attention_mask=attention_mask).logits for member in self.members]
        logits, loss = torch.stack(every).mean(dim=0), None
        if labels is not None:
            if self.config.problem_type not in (None, "regression"):
                raise ValueError(
                    f"`problem_type` {self.config.problem_type}: {self.config.model_type} has a loss for regression"
                )
            loss = nn.functional.mse_loss(logits, labels.to(logits.dtype).view_as(logits))
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def save_pretrained(self, save_directory: Any, *arguments: Any, **options: Any) -> None:
        """Saves the model so that every Auto class finds its class in this file."""
        self.config.auto_map = {name: f"{__name__.rpartition('.')[2]}.{kind.__name__}" for name, kind in AUTO_CLASSES}
        super().save_pretrained(save_directory, *arguments, **options)


AUTO_CLASSES = (
    ("AutoConfig", KmerEnsembleConfig),
    ("AutoModelForSequenceClassification", KmerEnsembleForSequenceClassification),
)
for name, kind in AUTO_CLASSES:
    kind.register_for_auto_class(name)
# Code that came from a repository is found by its auto_map: registered, it would also run for every other repository.
if not __name__.startswith("transformers_modules."):
    AutoConfig.register("kmer_ensemble", KmerEnsembleConfig, exist_ok=True)
    AutoModelForSequenceClassification.register(
        KmerEnsembleConfig, KmerEnsembleForSequenceClassification, exist_ok=True
    )
