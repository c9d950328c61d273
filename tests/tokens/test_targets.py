"""Units of the measured values: there and back again."""

import numpy as np
import pytest

from kmerbert.tokens.targets import MISSING_LABEL, TargetScaler


def test_mean_and_scale_by_hand() -> None:
    # 2, 4, 9: mean 5, squares 9 + 1 + 16 = 26, population SD sqrt(26/3); 1 and 3: mean 2, SD 1.
    labels = np.array([[2, 1], [4, np.nan], [9, 3]])
    scaler = TargetScaler.fit(labels, ["a", "b"])
    assert scaler.mean == pytest.approx((5, 2))
    assert scaler.scale == pytest.approx((np.sqrt(26 / 3), 1))
    assert all(type(value) is float for value in scaler.mean + scaler.scale)
    scaled = scaler.transform(labels)
    assert scaled.dtype == np.float32
    assert scaled[:, 1].tolist() == [-1, MISSING_LABEL, 1]
    assert scaled[:, 0].mean() == pytest.approx(0, abs=1e-6)
    assert scaled[:, 0].std() == pytest.approx(1)


def test_invert_brings_labels_back() -> None:
    labels = np.random.default_rng(0).normal(11, 2.5, (50, 3)).astype(np.float32)
    labels[4, 1] = np.nan
    scaler = TargetScaler.fit(labels, ["a", "b", "c"])
    back = scaler.invert(scaler.transform(labels))
    assert back.dtype == np.float64
    np.testing.assert_allclose(back, labels, rtol=1e-6)


def test_invert_takes_one_output_as_a_vector() -> None:
    scaler = TargetScaler((10.0,), (2.0,))
    assert scaler.invert(np.array([0.0, 1.0])).tolist() == [[10.0], [12.0]]


def test_real_labels_never_look_missing() -> None:
    """Whatever the unit: a label of -100 among others is standardised first."""
    labels = np.array([[-100.0], [-100.0], [-99.0]])
    scaler = TargetScaler.fit(labels, ["a"])
    assert not (scaler.transform(labels) == MISSING_LABEL).any()


def test_large_offsets_keep_their_precision() -> None:
    scaler = TargetScaler.fit(np.array([[1e8], [1e8 + 8]], np.float32), ["a"])
    assert scaler.mean == (1e8 + 4,)
    assert scaler.scale == (4.0,)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="^b: no training row has a value$"):
        TargetScaler.fit(np.array([[1, np.nan], [2, np.nan]]), ["a", "b"])
    with pytest.raises(ValueError, match="^a: all 2 training values are 7; there is nothing to learn$"):
        TargetScaler.fit(np.array([[7], [7], [np.nan]]), ["a"])
    with pytest.raises(ValueError, match="zip"):
        TargetScaler.fit(np.array([[1, 2], [3, 4]]), ["a"])
