"""How long do data sets of the largest official size take to load, and how much memory?

Writes a synthetic data set with the counts of human_ensembl_regulatory (289,061 sequences of 71 to 802 letters) as
archive, folder and CSV tables (not timed), and measures each step in a fresh process: the first load (files to cached
tokens), the next load (cache to memory map), the padding of all splits to 500 positions, and the leakage audit of a
second data set, made in memory: 300,000 sequences of 500 letters, half of them in train, one in a thousand copied from
there to test. Importing torch is not counted. No warm-up; the files are in the page cache, as after a download. Prints
one JSON object: seconds, CPU seconds and peak resident memory of each, hardware and versions. n is the number of
repetitions.

    python benchmarks/data_loading.py -n 3 -o data_loading.json
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import add_output, finish, header  # noqa: E402

NAME = "human_ensembl_regulatory"

STEP = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from hyena.data.batches import padded
from hyena.data.datasets import DatasetSource, load_dataset
from hyena.leakage.audit import audit
from hyena.data.sequences import Split, assemble

def made(sequences, letters):
    rng = np.random.default_rng(0)
    tokens = rng.integers(7, 11, (sequences, letters), dtype=np.uint8)
    half = sequences // 2
    tokens[half::1000] = tokens[:half:1000]
    splits = {}
    for name, part in (("train", tokens[:half]), ("test", tokens[half:])):
        splits[name] = Split(part.ravel(), np.arange(len(part) + 1) * letters, np.arange(len(part)) % 2)
    return assemble("made", ("a", "b"), splits)

step, format, path, cache, sequences = sys.argv[1:]
wall, cpu = time.perf_counter(), time.process_time()
if step == "audit":
    dataset = made(int(sequences), 500)
else:
    dataset = load_dataset("made", DatasetSource(format, Path(path)), cache_dir=Path(cache))
if step in ("pad", "audit"):
    wall, cpu = time.perf_counter(), time.process_time()
    if step == "audit":
        copies = audit(dataset).flags["exact_duplicate", "test", "train", "any"].sum()
        assert copies == -(-(int(sequences) // 2) // 1000), copies
    else:
        for split in dataset.splits.values():
            padded(split, 500, "right")
print(json.dumps({
    "seconds": round(time.perf_counter() - wall, 3),
    "cpu_s": round(time.process_time() - cpu, 3),
    "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
    "sequences": sum(map(len, dataset.splits.values())),
}))
"""


def write(folder: Path, share: float) -> dict[str, Path]:
    """The same sequences as archive, folder and tables, by format."""
    from hyena.data.catalogue import OFFICIAL

    entry = OFFICIAL[NAME]
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", np.uint8)
    (folder / "tables").mkdir()
    with zipfile.ZipFile(folder / f"{NAME}_v0.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for split, counts in (("train", entry.train), ("test", entry.test)):
            rows = ["sequence,label"]
            for label, count in counts.items():
                (folder / "folder" / split / label).mkdir(parents=True)
                for i in range(max(1, int(count * share))):
                    length = rng.integers(entry.shortest_bp, entry.longest_bp + 1)
                    sequence = letters[rng.integers(0, 4, length)].tobytes().decode()
                    archive.writestr(f"{NAME}/{split}/{label}/{i}.txt", sequence)
                    (folder / "folder" / split / label / f"{i}.txt").write_text(sequence)
                    rows.append(f"{sequence},{label}")
            (folder / "tables" / f"{split}.csv").write_text("\n".join(rows) + "\n")
    return {"archive": folder / f"{NAME}_v0.zip", "folder": folder / "folder", "tables": folder / "tables"}


def measure(step: str, format: str, path: Path, cache: Path, sequences: int = 0) -> dict[str, float]:
    command = [sys.executable, "-c", STEP, step, format, str(path), str(cache), str(sequences)]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=3, help="repetitions")
    parser.add_argument("--share", type=float, default=1.0, help="of the sequences, for a quick look")
    add_output(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        places = write(folder, options.share)
        results: dict[str, list[dict[str, float]]] = {}
        for repetition in range(options.n):
            for what, path in places.items():
                format = "csv" if what == "tables" else "genomic_benchmarks"
                cache = folder / f"cache-{repetition}"
                results.setdefault(f"first load, {what}", []).append(measure("load", format, path, cache))
                results.setdefault(f"next load, {what}", []).append(measure("load", format, path, cache))
            results.setdefault("padding to 500", []).append(measure("pad", format, path, cache))
            results.setdefault("leakage audit", []).append(
                measure("audit", format, path, cache, int(300_000 * options.share))
            )
    head = header(__doc__.splitlines()[0], None, options, ("numpy", "torch", "pyarrow"))
    finish(head | {"results": results}, options.output)


if __name__ == "__main__":
    main()
