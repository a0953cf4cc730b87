"""Notes into vectors: section-aware chunks, a frozen sentence encoder, and a side-car that embeds each text once.

A note is cut at its sections and sentences into chunks the encoder can read whole (`chunks`), every distinct chunk is
embedded once on the hospital's own machine (`encoders`, the only module that knows sentence-transformers), and the
vectors are kept beside the hospital's data (`side_car`), so that a study starts from vectors and text never moves.
Importing this package imports neither torch nor sentence-transformers, and reading a complete side-car needs neither.
"""

from clinical.notes.chunks import chunk_note
from clinical.notes.embedding import Embeddings, embed_notes
from clinical.notes.encoders import Encoder, EncoderUnavailable, SentenceEncoder, load_encoder

__all__ = [
    "Embeddings",
    "Encoder",
    "EncoderUnavailable",
    "SentenceEncoder",
    "chunk_note",
    "embed_notes",
    "load_encoder",
]
