// What all aligners share: the operations, and how many of each there are.

#pragma once

#include <cstddef>
#include <cstdint>

namespace seqkd_scoring {

enum Op : uint8_t { kMatch = 0, kSubstitution = 1, kDeletion = 2, kInsertion = 3, kLeftOut = 4 };

struct Counts {
  int32_t substitutions, deletions, insertions;
};

inline Counts count(const uint8_t* ops, int64_t length) {
  Counts counts{0, 0, 0};
  for (int64_t k = 0; k < length; ++k) {
    counts.substitutions += ops[k] == kSubstitution;
    counts.deletions += ops[k] == kDeletion;
    counts.insertions += ops[k] == kInsertion;
  }
  return counts;
}

// Where one way of aligning ends and another begins. The tests make them so small that little ones meet all of it.
#ifdef SEQKD_SMALL_LIMITS
constexpr int64_t kShort = 0, kStray = 0, kLarge = 0, kNarrow = 2, kStripWords = 8;
constexpr size_t kKeptWords = 0;
#else
constexpr int64_t kShort = 900;             // cells up to which a table is as fast
constexpr int64_t kStray = 2;               // diagonals that the first table of a short utterance has to each side
constexpr int64_t kLarge = 1 << 22;         // cells from which a band is worth its finding
constexpr int64_t kNarrow = 64;             // errors that a narrow band always allows
constexpr int64_t kStripWords = 1 << 21;    // of the steps of a strip of a table: 16 MiB
constexpr size_t kKeptWords = 8 << 20;      // of the steps of groups that are kept: 64 MiB
#endif

// Diagonals j - i that a path with so many cells off the straight way can touch.
struct Band {
  int64_t least, most;
};

// `slack`: how far a path may leave the diagonals between the first cell and the last one of an n x m table.
inline Band band_of(int64_t n, int64_t m, int64_t slack) {
  const int64_t skew = m - n;
  return {(skew < 0 ? skew : 0) - slack, (skew > 0 ? skew : 0) + slack};
}

}  // namespace seqkd_scoring
