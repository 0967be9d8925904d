// Fewest errors and, among those, fewest substitutions, 64 cells of the table at a time.
//
// 1. `measure` goes over the table of distances from its end, that is over both sequences turned round, 64 rows in a
//    word (Myers, JACM 1999, in the form of Hyyrö 2003). It keeps no cell: only what leaves each group of rows below,
//    two bits a column, and its state at every 64th column. Only a band of diagonals is gone over (Ukkonen 1985); the
//    distance found in too narrow a band is still that of some path, and so the width of one that is enough.
// 2. `sweep` goes forward from the first cell along the steps of least distance alone, over the cells that lie on a
//    path with the fewest errors. They are few, but where a text repeats itself. What it needs of the table it makes
//    again, tile by tile. Of each cell it counts the fewest substitutions so far, and notes the step that gives them.
// 3. `trace` reads the noted steps back from the last cell. Where they were too many to keep, a group is swept again.
//
// All indices are of the sequences turned round: row i and column j stand for the last i tokens of the reference and
// the last j of the hypothesis. Cell (0, 0) is the end of both, cell (N, M) the beginning.
//
// Legend: N reference tokens (rows), M hypothesis tokens (columns); G words of a group; W columns of a tile.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "operations.h"

namespace seqkd_scoring {

// The tokens of one utterance under small numbers, turned round; of the hypothesis those that the reference lacks are
// all one.
class Alphabet {
 public:
  void assign(const int32_t* ref, int64_t n, const int32_t* hyp, int64_t m) {
    size_t size = 16;
    while (size < 2 * static_cast<size_t>(n)) size *= 2;
    slots_.assign(size, Slot{0, -1});
    rows.resize(n);
    columns.resize(m);
    count = 0;
    for (int64_t i = 0; i < n; ++i) {
      Slot& slot = find(ref[n - 1 - i]);
      if (slot.number < 0) slot = {ref[n - 1 - i], count++};
      rows[i] = slot.number;
    }
    for (int64_t j = 0; j < m; ++j) {
      const int32_t number = find(hyp[m - 1 - j]).number;
      columns[j] = number < 0 ? count : number;
    }
  }

  std::vector<int32_t> rows, columns;  // N, M
  int32_t count = 0;                   // distinct tokens of the reference; also the number of all others

 private:
  struct Slot {
    int32_t token, number;
  };

  Slot& find(int32_t token) {
    const size_t mask = slots_.size() - 1;
    size_t at = (static_cast<uint32_t>(token) * 0x9e3779b1u >> 7) & mask;
    while (slots_[at].number >= 0 && slots_[at].token != token) at = (at + 1) & mask;
    return slots_[at];
  }

  std::vector<Slot> slots_;
};

template <int G>
class BitAligner {
 public:
  // Returns the counts; writes the operations and their number if `ops` is given.
  Counts align(const Alphabet& alphabet, int64_t n, int64_t m, uint8_t* ops, int64_t* length) {
    alphabet_ = &alphabet;
    n_ = n;
    m_ = m;
    groups_ = (n + kRows - 1) / kRows;
    masks_.assign(static_cast<size_t>(alphabet.count + 1) * G, 0);
    const int64_t longer = std::max(n, m), skew = m > n ? m - n : n - m;
    int64_t guess = skew + kNarrow + longer / 16;
    if (guess > longer || (groups_ < 4 && kShort > 0)) guess = longer;  // no more errors than that
    int64_t errors = measure(guess);
    if (errors > guess) errors = measure(errors);
    const int64_t substitutions = sweep_all(ops != nullptr);
    const int64_t deletions = (errors - substitutions + n - m) / 2;
    if (ops) {
      *length = m + deletions;
      trace(ops, *length);
    }
    return {static_cast<int32_t>(substitutions), static_cast<int32_t>(deletions),
            static_cast<int32_t>(errors - substitutions - deletions)};
  }

 private:
  static constexpr int64_t kRows = 64 * G;   // of a group
  static constexpr int64_t kTile = 64;       // W
  static constexpr int32_t kNone = 1 << 30;  // no path

  // 64 rows: the differences from row to row, +1 and -1.
  struct Column {
    uint64_t up, down;
  };

  // Of a group: its columns, from a multiple of W; where its data are; and what it was entered by from below.
  struct Group {
    int64_t from, to;
    size_t carries, borders;
    int64_t entry = -1;            // the greatest column of an entry
    std::vector<int32_t> diagonal;  // substitutions of an entry by a match or a substitution at column entry - k
    std::vector<int32_t> vertical;  // the same by a deletion
    std::vector<uint64_t> steps;    // insertions and deletions, 2 G words a column, from column `first` down
    int64_t first = -1;
  };

  struct Step {
    uint64_t equal, on, right;  // matches; matches and substitutions of least distance; insertions of it
  };

  // One column further of one word. `plus` and `minus` come from the word before, and go to the next one.
  static void advance(uint64_t equal, Column& column, uint64_t& plus, uint64_t& minus, Step* step = nullptr) {
    const uint64_t matches = equal | minus;
    const uint64_t zero = (((matches & column.up) + column.up) ^ column.up) | matches | column.down;
    uint64_t right = column.down | ~(zero | column.up), left = zero & column.up;
    if (step) *step = {equal, equal | ~zero, right};
    const uint64_t plus_out = right >> 63, minus_out = left >> 63;
    right = right << 1 | plus;
    left = left << 1 | minus;
    column = {left | ~(zero | right), zero & right};
    plus = plus_out;
    minus = minus_out;
  }

  void set_masks(int64_t group) {
    const int64_t begin = group * kRows, end = std::min(n_, begin + kRows);
    for (int64_t i = begin; i < end; ++i) {
      masks_[alphabet_->rows[i] * G + (i - begin) / 64] |= uint64_t(1) << ((i - begin) % 64);
    }
  }

  void clear_masks(int64_t group) {
    const int64_t begin = group * kRows, end = std::min(n_, begin + kRows);
    for (int64_t i = begin; i < end; ++i) masks_[alphabet_->rows[i] * G + (i - begin) / 64] = 0;
  }

  // What enters a group's first word, 64 columns a word: the carries of the group above, and +1 where it has none.
  void read_carries(int64_t group) {
    const Group& own = group_[group];
    const size_t words = static_cast<size_t>((own.to - own.from + 63) / 64);
    plus_.assign(words, ~uint64_t(0));
    minus_.assign(words, 0);
    if (group == 0) return;
    const Group& above = group_[group - 1];
    const size_t shift = static_cast<size_t>((own.from - above.from) / 64);
    const size_t held = static_cast<size_t>((above.to - above.from + 63) / 64);
    for (size_t word = 0; word < words && word + shift < held; ++word) {
      plus_[word] = carries_[above.carries + 2 * (word + shift)];
      minus_[word] = carries_[above.carries + 2 * (word + shift) + 1];
      const int64_t inside = above.to - own.from - 64 * static_cast<int64_t>(word);
      if (inside < 64) plus_[word] |= ~uint64_t(0) << inside, minus_[word] &= ~(~uint64_t(0) << inside);
    }
  }

  // The distance within the band of paths with at most so many errors; exact if it is not above that.
  int64_t measure(int64_t errors) {
    const int64_t skew = m_ > n_ ? m_ - n_ : n_ - m_;
    const Band band = band_of(n_, m_, (errors - skew) / 2 + 1);
    group_.assign(groups_, Group{});
    carries_.clear();
    borders_.clear();
    int64_t corner = 0;  // the distance at the group's upper left
    for (int64_t g = 0; g < groups_; ++g) {
      Group& own = group_[g];
      const int64_t begin = g * kRows, end = std::min(n_, begin + kRows);
      // One column more than the band: at a group's first column, the distances are only an upper bound.
      own.from = std::max<int64_t>(0, begin + band.least) / kTile * kTile;
      own.to = std::min(m_, end + band.most);
      own.carries = carries_.size();
      own.borders = borders_.size();
      carries_.resize(carries_.size() + 2 * ((own.to - own.from + 63) / 64));
      borders_.resize(borders_.size() + G * ((own.to - own.from + kTile - 1) / kTile));
      read_carries(g);
      set_masks(g);
      Column columns[G];
      run(own, columns);
      clear_masks(g);
      if (g + 1 < groups_) {
        const int64_t next = std::max<int64_t>(0, end + band.least) / kTile * kTile;
        corner += kRows + sum(&carries_[own.carries], 2, next - own.from);
        continue;
      }
      for (int64_t c = 0; c < m_ - own.from; c += 64) {
        const uint64_t mask = m_ - own.from - c < 64 ? ~(~uint64_t(0) << (m_ - own.from - c)) : ~uint64_t(0);
        corner += __builtin_popcountll(plus_[c / 64] & mask) - __builtin_popcountll(minus_[c / 64] & mask);
      }
      for (int64_t i = begin; i < n_; i += 64) {
        const uint64_t mask = n_ - i < 64 ? ~(~uint64_t(0) << (n_ - i)) : ~uint64_t(0);
        const Column& column = columns[(i - begin) / 64];
        corner += __builtin_popcountll(column.up & mask) - __builtin_popcountll(column.down & mask);
      }
    }
    return corner;
  }

  // The sum of the first `bits` differences, of pairs of words.
  static int64_t sum(const uint64_t* words, int64_t stride, int64_t bits) {
    int64_t total = 0;
    for (int64_t at = 0; at < bits; at += 64, words += stride) {
      total += __builtin_popcountll(words[0]) - __builtin_popcountll(words[1]);  // bits is a multiple of 64
    }
    return total;
  }

  // All columns of a group. Word l is l columns behind word 0, so that the G chains of operations overlap.
  void run(const Group& own, Column* columns) {
    uint64_t plus[G] = {}, minus[G] = {};
    Column state[G];
    for (Column& one : state) one = {~uint64_t(0), 0};
    const int32_t* text = alphabet_->columns.data();
    const uint64_t* masks = masks_.data();
    Column* borders = borders_.data() + own.borders;
    uint64_t* carries = carries_.data() + own.carries;
    uint64_t plus_word = 0, minus_word = 0;
    const int64_t size = own.to - own.from;
    text += own.from;
    for (int64_t t = 0; t < size + G - 1; ++t) {
      const int64_t due = t % kTile;
      if (due < G && due <= t && t - due < size) borders[(t - due) / kTile * G + due] = state[due];
      uint64_t first_plus = 1, first_minus = 0;
      if (t < size) first_plus = plus_[t / 64] >> (t % 64) & 1, first_minus = minus_[t / 64] >> (t % 64) & 1;
      if (t >= G - 1 && t < size) {
        for (int l = G - 1; l >= 0; --l) {
          uint64_t a = l ? plus[l ? l - 1 : 0] : first_plus, b = l ? minus[l ? l - 1 : 0] : first_minus;
          advance(masks[static_cast<int64_t>(text[t - l]) * G + l], state[l], a, b);
          plus[l] = a;
          minus[l] = b;
        }
      } else {
        for (int l = G - 1; l >= 0; --l) {
          if (t - l < 0 || t - l >= size) continue;
          uint64_t a = l ? plus[l ? l - 1 : 0] : first_plus, b = l ? minus[l ? l - 1 : 0] : first_minus;
          advance(masks[static_cast<int64_t>(text[t - l]) * G + l], state[l], a, b);
          plus[l] = a;
          minus[l] = b;
        }
      }
      const int64_t done = t - (G - 1);
      if (done < 0) continue;
      plus_word |= plus[G - 1] << (done % 64);
      minus_word |= minus[G - 1] << (done % 64);
      if (done % 64 == 63 || done == size - 1) {
        carries[done / 64 * 2] = plus_word;
        carries[done / 64 * 2 + 1] = minus_word;
        plus_word = minus_word = 0;
      }
    }
    for (int l = 0; l < G; ++l) columns[l] = state[l];
  }

  // Makes the steps and columns of one tile again.
  void make_tile(const Group& own, int64_t tile) {
    const int64_t begin = tile * kTile, end = std::min(own.to - own.from, begin + kTile);
    Column state[G];
    for (int l = 0; l < G; ++l) state[l] = borders_[own.borders + tile * G + l];
    const int32_t* text = alphabet_->columns.data() + own.from;
    for (int64_t c = begin; c < end; ++c) {
      uint64_t plus = plus_[c / 64] >> (c % 64) & 1, minus = minus_[c / 64] >> (c % 64) & 1;
      for (int l = 0; l < G; ++l) {
        advance(masks_[static_cast<int64_t>(text[c]) * G + l], state[l], plus, minus, &tile_steps_[(c - begin) * G + l]);
        tile_up_[(c - begin) * G + l] = state[l].up;
      }
    }
  }

  // Goes over the cells of a group that lie on a best path, from the greatest column down; notes what enters the
  // group above in `exits` (its entry, diagonal and vertical), and the steps in the group's own if asked to.
  void sweep(int64_t g, Group* exits, bool keep) {
    Group& own = group_[g];
    const bool start = g == groups_ - 1;
    const int64_t first = start ? m_ : own.entry;
    const int64_t entries = start ? 0 : static_cast<int64_t>(own.diagonal.size());
    read_carries(g);
    set_masks(g);
    own.first = first;
    own.steps.clear();
    exits->entry = first;
    exits->diagonal.assign(1, kNone);
    exits->vertical.clear();
    int32_t room[2][kRows + 1];
    int32_t *before = room[0], *now = room[1];       // of column j + 1 and of column j
    uint64_t diagonal[G] = {}, costly[G] = {}, right[G] = {};  // steps from the cells reached in column j + 1
    int64_t tile = -1;
    for (int64_t j = first; j >= own.from; --j) {
      const int64_t c = j - 1 - own.from, inside = c % kTile;
      if (c >= 0 && c / kTile != tile) make_tile(own, tile = c / kTile);
      const int64_t k = first - j;
      before[kRows] = k < entries ? own.diagonal[k] : kNone;
      now[kRows] = k < entries ? own.vertical[k] : kNone;
      uint64_t from_below = now[kRows] < kNone, across_below = before[kRows] < kNone, any = 0;
      uint64_t next_diagonal[G], next_costly[G], next_right[G];
      if (keep) own.steps.resize(own.steps.size() + 2 * G, 0);
      uint64_t* steps = keep ? &own.steps[own.steps.size() - 2 * G] : nullptr;
      for (int w = G - 1; w >= 0; --w) {
        const uint64_t up = c < 0 ? ~uint64_t(0) : tile_up_[inside * G + w];
        const uint64_t by_diagonal = diagonal[w] >> 1 | across_below << 63, by_right = right[w];
        const uint64_t by_cost = costly[w] >> 1 | (w + 1 < G ? costly[w + 1 < G ? w + 1 : w] << 63 : 0);
        across_below = diagonal[w] & 1;
        uint64_t reached = by_diagonal | by_right | from_below << 63;
        if (start && k == 0 && w == (n_ - 1 - g * kRows) / 64) reached |= uint64_t(1) << ((n_ - 1) % 64);
        for (uint64_t more = reached; (more = (more & up) >> 1 & ~reached);) reached |= more;
        const uint64_t by_up = (reached & up) >> 1 | from_below << 63;
        from_below = reached & up & 1;
        any |= reached;
        uint64_t inserted = 0, deleted = 0;
        int32_t* cell = now + 64 * w;
        const int32_t* old = before + 64 * w;
        for (uint64_t rest = reached; rest;) {
          const int r = 63 - __builtin_clzll(rest);
          const uint64_t bit = uint64_t(1) << r;
          rest ^= bit;
          const int32_t across = by_diagonal & bit ? old[r + 1] + ((by_cost & bit) != 0) : kNone;
          const int32_t side = by_right & bit ? old[r] : kNone;
          const int32_t down = by_up & bit ? cell[r + 1] : kNone;
          int32_t best = across;
          if (side < best || down < best) {
            best = std::min(side, down);
            if (side <= down) inserted |= bit; else deleted |= bit;
          }
          cell[r] = best == kNone ? 0 : best;  // only the first cell has no step to it
        }
        if (keep) steps[2 * w] = inserted, steps[2 * w + 1] = deleted;
        if (c < 0) {
          next_diagonal[w] = next_costly[w] = next_right[w] = 0;
        } else {
          const Step& step = tile_steps_[inside * G + w];
          next_diagonal[w] = reached & step.on;
          next_costly[w] = next_diagonal[w] & ~step.equal;
          next_right[w] = reached & step.right;
        }
      }
      exits->vertical.push_back(from_below ? now[0] : kNone);
      exits->diagonal.push_back(next_diagonal[0] & 1 ? now[0] + static_cast<int32_t>(next_costly[0] & 1) : kNone);
      std::copy_n(next_diagonal, G, diagonal);
      std::copy_n(next_costly, G, costly);
      std::copy_n(next_right, G, right);
      std::swap(before, now);
      if (!any && k >= entries) break;
    }
    exits->vertical.push_back(kNone);  // as many as of the others
    clear_masks(g);
  }

  // Sweeps all groups and row 0; returns the fewest substitutions.
  int64_t sweep_all(bool keep) {
    size_t kept = 0;
    Group top;
    for (int64_t g = groups_ - 1; g >= 0; --g) {
      Group& next = g ? group_[g - 1] : top;
      sweep(g, &next, keep && kept < kKeptWords);
      kept += group_[g].steps.size();
      trim(next);
    }
    // Row 0, where nothing is left but insertions.
    top_.assign(top.entry + 1, kMatch);
    int32_t value = kNone;
    for (int64_t j = top.entry; j >= 0; --j) {
      const size_t k = static_cast<size_t>(top.entry - j);
      const int32_t across = k < top.diagonal.size() ? top.diagonal[k] : kNone;
      const int32_t down = k < top.vertical.size() ? top.vertical[k] : kNone;
      const int32_t side = value;
      value = across;
      if (side < value || down < value) {
        value = std::min(side, down);
        top_[j] = side <= down ? kInsertion : kDeletion;
      }
    }
    return value;
  }

  // Takes columns without an entry off both ends.
  static void trim(Group& group) {
    std::vector<int32_t>&a = group.diagonal, &b = group.vertical;
    size_t size = a.size(), lead = 0;
    while (size && a[size - 1] == kNone && b[size - 1] == kNone) --size;
    while (lead < size && a[lead] == kNone && b[lead] == kNone) ++lead;
    a.resize(size), b.resize(size);
    a.erase(a.begin(), a.begin() + lead), b.erase(b.begin(), b.begin() + lead);
    a.shrink_to_fit(), b.shrink_to_fit();
    group.entry -= static_cast<int64_t>(lead);
  }

  void trace(uint8_t* ops, int64_t length) {
    Group unused;
    int64_t i = 0, j = 0, swept = -1;
    while (i < n_ || j < m_) {
      uint8_t op = kMatch;
      if (i == 0) {
        op = top_[j];
      } else {
        const int64_t g = (i - 1) / kRows;
        Group& own = group_[g];
        if (own.steps.empty()) {
          if (swept >= 0) std::vector<uint64_t>().swap(group_[swept].steps);
          sweep(swept = g, &unused, true);
        }
        const int64_t row = (i - 1) % kRows;
        const uint64_t* steps = &own.steps[static_cast<size_t>((own.first - j) * 2 * G + row / 64 * 2)];
        if (steps[0] >> (row % 64) & 1) op = kInsertion;
        if (steps[1] >> (row % 64) & 1) op = kDeletion;
      }
      if (op == kMatch && alphabet_->rows[i] != alphabet_->columns[j]) op = kSubstitution;
      ops[--length] = op;  // cell (0, 0) is the end
      i += op != kInsertion;
      j += op != kDeletion;
    }
  }

  const Alphabet* alphabet_ = nullptr;
  int64_t n_ = 0, m_ = 0, groups_ = 0;
  std::vector<uint64_t> masks_, plus_, minus_, carries_;
  std::vector<Column> borders_;
  std::vector<Group> group_;
  std::vector<uint8_t> top_;
  Step tile_steps_[kTile * G];
  uint64_t tile_up_[kTile * G];
};

}  // namespace seqkd_scoring
