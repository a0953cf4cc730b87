"""Embedding notes against sentence-transformers' own `encode`, the two interleaved in one process.

    OMP_NUM_THREADS=1 python benchmarks/embedding.py [--notes 120] [--repetitions 5] [--corpus FOLDER]

`embed_notes` does more than its peer: it chunks, tokenises twice, hashes, batches, stores and reads back. The peer gets
the finished chunks as a list. Both embed the same tokens, and vectors are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clinical.notes import chunk_note, embed_notes, load_encoder
from clinical.notes.embedding import CHUNK_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable

CORPUS = Path(__file__).parents[2] / "shared" / "data" / "codiesp"


def main() -> None:
    options = parse_options()
    paths = sorted(options.corpus.glob("**/text_files_en/*"))[: options.notes]
    if not paths:
        raise SystemExit(f"{options.corpus} has no text_files_en: give a folder of CodiEsp with --corpus")
    texts = [path.read_text(encoding="utf-8") for path in paths]
    encoder = load_encoder("")
    chunks = [chunk for text in texts for chunk in chunk_note(text, encoder.tokenizer, max_tokens=CHUNK_TOKENS)]
    tokens = sum(map(len, encoder.tokenizer.encode_batch(chunks)))
    model = encoder._model  # noqa: SLF001 - the peer must be the very same weights

    def plain() -> np.ndarray:
        return model.encode(chunks, show_progress_bar=False)

    def ours(folder: str) -> np.ndarray:
        return embed_notes(texts, encoder, side_car=Path(folder), progress=False).vectors

    with tempfile.TemporaryDirectory() as folder:
        difference = float(np.abs(plain() - ours(folder).astype(np.float32)).max())
        warm = statistics.median(seconds(lambda: ours(folder)) for _ in range(options.repetitions))
    times: list[tuple[float, float]] = []
    for _ in range(options.repetitions):
        with tempfile.TemporaryDirectory() as folder:
            times.append((seconds(plain), seconds(lambda folder=folder: ours(folder))))
    read = sum(min(len(encoding), encoder.max_tokens) for encoding in encoder.tokenizer.encode_batch(texts))
    print(f"{len(texts)} notes, {len(chunks)} chunks, {tokens} tokens, {encoder.identity}")
    print(f"largest difference of a vector's component (stored as float16): {difference:.1e}")
    report("SentenceTransformer.encode, chunks given", [tokens / plain_s for plain_s, _ in times], "tokens/s", digits=0)
    report("embed_notes, empty side-car", [tokens / ours_s for _, ours_s in times], "tokens/s", digits=0)
    report("ratio, embed_notes / encode", [plain_s / ours_s for plain_s, ours_s in times], "x", digits=3)
    print(f"{'embed_notes, complete side-car':42s} {warm * 1000:8.1f} ms for all notes")
    print(f"{'encode on whole notes would have read':42s} {100 * read / tokens:8.1f} % of the tokens")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notes", type=int, default=120)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    return parser.parse_args()


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def report(name: str, values: list[float], unit: str, *, digits: int) -> None:
    spread = f"{min(values):.{digits}f} to {max(values):.{digits}f}"
    print(f"{name:42s} {statistics.median(values):8.{digits}f} {unit} (median of {len(values)}; {spread})")


if __name__ == "__main__":
    main()
