import pytest
import torch

from gyrostat.spec.transduction import TextTransduction, Transduction
from trainer.data import transduction as module
from trainer.data.datasets import load
from trainer.data.samples import DataError, Pairs, Text


def text_of(pairs: Pairs, tokens: torch.Tensor) -> str:
    return "".join(pairs.vocabulary[token] for token in tokens)


@pytest.mark.parametrize("operation", ["copy", "reverse", "sort"])
def test_each_target_is_what_python_makes_of_its_source(operation):
    pairs = load(Transduction(operation=operation, alphabet=7, length=5, rows=50))
    python = {"copy": list, "reverse": lambda row: row[::-1], "sort": sorted}[operation]
    assert isinstance(pairs, Pairs)
    assert pairs.sources.shape == pairs.targets.shape == (50, 5)
    assert [python(row) for row in pairs.sources.tolist()] == pairs.targets.tolist()


def test_symbols_are_drawn_evenly_and_none_is_the_start():
    pairs = load(Transduction(alphabet=4, length=100, rows=1000))
    counts = torch.bincount(pairs.sources.flatten(), minlength=5)
    assert counts[4] == 0
    assert (counts[:4] - 25_000).abs().max() < 5 * (100_000 * 0.25 * 0.75) ** 0.5
    assert (pairs.start, len(pairs.vocabulary)) == (4, 5)


def test_sequences_depend_on_their_own_seed_alone():
    torch.manual_seed(1)
    one = load(Transduction(seed=3))
    torch.manual_seed(2)
    assert torch.equal(one.sources, load(Transduction(seed=3)).sources)
    assert not torch.equal(one.sources, load(Transduction(seed=4)).sources)


def test_blanks_stand_for_the_vowels_and_for_nothing_else():
    pairs = load(TextTransduction(length=20, rows=300))
    blank = len(pairs.vocabulary) - 2
    for source, target in zip(pairs.sources, pairs.targets, strict=True):
        restored = "".join("?" if token == blank else pairs.vocabulary[token] for token in source.tolist())
        assert restored == "".join("?" if c in "aeiouAEIOU" else c for c in text_of(pairs, target))
    assert (pairs.sources == blank).float().mean() > 0.2
    assert not (pairs.targets >= blank).any()


def test_pieces_are_of_the_text_in_its_order_and_do_not_overlap(monkeypatch):
    text = Text(torch.arange(103), tuple(chr(0x4E00 + i) for i in range(103)))
    monkeypatch.setattr(module, "python_topics", lambda settings, data_root: text)
    pairs = load(TextTransduction(length=10, rows=8, damage="order"))
    assert [row[0].item() for row in pairs.targets] == [0, 10, 20, 30, 50, 60, 70, 80]
    assert torch.equal(pairs.targets[3], torch.arange(30, 40))
    assert torch.equal(pairs.sources, pairs.targets.flip(1))


def test_a_text_with_too_few_pieces_is_an_error_that_says_what_to_do(monkeypatch):
    text = Text(torch.arange(50), tuple(map(chr, range(100, 150))))
    monkeypatch.setattr(module, "python_topics", lambda settings, data_root: text)
    with pytest.raises(DataError, match=r"has 5 pieces of 10 characters, fewer than 8; use a smaller"):
        load(TextTransduction(length=10, rows=8))


def test_this_python_s_text_holds_the_most_and_longest_pieces_that_a_spec_may_ask_for():
    assert load(TextTransduction(length=96, rows=4000)).targets.shape == (4000, 96)
