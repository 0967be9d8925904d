// The compiled half of number_words of seqkd/scoring/align.py: words to numbers.
//
// Plain C interface, loaded with ctypes; seqkd/scoring/fallback.py computes the same without it. Nothing throws
// across the interface: -1 means out of memory.

#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

namespace {

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

// The end of the word that begins at `at`. Eight characters are looked at together for one as small as separators are.
inline int64_t end_of_word(const char* text, int64_t size, int64_t at) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  constexpr uint64_t kOnes = 0x0101010101010101ull;
  while (at + 8 <= size) {
    uint64_t eight;
    std::memcpy(&eight, text + at, 8);
    const uint64_t small = (eight - 0x21 * kOnes) & ~eight & (0x80 * kOnes);  // of those below 0x21, the first is right
    if (!small) {
      at += 8;
      continue;
    }
    at += __builtin_ctzll(small) / 8;
    if (separates(text[at])) return at;
    ++at;  // another control character
  }
#endif
  while (at < size && !separates(text[at])) ++at;
  return at;
}

constexpr uint64_t kMix = 0xff51afd7ed558ccdull;

// An open-addressing table from words, which stay in the caller's text, to numbers in order of first occurrence. Most
// words have at most eight bytes, which are compared as one number.
class Vocabulary {
 public:
  Vocabulary(const char* text, int64_t size, int64_t* starts, int32_t* lengths)
      : text_(text), size_(size), starts_(starts), lengths_(lengths), slots_(1 << 14, kFree) {}

  int32_t number(int64_t start, int32_t length) {
    const uint64_t head = first_bytes(start, length);
    const uint64_t hash = hash_of(head, start, length);
    size_t slot = find(hash, head, start, length);
    if (slots_[slot].number >= 0) return slots_[slot].number;
    if (2 * (count_ + 1) > static_cast<int64_t>(slots_.size())) {
      grow();
      slot = find(hash, head, start, length);
    }
    starts_[count_] = start;
    lengths_[count_] = length;
    slots_[slot] = {head, length, static_cast<int32_t>(count_)};
    return static_cast<int32_t>(count_++);
  }

  int64_t count() const { return count_; }

 private:
  struct Slot {
    uint64_t head;
    int32_t length, number;
  };
  static constexpr Slot kFree{0, 0, -1};

  // The first eight bytes, or as many as there are.
  uint64_t first_bytes(int64_t start, int32_t length) const {
    uint64_t head = 0;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (start + 8 <= size_) {
      std::memcpy(&head, text_ + start, 8);
      return length >= 8 ? head : head & ((uint64_t(1) << (8 * length)) - 1);
    }
#endif
    std::memcpy(&head, text_ + start, static_cast<size_t>(length < 8 ? length : 8));
    return head;
  }

  uint64_t hash_of(uint64_t head, int64_t start, int32_t length) const {
    uint64_t hash = (head ^ 0x9e3779b97f4a7c15ull ^ static_cast<uint64_t>(length)) * kMix;
    for (int32_t at = 8; at < length; at += 8) {
      hash = ((hash ^ (hash >> 32)) ^ first_bytes(start + at, length - at)) * kMix;
    }
    return hash ^ (hash >> 29);
  }

  size_t find(uint64_t hash, uint64_t head, int64_t start, int32_t length) const {
    const size_t mask = slots_.size() - 1;
    size_t slot = hash & mask;
    while (slots_[slot].number >= 0) {
      const Slot& held = slots_[slot];
      if (held.head == head && held.length == length &&
          (length <= 8 || std::memcmp(text_ + starts_[held.number] + 8, text_ + start + 8,
                                      static_cast<size_t>(length - 8)) == 0)) {
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
      const uint64_t head = first_bytes(starts_[word], lengths_[word]);
      const uint64_t hash = hash_of(head, starts_[word], lengths_[word]);
      slots_[find(hash, head, starts_[word], lengths_[word])] = {head, lengths_[word], static_cast<int32_t>(word)};
    }
  }

  const char* text_;
  const int64_t size_;
  int64_t* starts_;
  int32_t* lengths_;
  std::vector<Slot> slots_;
  int64_t count_ = 0;
};

}  // namespace

// Splits `lines` lines, separated by newlines, at ASCII spaces, and numbers the words.
//
// ids, starts, lengths: room for (size + 1) / 2 numbers each. ids: words of all lines, one after the other.
// offsets: lines + 1 numbers, where in ids each line begins. starts, lengths: where in text each distinct word is.
// Returns the number of distinct words, -1 without memory, -2 if there are not that many lines.
API int64_t seqkd_scoring_words(const char* text, int64_t size, int64_t lines, int32_t* ids, int64_t* offsets,
                                int64_t* starts, int32_t* lengths) try {
  Vocabulary vocabulary(text, size, starts, lengths);
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
      at = end_of_word(text, size, at);
      ids[written++] = vocabulary.number(start, static_cast<int32_t>(at - start));
    }
    ++at;
  }
  offsets[lines] = written;
  return at == size + 1 ? vocabulary.count() : -2;
} catch (const std::bad_alloc&) {
  return -1;
}
