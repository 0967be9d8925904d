// The compiled half of seqkd/scoring/lattice.py: a reference with alternatives against a hypothesis.
//
// A row of the table of costs is an arc, that is a token of the lattice; above it is the best of the arcs that may
// come before. Rows are dropped when no later arc needs them. Where the steps of all cells are too many, only the
// rows that are needed at the start of each section of arcs are kept, and sections are filled again from the last to
// the first. Nothing throws across the interface.
//
// Legend: A arcs; M tokens of the hypothesis; R, the rank of an arc among those that may come before another.

#include <algorithm>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

#include "operations.h"

#define API extern "C" __attribute__((visibility("default")))

namespace seqkd_scoring {
namespace {

#ifdef SEQKD_SMALL_LIMITS
constexpr int64_t kCells = 40;
#else
constexpr int64_t kCells = 1 << 24;  // of a section, unless one block has more: 32 MiB of steps
#endif
constexpr int64_t kForbidden = int64_t(1) << 60;
constexpr int64_t kMostRanks = 1 << 13;

struct Arcs {
  int64_t count;
  const int32_t* words;  // -1: none
  const uint8_t* optional;
  const int64_t* offsets;  // A + 1, where in `before` each arc's begin
  const int32_t* before;   // -1: the beginning
  const int64_t* blocks;
  const int32_t* ends;
  int64_t end_count;
};

struct Weights {
  int64_t substitution, deletion, insertion, nothing, left_out;
};

class LatticeAligner {
 public:
  LatticeAligner(const Arcs& arcs, const int32_t* hyp, int64_t m, const Weights& weights)
      : arcs_(arcs), hyp_(hyp), m_(m), weights_(weights), rows_(arcs.count), last_use_(arcs.count, -1) {
    for (int64_t arc = 0; arc < arcs.count; ++arc) {
      for (int64_t k = arcs.offsets[arc]; k < arcs.offsets[arc + 1]; ++k) {
        if (arcs.before[k] >= 0) last_use_[arcs.before[k]] = arc;
      }
    }
    for (int64_t k = 0; k < arcs.end_count; ++k) {
      if (arcs.ends[k] >= 0) last_use_[arcs.ends[k]] = arcs.count;
    }
    start_.resize(m + 1);
    for (int64_t j = 0; j <= m; ++j) start_[j] = weights.insertion * j;
    best_.resize(m + 1);
    ranks_.resize(m + 1);
  }

  // Writes the operations and their arcs, from the last to the first, and returns their number.
  int64_t align(uint8_t* ops, int32_t* path) {
    std::vector<int64_t> begins{0};  // of sections
    for (int64_t arc = 1; arc < arcs_.count; ++arc) {
      if (arcs_.blocks[arc] != arcs_.blocks[arc - 1] && (arc - begins.back()) * (m_ + 1) > kCells) begins.push_back(arc);
    }
    std::vector<std::vector<std::pair<int64_t, std::vector<int64_t>>>> held(begins.size());
    for (size_t section = 0; section + 1 < begins.size(); ++section) {
      for (int64_t arc = begins[section]; arc < begins[section + 1]; ++arc) fill(arc, nullptr);
      for (int64_t arc = 0; arc < begins[section + 1]; ++arc) {
        if (!rows_[arc].empty()) held[section + 1].emplace_back(arc, rows_[arc]);
      }
    }
    int64_t length = 0, j = m_, arc = -1;
    for (size_t section = begins.size(); section-- > 0;) {
      const int64_t begin = begins[section];
      const int64_t end = section + 1 < begins.size() ? begins[section + 1] : arcs_.count;
      if (section + 1 < begins.size()) {
        for (auto& row : rows_) row.clear();
        for (auto& [index, row] : held[section]) rows_[index] = row;
      }
      held[section].clear();
      steps_.resize((end - begin) * (m_ + 1));
      for (int64_t one = begin; one < end; ++one) fill(one, steps_.data() + (one - begin) * (m_ + 1));
      if (end == arcs_.count) {
        arc = arcs_.ends[0];
        for (int64_t k = 1; k < arcs_.end_count; ++k) {
          if (row(arcs_.ends[k])[m_] < row(arc)[m_]) arc = arcs_.ends[k];
        }
      }
      while (arc >= begin && arc >= 0) {
        const uint16_t step = steps_[(arc - begin) * (m_ + 1) + j];
        const uint8_t op = step & 7;
        ops[length] = op;
        path[length++] = static_cast<int32_t>(arc);
        j -= op == kMatch || op == kSubstitution || op == kInsertion;
        if (op != kInsertion) arc = arcs_.before[arcs_.offsets[arc] + (step >> 3)];
      }
    }
    for (; j > 0; --j) {
      ops[length] = kInsertion;
      path[length++] = -1;
    }
    return length;
  }

 private:
  const std::vector<int64_t>& row(int64_t arc) const { return arc < 0 ? start_ : rows_[arc]; }

  void fill(int64_t arc, uint16_t* steps) {
    const int64_t first = arcs_.offsets[arc], count = arcs_.offsets[arc + 1] - first;
    const int64_t* above = row(arcs_.before[first]).data();
    if (count > 1) {
      std::copy_n(above, m_ + 1, best_.begin());
      std::fill(ranks_.begin(), ranks_.end(), uint16_t(0));
      for (int64_t rank = 1; rank < count; ++rank) {
        const std::vector<int64_t>& other = row(arcs_.before[first + rank]);
        for (int64_t j = 0; j <= m_; ++j) {
          if (other[j] < best_[j]) best_[j] = other[j], ranks_[j] = static_cast<uint16_t>(rank << 3);
        }
      }
      above = best_.data();
    }
    const int32_t word = arcs_.words[arc];
    const bool optional = arcs_.optional[arc];
    const int64_t skip = word < 0 ? weights_.nothing : optional ? weights_.left_out : weights_.deletion;
    const uint16_t skip_op = optional ? kLeftOut : kDeletion;
    const int64_t substitution = word < 0 ? kForbidden : weights_.substitution;
    std::vector<int64_t>& out = spare_;
    out.resize(m_ + 1);
    const bool several = count > 1;
    int64_t right = out[0] = above[0] + skip;
    if (steps) steps[0] = static_cast<uint16_t>(skip_op | (several ? ranks_[0] : 0));
    for (int64_t j = 1; j <= m_; ++j) {
      const bool same = word == hyp_[j - 1];
      const int64_t across = above[j - 1] + (same ? 0 : substitution), down = above[j] + skip;
      right += weights_.insertion;
      uint16_t step;
      if (across <= down && across <= right) {
        right = across;
        step = static_cast<uint16_t>((same ? kMatch : kSubstitution) | (several ? ranks_[j - 1] : 0));
      } else if (down < right) {
        right = down;
        step = static_cast<uint16_t>(skip_op | (several ? ranks_[j] : 0));
      } else {
        step = kInsertion;
      }
      out[j] = right;
      if (steps) steps[j] = step;
    }
    spare_.swap(rows_[arc]);
    for (int64_t k = first; k < arcs_.offsets[arc + 1]; ++k) {
      const int32_t used = arcs_.before[k];
      if (used >= 0 && last_use_[used] == arc) std::vector<int64_t>().swap(rows_[used]);
    }
  }

  const Arcs arcs_;
  const int32_t* hyp_;
  const int64_t m_;
  const Weights weights_;
  std::vector<std::vector<int64_t>> rows_;
  std::vector<int64_t> last_use_, start_, best_, spare_;
  std::vector<uint16_t> ranks_, steps_;
};

}  // namespace
}  // namespace seqkd_scoring

// Aligns a lattice of at least one arc with a hypothesis; seqkd.scoring.lattice.align says how ties are decided.
//
// words: A numbers, -1 for an arc without a word, that no hyp has. offsets, before: A + 1, and the arcs that may come
// before each one. weights: of a substitution, a deletion, an insertion, passing by an arc without a word, leaving an
// optional word out. ops, path: room for A + M, the operations and their arcs (of an insertion the arc before it),
// from the last to the first.
// Returns the number of operations; -1 without memory; -2 if more arcs than 8192 may come before one.
API int64_t seqkd_scoring_lattice(int64_t arcs, const int32_t* words, const uint8_t* optional, const int64_t* offsets,
                                  const int32_t* before, const int64_t* blocks, const int32_t* ends,
                                  int64_t end_count, const int32_t* hyp, int64_t m, const int64_t* weights,
                                  uint8_t* ops, int32_t* path) try {
  using namespace seqkd_scoring;
  for (int64_t arc = 0; arc < arcs; ++arc) {
    if (offsets[arc + 1] - offsets[arc] > kMostRanks) return -2;
  }
  const Arcs all{arcs, words, optional, offsets, before, blocks, ends, end_count};
  LatticeAligner aligner(all, hyp, m, {weights[0], weights[1], weights[2], weights[3], weights[4]});
  return aligner.align(ops, path);
} catch (const std::bad_alloc&) {
  return -1;
}
