"""Units of the measured values: there and back again."""

import numpy as np
import pytest

from kmerbert.tokens.targets import IGNORED, TargetScaler, check_precision
from tests.support.messages import fails


def test_mean_and_scale_by_hand() -> None:
    # 2, 4, 9: mean 5, squares 9 + 1 + 16 = 26, population SD sqrt(26/3); 1 and 3: mean 2, SD 1.
    labels = np.array([[2, 1], [4, np.nan], [9, 3]])
    scaler = TargetScaler.fit([labels], ["a", "b"])
    assert scaler.mean == pytest.approx((5, 2))
    assert scaler.scale == pytest.approx((np.sqrt(26 / 3), 1))
    assert all(type(value) is float for value in scaler.mean + scaler.scale)
    scaled = scaler.transform(labels)
    assert scaled.dtype == np.float32
    assert scaled[:, 1].tolist() == [-1, IGNORED, 1]
    assert scaled[:, 0].mean() == pytest.approx(0, abs=1e-6)
    assert scaled[:, 0].std() == pytest.approx(1)


@pytest.mark.parametrize("cuts", [[], [1], [0, 20, 20, 37], list(range(1, 50))])
def test_blocks_give_what_numpy_gives_for_all_rows(cuts: list[int]) -> None:
    labels = np.random.default_rng(0).normal([1e4, -3], [2.5, 40], (50, 2))
    labels[3:25, 1] = np.nan  # some blocks have no value of the second output
    scaler = TargetScaler.fit(np.split(labels, cuts), ["a", "b"])
    assert scaler.mean == pytest.approx(np.nanmean(labels, axis=0), rel=1e-14)
    assert scaler.scale == pytest.approx(np.nanstd(labels, axis=0), rel=1e-10)


def test_invert_brings_labels_back() -> None:
    labels = np.random.default_rng(0).normal(11, 2.5, (50, 3)).astype(np.float32)
    labels[4, 1] = np.nan
    scaler = TargetScaler.fit([labels], ["a", "b", "c"])
    back = scaler.invert(scaler.transform(labels))
    assert back.dtype == np.float64
    np.testing.assert_allclose(back, labels, rtol=1e-6)


def test_invert_takes_one_output_as_a_vector() -> None:
    scaler = TargetScaler((10.0,), (2.0,))
    assert scaler.invert(np.array([0.0, 1.0])).tolist() == [[10.0], [12.0]]


def test_real_labels_never_look_missing() -> None:
    """Whatever the unit: a label of -100 among others is standardised first."""
    labels = np.array([[-100.0], [-100.0], [-99.0]])
    scaler = TargetScaler.fit([labels], ["a"])
    assert not (scaler.transform(labels) == IGNORED).any()


def test_large_offsets_keep_their_precision() -> None:
    scaler = TargetScaler.fit([np.array([[1e5], [1e5 + 8]], np.float32)], ["a"])
    assert scaler.mean == (1e5 + 4,)
    assert scaler.scale == (4.0,)


def test_labels_that_teach_nothing_are_an_error() -> None:
    with fails("b: ", "no training row"):
        TargetScaler.fit([np.array([[1, np.nan], [2, np.nan]])], ["a", "b"])
    constant = [np.array([[0.1], [0.1], [np.nan]]), np.array([[0.1]])]  # whose mean is not exactly 0.1
    with fails("a: ", "all 3 ", "0.1"):
        TargetScaler.fit(constant, ["a"])


def test_labels_too_close_for_float32_are_an_error() -> None:
    values = 1e7 + np.arange(60.0)  # differ in the eighth digit
    with fails("a: ", "10000059", "17.3", "float32"):
        TargetScaler.fit([values[:, None]], ["a"])
    TargetScaler.fit([1e7 + 100 * np.arange(60.0)[:, None]], ["a"])
    check_precision("a", np.array([5.0, np.nan]), 0.0)  # a constant has another error
