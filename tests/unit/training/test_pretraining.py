"""Pretraining and its corpus: what is read, held out and learned."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.synthetic_composition import held_out_accuracy
from hyena.data import synthetic
from hyena.data.corpus import GAP_BP, Corpus
from hyena.data.synthetic import HINT, TASKS, Genome, SyntheticConfig, synthetic_dataset, synthetic_genome
from hyena.data.tokenizer import encode
from hyena.errors import InputError
from hyena.model.config import HyenaConfig
from hyena.training.pretraining import Pretraining, PretrainingConfig
from hyena.training.recipe import learning_rate
from sweep.shipped_studies import QUICKSTART
from sweep.study import load_study

MODEL = HyenaConfig(d_model=16, n_layer=1, l_max=64)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def corpus_of(*records: bytes) -> Corpus:
    return Corpus(encode(record) for record in records)


def finished(run: Pretraining) -> Pretraining:
    while not run.finished:
        run.advance()
    return run


def test_windows_never_touch_the_held_out_part() -> None:
    corpus = corpus_of(b"A" * 500 + b"C" * 500, b"G" * 30, b"T" * 400)
    config = PretrainingConfig(steps=1, length=50, batch_size=512, validation_fraction=0.5)
    run = Pretraining(MODEL, corpus, config, CPU)
    first, counts, _ = run.starts.tolist()
    assert first == [0, 1030]  # the record of 30 holds no window
    assert counts == [450, 150]
    held_out = run._windows(run.held_out)
    assert set(held_out[:9].flatten().tolist()) == {8}  # C: the second half of the first record


def test_draws_are_uniform_over_the_allowed_starts() -> None:
    run = Pretraining(
        MODEL, corpus_of(b"A" * 230, b"C" * 130), PretrainingConfig(1, length=10, validation_fraction=0.5), CPU
    )
    from hyena.training.pretraining import _draw_starts

    first, counts, _ = run.starts.tolist()
    total = sum(counts)
    drawn = _draw_starts(run.starts, (torch.arange(total, dtype=torch.float64) + 0.5) / total).tolist()
    assert drawn == [f + k for f, c in zip(first, counts, strict=True) for k in range(c)]


def test_unknown_letters_count_nothing() -> None:
    rng = np.random.default_rng(0)
    letters = bytearray(np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, 4000)].tobytes())
    run = Pretraining(MODEL, corpus_of(bytes(letters)), PretrainingConfig(steps=1, length=60), CPU)
    clean, _ = run._loss(run._windows(np.array([0])), None)
    letters[30:32] = b"NN"
    holed = Pretraining(MODEL, corpus_of(bytes(letters)), PretrainingConfig(steps=1, length=60), CPU)
    _, counted = holed._loss(holed._windows(np.array([0])), None)
    assert int(counted) == 58
    assert clean.item() > 0


def test_a_window_without_a_known_letter_moves_nothing_out_of_bounds() -> None:
    corpus = corpus_of(b"ACGT" * 30 + b"R" * (GAP_BP - 1) + b"ACGT" * 300)
    run = Pretraining(MODEL, corpus, PretrainingConfig(steps=1, length=40, batch_size=1), CPU)
    loss, counted = run._loss(run._windows(np.array([122])), None)
    assert (float(loss.detach()), int(counted)) == (0.0, 0)
    run.starts = torch.tensor([[122], [1], [0]])
    assert run.advance().train_bits_per_base == 0.0
    assert all(bool(p.isfinite().all()) for p in run.model.parameters())


def test_no_window_lies_in_a_gap() -> None:
    corpus = corpus_of(b"A" * 300 + b"N" * 200 + b"C" * 300)
    run = Pretraining(MODEL, corpus, PretrainingConfig(steps=1, length=40, validation_fraction=0.125), CPU)
    first, counts, _ = run.starts.tolist()
    assert (first, counts) == ([0, 500], [260, 160])


def test_named_regions_are_held_out_instead() -> None:
    corpus = Corpus([encode(b"A" * 300), encode(b"C" * 200), encode(b"G" * 300)], ["chr1", "chr2", "chr3"])
    config = PretrainingConfig(steps=1, length=40, hold_out=("chr2", "chr3:101-200"))
    run = Pretraining(MODEL, corpus, config, CPU)
    assert run.starts.tolist()[0] == [0, 500, 700]
    assert run.held_out.tolist() == [300, 340, 380, 420, 600, 640]


def test_of_many_held_out_bases_evenly_spread_windows_are_evaluated() -> None:
    corpus = corpus_of(b"ACGT" * 5000)
    config = PretrainingConfig(steps=1, length=40, validation_fraction=0.5, validation_bases=400)
    starts = Pretraining(MODEL, corpus, config, CPU).held_out
    assert len(starts) == 10
    assert starts[0] == 10_000
    assert starts[-1] >= 19_900
    assert ((starts - 10_000) % 40 == 0).all()


def test_precision_follows_the_device_unless_it_is_given() -> None:
    auto, fixed = PretrainingConfig(steps=1), PretrainingConfig(steps=1, precision="bfloat16")
    assert [auto.precision_on(torch.device(d)) for d in ("cpu", "cuda")] == ["float32", "bfloat16"]
    assert fixed.precision_on(CPU) == "bfloat16"
    run = Pretraining(MODEL, corpus_of(b"ACGT" * 500), PretrainingConfig(2, 32, 4, precision="bfloat16"), CPU)
    assert finished(run).history[-1].train_bits_per_base < 4.5


def test_the_defaults_are_the_published_recipe() -> None:
    run = Pretraining(MODEL, corpus_of(b"ACGT" * 500), PretrainingConfig(steps=200, length=32), CPU)
    groups = run.optimizer.param_groups
    assert [(g["lr"], g["betas"], g["weight_decay"]) for g in groups] == [(6e-4, (0.9, 0.999), d) for d in (0.1, 0)]
    rates = [learning_rate(step, 200, run.config.schedule) for step in range(200)]
    assert rates[2] == max(rates) == 6e-4  # after a warm-up of 1 %
    assert rates[-1] == pytest.approx(6e-5, rel=0.01)


def test_a_periodic_corpus_is_learned() -> None:
    corpus = corpus_of(b"ACGTTGCA" * 500)
    config = PretrainingConfig(
        steps=120, length=32, batch_size=8, learning_rate=1e-2, reverse_complement=0, log_every=40
    )
    records = finished(Pretraining(MODEL, corpus, config, CPU)).history
    assert [record.step for record in records] == [40, 80, 120]
    assert records[-1].tokens == 120 * 8 * 32
    assert records[-1].validation_bits_per_base is not None
    assert records[-1].validation_bits_per_base < 1.0 < records[0].train_bits_per_base


def test_the_same_seed_gives_the_same_weights() -> None:
    corpus = corpus_of(synthetic_genome(SyntheticConfig(genome_bases=10_000)))

    def weights(seed: int) -> torch.Tensor:
        run = Pretraining(MODEL, corpus, PretrainingConfig(steps=3, length=32, batch_size=4, seed=seed), CPU)
        finished(run)
        return torch.nn.utils.parameters_to_vector(run.model.parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_salt_gives_other_windows_and_weights() -> None:
    corpus = corpus_of(synthetic_genome(SyntheticConfig(genome_bases=10_000)))
    config = PretrainingConfig(steps=1, length=32, batch_size=4)

    def drawn(salt: str) -> set[float]:
        """The first draws of all streams, and an initial weight."""
        run = Pretraining(MODEL, corpus, config, CPU, salt)
        draws = [torch.rand(4, generator=stream) for stream in run.streams.values()]
        return {*torch.cat(draws).tolist(), next(run.model.parameters())[0, 0].item()}

    plain, one, other = map(drawn, ("", "a", "b"))
    assert len(plain | one | other) == 3 * (2 * 4 + 1)
    assert drawn("a") == one


def test_a_corpus_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(InputError, match="no record is long enough"):
        Pretraining(MODEL, corpus_of(b"ACGT" * 5), PretrainingConfig(steps=1, length=50), CPU)
    with pytest.raises(InputError, match="the model takes at most 64"):
        Pretraining(MODEL, corpus_of(b"ACGT" * 500), PretrainingConfig(steps=1, length=65), CPU)


@pytest.mark.parametrize("task", TASKS)
def test_synthetic_classes_are_balanced_and_their_letters_hint_at_the_class(task: str) -> None:
    config = SyntheticConfig(train_examples=400, test_examples=100)
    dataset = synthetic_dataset(task, config)
    labels = np.array(dataset.train.labels)
    assert labels.mean() == 0.5
    tokens = np.array(dataset.train.tokens).reshape(400, -1)
    shifted, phased = (
        np.bincount(tokens[labels == k].ravel(), minlength=11)[7:] / tokens[labels == k].size for k in (0, 1)
    )
    more_strong = (phased - shifted)[[1, 2]].sum()  # C and G of A, C, G, T
    assert 0.05 < more_strong < HINT  # interruptions are less than half of a sequence
    assert synthetic_dataset(task, config).digest == dataset.digest
    assert synthetic_dataset(task, SyntheticConfig(seed=1, train_examples=400)).digest != dataset.digest


def test_an_element_goes_on_in_phase_behind_an_interruption_or_half_a_period_off() -> None:
    """The amplitude of the period of 12 letters among the pyrimidines of 600; half periods cancel it."""
    genome = Genome(SyntheticConfig())
    turns = np.exp(2j * np.pi * np.arange(600) / 12)

    def amplitude(shifted: bool) -> float:
        pieces = [genome.element("tracts", 600, shifted) for _ in range(40)]
        return float(np.mean([abs(turns @ np.isin(piece, (1, 3))) / 600 for piece in pieces]))

    assert amplitude(shifted=False) > 0.2
    assert amplitude(shifted=True) < 0.05


@pytest.mark.parametrize("task", TASKS)
def test_no_count_of_words_tells_what_the_hint_does_not(task: str) -> None:
    """The bound that `hyena/data/synthetic.py` names; without the hint, counts are at chance."""
    config = load_study(QUICKSTART).synthetic
    found = [held_out_accuracy(task, config, k) for k in range(1, 7)]
    assert max(found) < 0.9
    assert max(found[:3]) > 0.7


@pytest.mark.parametrize("k", [1, 3, 6])
def test_without_the_hint_counts_of_words_are_at_chance(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    monkeypatch.setattr(synthetic, "HINT", 0.0)
    assert held_out_accuracy("synthetic_tracts", load_study(QUICKSTART).synthetic, k) == pytest.approx(0.5, abs=0.05)


def test_a_resumed_pretraining_equals_an_uninterrupted_one_bit_for_bit() -> None:
    corpus = corpus_of(synthetic_genome(SyntheticConfig(genome_bases=10_000)))
    config = PretrainingConfig(steps=30, length=32, batch_size=4, log_every=7)
    whole, first, second = (Pretraining(MODEL, corpus, config, CPU) for _ in range(3))
    finished(whole)
    first.advance()
    first.advance()
    buffer = io.BytesIO()
    torch.save(first.state(), buffer)
    buffer.seek(0)
    second.resume(torch.load(buffer, weights_only=True))
    finished(second)
    assert [r.train_bits_per_base for r in second.history] == [r.train_bits_per_base for r in whole.history]
    assert second.history[-1].seconds > second.history[1].seconds
    assert [r.step for r in whole.history] == [7, 14, 21, 28, 30]
