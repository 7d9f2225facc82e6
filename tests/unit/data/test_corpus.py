"""The corpus: what is read from FASTA files, where it is stored, and that a large genome is never held in memory."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena.data.corpus import GAP_BP, Corpus, StoredCorpus, read_corpus, store
from hyena.data.fasta_tokens import token_pieces
from hyena.data.tokenizer import encode
from hyena.errors import InputError

TEXT = b">one first\nACGT\nacg\n>empty\n\n>two\r\nNNNT\r\n"


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def read_in_chunks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Read files and tokens so many bytes at a time."""
    monkeypatch.setattr("hyena.data.corpus.CHUNK_BYTES", size)
    monkeypatch.setattr("hyena.data.fasta_tokens.CHUNK_BYTES", size)


def test_fasta_is_read_plain_and_gzipped(tmp_path: Path) -> None:
    plain = written(tmp_path, "a.fa", TEXT)
    packed = written(tmp_path, "b.fa.gz", gzip.compress(TEXT.replace(b"NNNT", b"NNNA")))
    corpus = read_corpus([plain, packed], tmp_path / "cache")
    assert corpus.names == ("one", "two", "one", "two")
    assert corpus.offsets.tolist() == [0, 7, 11, 18, 22]
    assert corpus.tokens[:11].tolist() == [7, 8, 9, 10, 7, 8, 9, 11, 11, 11, 10]
    assert corpus.tokens[18:].tolist() == [11, 11, 11, 7]
    assert read_corpus([plain], tmp_path / "cache").digest != corpus.digest


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "empty"),
        (b">x\n>y\n", "holds no sequence"),
        (b"ACGT\n", "line 1: not a FASTA file; expected a header line that starts with '>'"),
        (b"\n>w\nA\n>x\nACGT\nAC!T\n", "line 4, record 'x', position 7: letter '!'"),
    ],
)
@pytest.mark.parametrize("chunk", [3, 4 * 2**20])
def test_a_file_that_is_not_fasta_is_an_error_that_names_it(
    tmp_path: Path, content: bytes, fault: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_chunks(monkeypatch, chunk)
    with pytest.raises(InputError, match=fault) as error:
        read_corpus([written(tmp_path, "genome.fa", content)], tmp_path / "cache")
    assert str(error.value).startswith(str(tmp_path / "genome.fa"))
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]  # nothing half-made is left


def test_a_broken_gzip_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "genome.fa.gz", gzip.compress(b">x\n" + b"ACGT" * 1000)[:-20])
    with pytest.raises(InputError, match=r"genome\.fa\.gz: not a complete gzip file"):
        read_corpus([path], tmp_path / "cache")
    with pytest.raises(InputError, match="cannot be read"):
        read_corpus([tmp_path / "none.fa"], tmp_path / "cache")


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_stored_in_pieces_equals_made_in_memory(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    gap = b"N" * GAP_BP
    records = [b"ACGT" * 9 + gap + b"TTA", gap + b"A", b"C" * 30 + gap, b"N" * (GAP_BP - 1) + b"G"]
    whole = Corpus([encode(record) for record in records], "abcd")
    read_in_chunks(monkeypatch, chunk)
    path = written(tmp_path, "g.fa", b"".join(b">%c\n%b\n" % (97 + n, record) for n, record in enumerate(records)))
    store([path], tmp_path / "stored")
    stored = StoredCorpus(tmp_path / "stored")
    assert stored.names == whole.names
    assert (stored.digest, stored.offsets.tolist()) == (whole.digest, whole.offsets.tolist())
    assert np.array_equal(stored.tokens, whole.tokens)
    lengths = [len(record) for record in records]
    first, second, third, _ = np.cumsum([0, *lengths[:3]]).tolist()
    expected = [[first, first + 36], [first + 36 + GAP_BP, second], [second + GAP_BP, third], [third, third + 30]]
    assert stored.stretches.tolist() == whole.stretches.tolist() == [*expected, [sum(lengths) - 1, sum(lengths)]]


def test_files_are_read_once_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = written(tmp_path, "a.fa", TEXT), tmp_path / "cache"
    digest = read_corpus([path], cache).digest
    monkeypatch.setattr("hyena.data.fasta_tokens.fasta_pieces", lambda *_: pytest.fail("the file was read again"))
    assert read_corpus([path], cache).digest == digest
    monkeypatch.undo()
    written(tmp_path, "a.fa", TEXT + b"A")
    assert read_corpus([path], cache).digest != digest


def test_a_damaged_store_is_rebuilt_and_an_unusable_one_is_bypassed(tmp_path: Path) -> None:
    path, cache = written(tmp_path, "a.fa", TEXT), tmp_path / "cache"
    digest = read_corpus([path], cache).digest
    (entry,) = (found for found in cache.iterdir() if found.is_dir())
    (entry / "tokens.bin").write_bytes(b"\x07")
    assert read_corpus([path], cache).digest == digest
    (entry / "corpus.json").write_text("{}")
    assert read_corpus([path], cache).digest == digest
    in_memory = read_corpus([path], path)  # a file where a folder should be
    assert (in_memory.digest, in_memory.names) == (digest, ("one", "two"))


def test_parts_and_records_are_held_out_by_name() -> None:
    corpus = Corpus([encode(b"A" * 100), encode(b"C" * 50)], ["chr1", "HLA:1-9"])
    train, held = corpus.regions(0.05, ["chr1:11-20", "chr1:16-30", "HLA:1-9"])
    assert held.tolist() == [[10, 30], [100, 150]]
    assert train.tolist() == [[0, 10], [30, 100]]
    train, held = corpus.regions(0.1)
    assert (train.tolist(), held.tolist()) == ([[0, 90], [100, 145]], [[90, 100], [145, 150]])
    for wrong in ("chr", "chr1:0-5", "chr1:5-101", "chr1:7-6"):
        with pytest.raises(InputError, match="hold_out"):
            corpus.regions(0.05, [wrong])


def test_all_records_of_a_name_are_held_out() -> None:
    corpus = Corpus([encode(b"A" * 100), encode(b"C" * 50), encode(b"G" * 80)], ["chr1", "chr2", "chr1"])
    train, held = corpus.regions(0.05, ["chr1"])
    assert (train.tolist(), held.tolist()) == ([[100, 150]], [[0, 100], [150, 230]])
    with pytest.raises(InputError, match=r"'chr1:1-5': 2 records are called 'chr1'; hold out all"):
        corpus.regions(0.05, ["chr1:1-5"])


def test_a_copy_of_a_held_out_record_is_not_trained_on() -> None:
    same, other = encode(b"ACGTT" * 20), encode(b"ACGTA" * 20)
    corpus = Corpus([same, other, same], ["chr1", "chr2", "NC_1"])
    with pytest.raises(InputError, match="record 'NC_1' has the same letters as 'chr1', which is held out"):
        corpus.regions(0.05, ["chr1"])
    train, held = corpus.regions(0.05, ["chr1", "NC_1"])
    assert (train.tolist(), held.tolist()) == ([[100, 200]], [[0, 100], [200, 300]])
    assert corpus.regions(0.05, ["chr2"])[0].tolist() == [[0, 100], [200, 300]]


@pytest.mark.parametrize("usable", [True, False])
def test_a_file_that_is_given_twice_is_refused(tmp_path: Path, usable: bool) -> None:
    cache = tmp_path / ("cache" if usable else "a.fa")
    plain, other = written(tmp_path, "a.fa", TEXT), written(tmp_path, "c.fa", b">one\nACGTACT\n>two\nNNNT\n")
    packed = written(tmp_path, "b.fa.gz", gzip.compress(TEXT.replace(b">one", b">chr1")))
    (tmp_path / "link.fa").symlink_to(plain)
    with pytest.raises(
        InputError, match=r"/link\.fa: the corpus names this file twice, also as .*/a\.fa; expected each file once"
    ):
        read_corpus([plain, other, tmp_path / "link.fa"], cache)
    with pytest.raises(InputError, match=r"/b\.fa\.gz: the same sequences as in .*/a\.fa; remove one of the two files"):
        read_corpus([plain, other, packed], cache)
    assert read_corpus([plain, other], cache).names == ("one", "two", "one", "two")


@pytest.mark.parametrize("chunk", [3, 2**20])
def test_proteins_and_rna_are_errors(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read_in_chunks(monkeypatch, chunk)
    cache = tmp_path / "cache"
    path = written(tmp_path, "a.fa", b">chr1\nACGTNNNNACGTACGTACGR\n>p\nRVKDSBWNNYAG\n")
    message = r"a\.fa, line 3, record 'p': 67 % of the letters are not A, C, G, T or N; is this a protein\?"
    with pytest.raises(InputError, match=message):
        read_corpus([path], cache)
    assert len(read_corpus([path], cache, ambiguous_fraction=1.0).tokens) == 32
    with pytest.raises(InputError, match=message):
        read_corpus([path], cache)
    rna = written(tmp_path, "b.fa", b">r\nACGUACGU\n")
    with pytest.raises(
        InputError,
        match=r"line 1, record 'r': 25 % of the letters are U or ambiguous; is this RNA\?",
    ):
        read_corpus([rna], cache)


@given(st.lists(st.binary(max_size=12).map(lambda raw: bytes(b"ACGTN"[v % 5] for v in raw)), min_size=1, max_size=5))
def test_pieces_are_the_records(tmp_path_factory: pytest.TempPathFactory, records: list[bytes]) -> None:
    path = written(tmp_path_factory.mktemp("fasta"), "a.fa", b"".join(b">r\n%b\n" % record for record in records))
    wanted = [encode(record).tolist() for record in records if record]
    if wanted:
        assert [piece.tokens.tolist() for piece in token_pieces(path) if piece.begins] == wanted
    else:
        with pytest.raises(InputError, match=r"a\.fa: the file holds no sequence"):
            list(token_pieces(path))


READ_AND_SAMPLE = """
import re, resource, sys
from pathlib import Path
import numpy as np
from hyena.data.corpus import read_corpus

held_kb = int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
resource.setrlimit(resource.RLIMIT_DATA, ((held_kb + 40_000) * 1024,) * 2)  # memory of one's own, not mapped files
corpus = read_corpus([Path(sys.argv[1])], Path(sys.argv[2]))
starts = np.random.default_rng(0).integers(0, len(corpus.tokens) - 100, 64)
assert set(corpus.tokens[starts[:, None] + np.arange(100)].ravel().tolist()) == {7, 8, 9, 10}
print(len(corpus.tokens), *corpus.names)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_genome_larger_than_the_memory_allowed_is_stored_and_sampled(tmp_path: Path) -> None:
    """80 Mb in two records, within 40 MB beside the interpreter."""
    path = tmp_path / "genome.fa"
    letters = np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(0).integers(0, 4, (1000, 1000))]
    block = b"".join(line.tobytes() + b"\n" for line in letters)
    with path.open("wb") as stream:
        for record in range(2):
            stream.write(b">r%d\n" % record)
            for _ in range(40):
                stream.write(block)
    words = [sys.executable, "-c", READ_AND_SAMPLE, str(path), str(tmp_path / "cache")]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    assert found.stdout.split() == ["80000000", "r0", "r1"], found.stderr
