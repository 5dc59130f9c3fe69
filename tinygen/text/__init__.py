"""Text: tokenizers with one interface, vocabularies, padding, masks and batches by length.

>>> tokenizer = CharTokenizer().fit(["to be", "or not"])
>>> tokenizer.decode(tokenizer.encode("not to be"))
'not to be'
"""

from .batching import BucketSampler, PadCollate
from .bpe import BPETokenizer
from .files import load_tokenizer
from .pairs import pair_tokenizers
from .sequences import causal_mask, pad_sequences, padding_mask, sequence_mask, to_categorical
from .tokenizers import CharTokenizer, Tokenizer
from .vectors import word_vectors
from .vocabulary import SPECIALS, Vocabulary
from .words import WordTokenizer, split_words

__all__ = [
    "SPECIALS", "BPETokenizer", "BucketSampler", "CharTokenizer", "PadCollate", "Tokenizer",
    "Vocabulary", "WordTokenizer", "causal_mask", "load_tokenizer", "pad_sequences",
    "padding_mask", "pair_tokenizers", "sequence_mask", "split_words", "to_categorical",
    "word_vectors",
]
