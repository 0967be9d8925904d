"""The book: teacher outputs of each utterance, written once by any number of processes and read many times.

    manifest = Manifest(teachers=(TeacherId("large", "9f2c..."),), units=tokenizer.hash, classes=500, blank=0,
                        frame_shift_ms=40.0, form=TopK(8))
    with BookWriter("book", manifest, shard=rank, shards=world) as writer:
        for utterance, seed in writer.todo(ids):
            writer.add(utterance, log_probs, seed=seed)       # (T, C)

    book = Book.open("book").require(units=tokenizer.hash, classes=500, temperature=1.0, utterances=ids)
    log_probs, lengths = book.collate(["utt1", "utt2"])       # (B, T, C), (B,)
    kept, lengths = book.collate_sparse(["utt1", "utt2"])     # for seqkd.losses.sparse_kd_loss

An entry is (T, C), with T CTC frames, target positions of an encoder-decoder model, or seconds of a song. Any other
source of posteriors that can be iterated over may write a book; ``seqkd book info|verify|merge`` looks after them.
"""

from seqkd.knowledge.augmentation import Transform
from seqkd.knowledge.book import Book, BookEntry
from seqkd.knowledge.care import Fault, Info, info, merge, verify
from seqkd.knowledge.ensemble import Uncertainty, dev_loss_weights, mix, uniform_weights
from seqkd.knowledge.forms import Dense, Sampled, TopK
from seqkd.knowledge.manifest import Manifest, TeacherId
from seqkd.knowledge.writer import BookWriter, TeacherOutput, write_book

__all__ = [
    "Book",
    "BookEntry",
    "BookWriter",
    "Dense",
    "Fault",
    "Info",
    "Manifest",
    "Sampled",
    "TeacherId",
    "TeacherOutput",
    "TopK",
    "Transform",
    "Uncertainty",
    "dev_loss_weights",
    "info",
    "merge",
    "mix",
    "uniform_weights",
    "verify",
    "write_book",
]
