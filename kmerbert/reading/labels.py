"""Logarithms of measured values, which a model may learn and predict instead of the values themselves.

The transformation is a setting of the model: `label_transform` of its configuration, whose `label_unit` names it, too. Values
are transformed where they are read, for training, next to predictions and as replicates alike, so that what is compared is
always in the unit of the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from kmerbert.reading.bad_rows import RowError
from kmerbert.reading.sources import Source

LOGARITHMS = {"log2": np.log2, "log10": np.log10, "ln": np.log}


@dataclass(frozen=True)
class LabelTransform:
    """The logarithm of a value and a constant.

    Attributes:
        name: `log2`, `log10` or `ln`.
        pseudocount: Added to every value first, 0 or more, in the unit of the table.
    """

    name: str
    pseudocount: float = 0.0

    @classmethod
    def of(cls, setting: Mapping[str, Any] | None) -> Self | None:
        """Reads what `setting` wrote; None for None.

        Raises:
            ValueError: It is something else.
        """
        if setting is None:
            return None
        try:
            known = cls(setting["name"], float(setting["pseudocount"]))
            if known.name not in LOGARITHMS or not 0 <= known.pseudocount < np.inf:
                raise ValueError
        except (TypeError, LookupError, ValueError):
            raise ValueError(
                f"`label_transform` {setting!r} in the model's config.json: allowed are null, or a name ({', '.join(LOGARITHMS)}) "
                "and a pseudocount of 0 or more"
            ) from None
        return known

    @property
    def setting(self) -> dict[str, Any]:
        """What a model's configuration says."""
        return asdict(self)

    def of_text(self, value: str) -> str:
        """Names what becomes of a value.

        >>> LabelTransform("log2", 1.0).of_text("TPM"), LabelTransform("ln").of_text("TPM")
        ('log2(TPM + 1)', 'ln(TPM)')
        """
        return f"{self.name}({value} + {self.pseudocount:g})" if self.pseudocount else f"{self.name}({value})"

    def unit(self, unit: str, outputs: Sequence[str]) -> str:
        """Names the unit of the predictions.

        Args:
            unit: Of the measured values; empty if it is not known.
            outputs: Names of the outputs; that of a single one stands for a unit that is not known.
        """
        return self.of_text(unit or (outputs[0] if len(outputs) == 1 else "value"))

    def apply(
        self, values: np.ndarray, names: Sequence[str], source: Source, numbers: np.ndarray, is_trained: bool = False
    ) -> np.ndarray:
        """Transforms measured values.

        Args:
            values: Float array (n, columns), NaN where missing, which stays.
            names: Of the columns, for messages.
            source, numbers: Where the rows are from, and int array (n,), their numbers there, for messages.
            is_trained: Whether a model decides the transformation, and no flag.

        Returns:
            float64 array (n, columns).

        Raises:
            RowError: A value has no logarithm.
        """
        shifted = np.asarray(values, np.float64) + self.pseudocount
        for row, column in np.argwhere(shifted <= 0)[:1]:
            value = values[row, column]
            if is_trained:
                remedy = "it is the unit that the model predicts: fix or remove the row"
            elif value == 0:
                remedy = "add a `label_pseudocount`, such as 1 or half of the smallest value above 0, or remove the row"
            else:
                remedy = f"add a `label_pseudocount` above {-value:g}, leave `label_transform` out, or remove the row"
            reason = f"{names[column]} is {value:g}, and {self.of_text(f'{value:g}')} is no number: {remedy}"
            raise RowError(source, numbers[row], names[column], f"{value:g}", reason)
        return LOGARITHMS[self.name](shifted)
