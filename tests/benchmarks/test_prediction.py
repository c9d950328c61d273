"""The benchmark of predictions at toy size: the pipeline and ours agree, and the table has all that it should."""

import numpy as np
import pytest

from benchmarks.speed import prediction as program


@pytest.mark.parametrize("lengths", [[], ["--equal_lengths", "30"]])
def test_ours_and_the_peers_agree(
    lengths: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "product_rate", lambda *_: 1e9)
    flags = "--n_sequences 6 --loop_sequences 4 --hidden_size 16 --n_layers 2 --batch_size 3 --device cpu"
    found = program.main(flags.split() + lengths)
    (_, loop), (_, batched), (_, ours), (_, rounded) = found.values()
    assert (len(loop), len(batched), len(ours), len(rounded)) == (4, 6, 6, 6)
    np.testing.assert_allclose(batched[:4], loop, atol=1e-5)
    np.testing.assert_allclose(ours, batched, atol=1e-5)
    np.testing.assert_allclose(rounded, batched, atol=1e-2)
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*found, "GFLOP/s", "of limit", "ratio"))
    assert "of 30 to 30 bases" in printed if lengths else "of 60 to 140 bases" in printed


def test_the_limit_is_measured_and_products_are_counted() -> None:
    rate = program.product_rate(program.torch.device("cpu"), program.torch.float32, size=64)
    assert rate > 0
    # A layer of width 2 and 8: queries, keys, values and output 4 x 8, feed-forward 2 x 32, of 3 tokens; attention 2 x 36.
    config = program.BertConfig(hidden_size=2, num_hidden_layers=5, num_attention_heads=1, intermediate_size=8)
    assert program.products(config, np.array([3])) == 5 * (3 * (4 * 8 + 2 * 32) + 2 * 36)
