// The compiled half of seqkd/scoring/align.py: words to numbers, and minimum-cost alignments of whole test sets.
//
// Plain C interface, loaded with ctypes; seqkd/scoring/fallback.py computes the same without it, and the tests
// hold the two against each other. Nothing throws across the interface: -1 means out of memory.
//
// Legend: N reference tokens and M hypothesis tokens of one utterance.

#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

namespace {

enum Op : uint8_t { kMatch = 0, kSubstitution = 1, kDeletion = 2, kInsertion = 3 };

// What ends a word: the newline, and the other ASCII characters at which Python's str.split splits; the caller has
// replaced all other Unicode spaces.
struct Separators {
  bool is[256] = {};
  constexpr Separators() {
    for (int c = 9; c <= 13; ++c) is[c] = true;
    for (int c = 28; c <= 32; ++c) is[c] = true;
  }
};
constexpr Separators kSeparators;

inline bool separates(char c) { return kSeparators.is[static_cast<unsigned char>(c)]; }

inline uint64_t hash_bytes(const char* bytes, int64_t size) {
  uint64_t hash = 0x9e3779b97f4a7c15ull ^ static_cast<uint64_t>(size);
  while (size >= 8) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    hash = (hash ^ word) * 0xff51afd7ed558ccdull;
    hash ^= hash >> 32;
    bytes += 8;
    size -= 8;
  }
  uint64_t word = 0;
  std::memcpy(&word, bytes, static_cast<size_t>(size));
  hash = (hash ^ word) * 0xff51afd7ed558ccdull;
  return hash ^ (hash >> 29);
}

// An open-addressing table from words, which stay in the caller's text, to numbers in order of first occurrence.
class Vocabulary {
 public:
  Vocabulary(const char* text, int64_t* starts, int32_t* lengths)
      : text_(text), starts_(starts), lengths_(lengths), slots_(1 << 14, kFree) {}

  int32_t number(int64_t start, int32_t length) {
    uint64_t hash = hash_bytes(text_ + start, length);
    size_t slot = find(hash, start, length);
    if (slots_[slot].number >= 0) return slots_[slot].number;
    if (2 * (count_ + 1) > static_cast<int64_t>(slots_.size())) {
      grow();
      slot = find(hash, start, length);
    }
    starts_[count_] = start;
    lengths_[count_] = length;
    slots_[slot] = {static_cast<uint32_t>(hash >> 32), static_cast<int32_t>(count_)};
    return static_cast<int32_t>(count_++);
  }

  int64_t count() const { return count_; }

 private:
  struct Slot {
    uint32_t tag;
    int32_t number;
  };
  static constexpr Slot kFree{0, -1};

  size_t find(uint64_t hash, int64_t start, int32_t length) const {
    const size_t mask = slots_.size() - 1;
    const uint32_t tag = static_cast<uint32_t>(hash >> 32);
    size_t slot = hash & mask;
    while (slots_[slot].number >= 0) {
      const Slot& held = slots_[slot];
      if (held.tag == tag && lengths_[held.number] == length &&
          std::memcmp(text_ + starts_[held.number], text_ + start, static_cast<size_t>(length)) == 0) {
        break;
      }
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  void grow() {
    std::vector<Slot> larger(4 * slots_.size(), kFree);
    slots_.swap(larger);
    for (int64_t word = 0; word < count_; ++word) {
      uint64_t hash = hash_bytes(text_ + starts_[word], lengths_[word]);
      slots_[find(hash, starts_[word], lengths_[word])] = {static_cast<uint32_t>(hash >> 32),
                                                           static_cast<int32_t>(word)};
    }
  }

  const char* text_;
  int64_t* starts_;
  int32_t* lengths_;
  std::vector<Slot> slots_;
  int64_t count_ = 0;
};

struct Counts {
  int32_t substitutions, deletions, insertions;
};

// Aligns one utterance after the other, and keeps its buffers. `Cost` is wide enough for the largest sum.
template <typename Cost>
class Aligner {
 public:
  Aligner(Cost substitution, Cost deletion, Cost insertion)
      : substitution_(substitution), deletion_(deletion), insertion_(insertion) {}

  // Returns the number of operations, written to `ops` from its beginning.
  int64_t align(const int32_t* ref, int64_t n, const int32_t* hyp, int64_t m, uint8_t* ops) {
    // Equal last tokens are matched by every alignment chosen below: the diagonal is never worse there, and wins
    // ties. The same does not hold of first tokens, because the choice is made from the end.
    int64_t suffix = 0;
    while (suffix < n && suffix < m && ref[n - 1 - suffix] == hyp[m - 1 - suffix]) ++suffix;
    n -= suffix;
    m -= suffix;
    int64_t length = 0;
    if (n == 0 || m == 0) {
      std::memset(ops, n ? kDeletion : kInsertion, static_cast<size_t>(n + m));
      length = n + m;
    } else {
      fill(ref, n, hyp, m);
      length = trace(ref, n, hyp, m, ops);
    }
    std::memset(ops + length, kMatch, static_cast<size_t>(suffix));
    return length + suffix;
  }

 private:
  // Two bits a cell, 32 cells a word, each row from a new word.
  void fill(const int32_t* ref, int64_t n, const int32_t* hyp, int64_t m) {
    const int64_t stride = (m + 31) / 32;
    if (static_cast<int64_t>(row_.size()) < m + 1) row_.resize(m + 1);
    if (static_cast<int64_t>(steps_.size()) < n * stride) steps_.resize(n * stride);
    Cost* row = row_.data();
    for (int64_t j = 0; j <= m; ++j) row[j] = static_cast<Cost>(j) * insertion_;
    for (int64_t i = 0; i < n; ++i) {
      const int32_t token = ref[i];
      uint64_t* steps = steps_.data() + i * stride;
      Cost diagonal = row[0];
      Cost left = row[0] = row[0] + deletion_;
      for (int64_t begin = 0; begin < m; begin += 32) {
        const int64_t end = begin + 32 < m ? begin + 32 : m;
        uint64_t bits = 0;
        for (int64_t j = begin; j < end; ++j) {
          const Cost above = row[j + 1];
          const Cost across = diagonal + (token == hyp[j] ? Cost(0) : substitution_);
          const Cost down = above + deletion_;
          // sclite's order: the diagonal at any tie, a deletion only if it is strictly better than an insertion.
          const Cost vertical = across <= down ? across : down;
          const uint64_t choice = across <= down ? kSubstitution : kDeletion;
          left += insertion_;
          const bool insert = left < vertical || (left == vertical && choice == kDeletion);
          left = insert ? left : vertical;
          bits |= (insert ? uint64_t(kInsertion) : choice) << (2 * (j - begin));
          diagonal = above;
          row[j + 1] = left;
        }
        steps[begin / 32] = bits;
      }
    }
  }

  int64_t trace(const int32_t* ref, int64_t n, const int32_t* hyp, int64_t m, uint8_t* ops) {
    const int64_t stride = (m + 31) / 32;
    if (static_cast<int64_t>(reversed_.size()) < n + m) reversed_.resize(n + m);
    int64_t i = n, j = m, length = 0;
    while (i > 0 || j > 0) {
      uint8_t op = i == 0 ? kInsertion : kDeletion;
      if (i > 0 && j > 0) {
        op = (steps_[(i - 1) * stride + (j - 1) / 32] >> (2 * ((j - 1) % 32))) & 3;
        if (op == kSubstitution && ref[i - 1] == hyp[j - 1]) op = kMatch;
      }
      reversed_[length++] = op;
      i -= op != kInsertion;
      j -= op != kDeletion;
    }
    for (int64_t k = 0; k < length; ++k) ops[k] = reversed_[length - 1 - k];
    return length;
  }

  const Cost substitution_, deletion_, insertion_;
  std::vector<Cost> row_;
  std::vector<uint64_t> steps_;
  std::vector<uint8_t> reversed_;
};

Counts count(const uint8_t* ops, int64_t length) {
  Counts counts{0, 0, 0};
  for (int64_t k = 0; k < length; ++k) {
    counts.substitutions += ops[k] == kSubstitution;
    counts.deletions += ops[k] == kDeletion;
    counts.insertions += ops[k] == kInsertion;
  }
  return counts;
}

template <typename Cost>
int64_t align_all(int64_t utterances, const int32_t* ref, const int64_t* ref_offsets, const int32_t* hyp,
                  const int64_t* hyp_offsets, Cost substitution, Cost deletion, Cost insertion, bool keep,
                  uint8_t* ops, int64_t* op_offsets, Counts* counts) {
  Aligner<Cost> aligner(substitution, deletion, insertion);
  int64_t written = 0;
  for (int64_t u = 0; u < utterances; ++u) {
    const int64_t n = ref_offsets[u + 1] - ref_offsets[u], m = hyp_offsets[u + 1] - hyp_offsets[u];
    const int64_t length = aligner.align(ref + ref_offsets[u], n, hyp + hyp_offsets[u], m, ops + written);
    counts[u] = count(ops + written, length);
    if (keep) {
      written += length;
      op_offsets[u + 1] = written;
    }
  }
  return written;
}

}  // namespace

// Splits `lines` lines, separated by newlines, at ASCII spaces, and numbers the words.
//
// ids, starts, lengths: room for (size + 1) / 2 numbers each. ids: words of all lines, one after the other.
// offsets: lines + 1 numbers, where in ids each line begins. starts, lengths: where in text each distinct word is.
// Returns the number of distinct words, -1 without memory, -2 if there are not that many lines.
API int64_t seqkd_scoring_words(const char* text, int64_t size, int64_t lines, int32_t* ids, int64_t* offsets,
                                int64_t* starts, int32_t* lengths) try {
  Vocabulary vocabulary(text, starts, lengths);
  int64_t at = 0, written = 0;
  for (int64_t line = 0; line < lines; ++line) {
    offsets[line] = written;
    if (at > size) return -2;
    while (at < size && text[at] != '\n') {
      if (separates(text[at])) {
        ++at;
        continue;
      }
      const int64_t start = at;
      while (at < size && !separates(text[at])) ++at;
      ids[written++] = vocabulary.number(start, static_cast<int32_t>(at - start));
    }
    ++at;
  }
  offsets[lines] = written;
  return at == size + 1 ? vocabulary.count() : -2;
} catch (const std::bad_alloc&) {
  return -1;
}

// Aligns each utterance's reference with its hypothesis at least cost; see the fill above for ties.
//
// ref, hyp: tokens of all utterances, one after the other; *_offsets: utterances + 1, where each begins.
// substitution, deletion, insertion: costs; all 0 for fewest errors and, among those, fewest substitutions.
// keep: whether all operations are wanted; if not, ops is scratch space for one utterance.
// ops: room for all tokens, or if not kept for the longest utterance's, both sides together.
// op_offsets: utterances + 1 if kept. counts: utterances x (substitutions, deletions, insertions).
// Returns the number of operations kept, or -1 without memory.
API int64_t seqkd_scoring_align(int64_t utterances, const int32_t* ref, const int64_t* ref_offsets,
                                const int32_t* hyp, const int64_t* hyp_offsets, int32_t substitution,
                                int32_t deletion, int32_t insertion, int32_t keep, uint8_t* ops,
                                int64_t* op_offsets, int32_t* counts) try {
  int64_t longest = 0;
  for (int64_t u = 0; u < utterances; ++u) {
    const int64_t both = ref_offsets[u + 1] - ref_offsets[u] + hyp_offsets[u + 1] - hyp_offsets[u];
    longest = both > longest ? both : longest;
  }
  auto* counted = reinterpret_cast<Counts*>(counts);
  if (keep) op_offsets[0] = 0;
  if (!substitution) {
    // Errors in the upper half, substitutions in the lower: one number compares both, in this order.
    if (longest < (1 << 16)) {
      return align_all<uint32_t>(utterances, ref, ref_offsets, hyp, hyp_offsets, (1u << 16) + 1, 1u << 16, 1u << 16,
                                 keep, ops, op_offsets, counted);
    }
    return align_all<uint64_t>(utterances, ref, ref_offsets, hyp, hyp_offsets, (1ull << 32) + 1, 1ull << 32,
                               1ull << 32, keep, ops, op_offsets, counted);
  }
  const int64_t dearest = substitution > deletion ? substitution : deletion;
  if ((longest + 1) * (dearest > insertion ? dearest : insertion) < (int64_t(1) << 31)) {
    return align_all<uint32_t>(utterances, ref, ref_offsets, hyp, hyp_offsets, substitution, deletion, insertion,
                               keep, ops, op_offsets, counted);
  }
  return align_all<uint64_t>(utterances, ref, ref_offsets, hyp, hyp_offsets, substitution, deletion, insertion, keep,
                             ops, op_offsets, counted);
} catch (const std::bad_alloc&) {
  return -1;
}
