"""What is recorded of a network for other programs, and whether it depends on the example that was shown."""

import io
import warnings

import pytest
import torch
from torch import nn
from torch.onnx._internal.torchscript_exporter import onnx_proto_utils


class FirstOutput(nn.Module):
    """A model's logits or embeddings, of ids and a mask."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask)[0]


def batch(*lengths: int, n_ids: int = 69) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ids and the mask of rows of these numbers of tokens, padding on the right."""
    n_tokens, position = torch.tensor(lengths)[:, None], torch.arange(max(lengths))
    ids = torch.randint(5, n_ids, (len(lengths), max(lengths)))
    ids = torch.where(position == 0, 2, torch.where(position == n_tokens - 1, 3, ids))
    return torch.where(position < n_tokens, ids, 0), (position < n_tokens).long()


def onnx_graph(model: nn.Module, *lengths: int, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The ONNX graph for any numbers of rows and tokens, traced with rows of these lengths; needs no package `onnx`."""
    monkeypatch.setattr(onnx_proto_utils, "_add_onnxscript_fn", lambda graph, *_: graph)
    names, axes, file = ["input_ids", "attention_mask"], {0: "rows", 1: "tokens"}, io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # of the exporter, about itself
        torch.onnx.export(
            FirstOutput(model).eval(),
            batch(*lengths),
            file,
            dynamo=False,
            input_names=names,
            output_names=["output"],
            dynamic_axes={name: axes for name in [*names, "output"]},
            opset_version=17,
        )
    return file.getvalue()


def exported(model: nn.Module, *lengths: int) -> nn.Module:
    """The program of torch.export for any numbers of rows and tokens."""
    size = torch.export.Dim.DYNAMIC
    return torch.export.export(
        FirstOutput(model).eval(), batch(*lengths), dynamic_shapes=({0: size, 1: size},) * 2
    ).module()
