// Minimum-cost alignment by the table of all costs, cell after cell, for any costs.
//
// Small tables keep a step of each cell, two bits. Large ones are filled twice, in strips of rows: the first time
// only the row before each strip is kept, the second time, from the last strip to the first, the steps of one strip.
// Both may be confined to a band of diagonals that holds every best path.
//
// Legend: N reference tokens (rows) and M hypothesis tokens (columns) of one utterance.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "operations.h"

namespace seqkd_scoring {

// Aligns one utterance after the other, and keeps its buffers. `Cost` is wide enough for twice the largest sum.
template <typename Cost>
class TableAligner {
 public:
  TableAligner(Cost substitution, Cost deletion, Cost insertion)
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
      length = in_band(ref, n, hyp, m, band_of(n, m, n + m), ops);
    }
    std::memset(ops + length, kMatch, static_cast<size_t>(suffix));
    return length + suffix;
  }

  // The same within a band that must hold every path of least cost.
  int64_t in_band(const int32_t* ref, int64_t n, const int32_t* hyp, int64_t m, Band band, uint8_t* ops) {
    band = {std::max(band.least, -n), std::min(band.most, m)};
    // Columns a row may have in the band, in words of 32 steps.
    stride_ = (std::min(m, band.most - band.least + 1) + 31) / 32 + 1;
    const int64_t strip = std::min(n, std::max<int64_t>(1, kStripWords / stride_));
    if (static_cast<int64_t>(row_.size()) < m + 1) row_.resize(m + 1);
    if (static_cast<int64_t>(steps_.size()) < strip * stride_) steps_.resize(strip * stride_);
    if (static_cast<int64_t>(reversed_.size()) < n + m) reversed_.resize(n + m);
    for (int64_t j = 0; j <= m; ++j) row_[j] = j <= band.most ? static_cast<Cost>(j) * insertion_ : kFar;
    const int64_t last = (n - 1) / strip * strip;
    starts_.clear();
    for (int64_t begin = 0; begin < last; begin += strip) {
      starts_.insert(starts_.end(), row_.begin(), row_.begin() + m + 1);
      fill(ref, begin, begin + strip, hyp, m, band);
    }
    int64_t i = n, j = m, length = 0;
    for (int64_t begin = last; begin >= 0; begin -= strip) {
      if (begin < last) std::copy_n(starts_.begin() + begin / strip * (m + 1), m + 1, row_.begin());
      fill(ref, begin, std::min(n, begin + strip), hyp, m, band);
      trace(ref, begin, hyp, band, i, j, length);
    }
    for (; j > 0; --j) reversed_[length++] = kInsertion;
    for (int64_t k = 0; k < length; ++k) ops[k] = reversed_[length - 1 - k];
    return length;
  }

 private:
  static constexpr Cost kFar = Cost(1) << (8 * sizeof(Cost) - 2);

  static int64_t first_column(int64_t row, Band band) { return std::max<int64_t>(0, row + band.least - 1); }

  // Fills rows begin + 1 to end, from row_, which is row `begin`. Two bits a cell, 32 cells a word, each row from a
  // new word.
  void fill(const int32_t* ref, int64_t begin, int64_t end, const int32_t* hyp, int64_t m, Band band) {
    Cost* row = row_.data();
    for (int64_t i = begin; i < end; ++i) {
      const int32_t token = ref[i];
      uint64_t* steps = steps_.data() + (i - begin) * stride_;
      // Cells of columns from + 1 to to, of which the last may be new: nothing is above it.
      const int64_t from = first_column(i + 1, band), to = std::min(m, i + 1 + band.most);
      if (i + band.most < to) row[to] = kFar;
      Cost diagonal = row[from];
      Cost left = row[from] = i + 1 + band.least <= 0 ? row[from] + deletion_ : kFar;
      for (int64_t first = from; first < to; first += 32) {
        const int64_t past = first + 32 < to ? first + 32 : to;
        uint64_t bits = 0;
        for (int64_t j = first; j < past; ++j) {
          const Cost above = row[j + 1];
          const Cost across = diagonal + (token == hyp[j] ? Cost(0) : substitution_);
          const Cost down = above + deletion_;
          // sclite's order: the diagonal at any tie, a deletion only if it is strictly better than an insertion.
          const Cost vertical = across <= down ? across : down;
          const uint64_t choice = across <= down ? kSubstitution : kDeletion;
          left += insertion_;
          const bool insert = left < vertical || (left == vertical && choice == kDeletion);
          left = insert ? left : vertical;
          bits |= (insert ? uint64_t(kInsertion) : choice) << (2 * (j - first));
          diagonal = above;
          row[j + 1] = left;
        }
        steps[(first - from) / 32] = bits;
      }
    }
  }

  // Goes back from cell i, j to row `begin`.
  void trace(const int32_t* ref, int64_t begin, const int32_t* hyp, Band band, int64_t& i, int64_t& j,
             int64_t& length) {
    while (i > begin) {
      uint8_t op = kDeletion;
      if (j > 0) {
        const int64_t at = j - 1 - first_column(i, band);
        op = (steps_[(i - 1 - begin) * stride_ + at / 32] >> (2 * (at % 32))) & 3;
        if (op == kSubstitution && ref[i - 1] == hyp[j - 1]) op = kMatch;
      }
      reversed_[length++] = op;
      i -= op != kInsertion;
      j -= op != kDeletion;
    }
  }

  const Cost substitution_, deletion_, insertion_;
  int64_t stride_ = 0;
  std::vector<Cost> row_, starts_;
  std::vector<uint64_t> steps_;
  std::vector<uint8_t> reversed_;
};

}  // namespace seqkd_scoring
