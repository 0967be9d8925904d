// One utterance, forwards and backwards: the code of every instruction set, included once for each.
//
// The includer defines SEQKD_BYTES (the size of a vector), has included the standard headers, and has opened its target
// pragma.
#pragma once

#include "interface.h"
// In this order.
#include "simd.h"
#include "lattice.h"
#include "rows.h"

namespace {

// Where things lie in Problem::rows; pass p has three numbers of each frame (and room for four), teacher q two, a pair of passes one.
template <class R>
struct Kept {
  const Problem& problem;
  int64_t utterance;
  R* at(int64_t row, int64_t t) const {
    const int64_t frames = problem.gradient ? problem.frames : 0;
    return static_cast<R*>(problem.rows) + (row * problem.batch + utterance) * frames + t;
  }
  R& largest(int64_t p, int64_t t) const { return *at(4 * p, t); }
  R& inverse(int64_t p, int64_t t) const { return *at(4 * p + 1, t); }
  R& slope(int64_t p, int64_t t) const { return *at(4 * p + 2, t); }
  R& teacher_largest(int64_t q, int64_t t) const { return *at(4 * problem.passes + 2 * q, t); }
  // 0 where the teacher's frame is not distilled.
  R& teacher_inverse(int64_t q, int64_t t) const { return *at(4 * problem.passes + 2 * q + 1, t); }
  R& divergence(int64_t i, int64_t j, int64_t t) const {
    return *at(4 * problem.passes + 2 * problem.teachers + i * (problem.passes - 1) + (j < i ? j : j - 1), t);
  }
};

// Scratch and addresses of the rows of one frame.
template <class R>
class Frame {
 public:
  explicit Frame(const Problem& problem)
      : problem_(problem),
        width_((problem.classes + kWidth<R>) / kWidth<R> * kWidth<R>),
        memory_((2 * problem.passes + problem.teachers) * 2 * width_),
        tiles_(any_turned(problem) ? (problem.passes + problem.teachers) * kTile * width_ : 0),
        student(problem.passes),
        tempered(problem.passes),
        teacher(problem.teachers) {}

  const R* student_logits(int64_t p, int64_t b, int64_t t) {
    return logits_of(problem_.logits, problem_.type, problem_.logits_strides, p, p, b, t, scratch(p, 0));
  }
  const R* teacher_logits(int64_t q, int64_t b, int64_t t) {
    return logits_of(problem_.teacher, problem_.teacher_type, problem_.teacher_strides, problem_.passes + q, q, b, t,
                     scratch(2 * problem_.passes + q, 0));
  }
  R* student_exponentials(int64_t p) const { return scratch(p, 1); }
  R* tempered_exponentials(int64_t p) const { return scratch(problem_.passes + p, 1); }
  R* teacher_exponentials(int64_t q) const { return scratch(2 * problem_.passes + q, 1); }
  // Free when the logits of tempered rows are those of the plain ones, which they are.
  R* gradient_scratch(int64_t p) const { return scratch(problem_.passes + p, 0); }

 private:
  static constexpr int64_t kTile = 32;  // frames that are turned at once
  static bool is_turned(const int64_t* strides, int64_t classes) { return strides[3] != 1 && classes > 1; }
  static bool any_turned(const Problem& problem) {
    return is_turned(problem.logits_strides, problem.classes) ||
           (problem.teachers && is_turned(problem.teacher_strides, problem.classes));
  }

  // Frames are asked for in their order.
  const R* logits_of(const void* data, int32_t type, const int64_t* s, int64_t tile, int64_t pass, int64_t b, int64_t t,
                     R* scratch) {
    const int64_t offset = pass * s[0] + b * s[1] + t * s[2];
    if (!is_turned(s, problem_.classes)) return fetch<R>(data, type, offset, problem_.classes, scratch);
    R* rows = &tiles_[tile * kTile * width_];
    if (t % kTile == 0)
      turn(data, type, offset, s[2], s[3], std::min(kTile, problem_.input_lengths[b] - t), problem_.classes, rows, width_);
    return rows + t % kTile * width_;
  }

  R* scratch(int64_t row, int64_t which) const { return &memory_[(2 * row + which) * width_]; }
  const Problem& problem_;
  const int64_t width_;
  const Buffer<R> memory_, tiles_;

 public:
  std::vector<Row<R>> student, tempered, teacher;
};

template <class Out>
Out* occupancy_of(const Problem& problem, int64_t p, int64_t b) {
  return static_cast<Out*>(problem.occupancy) + (p * problem.batch + b) * problem.frames * problem.slots;
}

template <class R, class Out>
void keep_occupancy(const Problem& problem, int64_t p, int64_t b, Lattice<R>& lattice) {
  const int64_t* targets = problem.targets + b * problem.labels;
  Out* base = occupancy_of<Out>(problem, p, b);
  lattice.backward([&](int64_t t, R blanks, const R* occupancy, int64_t first, int64_t end) {
    Out* slots = base + t * problem.slots;
    fill(slots, problem.slots, Out(0));
    slots[problem.dense ? problem.blank : 0] = Out(blanks);
    if (problem.dense) {
      for (int64_t s = first; s < end; ++s) slots[targets[s]] += Out(occupancy[s]);
    } else {
      for (int64_t s = first; s < end; ++s) slots[1 + s] = Out(occupancy[s]);
    }
  });
}

// CTC in double from the logits: for the rare utterance whose probabilities lie too far apart for float.
template <class Out>
double align_in_double(const Problem& problem, int64_t p, int64_t b) {
  const int64_t frames = problem.input_lengths[b];
  Lattice<double> lattice(frames, problem.targets + b * problem.labels, problem.target_lengths[b], problem.blank);
  Frame<double> frame(problem);
  for (int64_t t = 0; t < frames; ++t) {
    Row<double> row;
    row.z = frame.student_logits(p, b, t);
    row.largest = largest_of(row.z, problem.classes);
    soften(row, problem.classes, 1.0);
    lattice.set_emissions(t, row.z, row.largest, row.sum);
  }
  const double loss = lattice.forward();
  if (problem.gradient && std::isfinite(loss)) keep_occupancy<double, Out>(problem, p, b, lattice);
  return loss;
}

inline bool labels_are_good(const Problem& problem, int64_t b) {
  const int64_t* targets = problem.targets + b * problem.labels;
  for (int64_t s = 0; s < problem.target_lengths[b]; ++s)
    if (targets[s] < 0 || targets[s] >= problem.classes || targets[s] == problem.blank) return false;
  return true;
}

template <class R>
bool forward(const Problem& problem, int64_t b) {
  Arena::mine().begin();
  const int64_t passes = problem.passes, classes = problem.classes, frames = problem.input_lengths[b];
  const int64_t* targets = problem.targets + b * problem.labels;
  const R inverse_temperature = R(1 / problem.temperature);
  const bool distil = problem.distance != kNoDistance, tempered = distil && problem.temperature != 1;
  const bool consistent = problem.consistency != kNoConsistency, compare = distil || consistent;
  const Kept<R> kept{problem, b};
  Frame<R> frame(problem);
  std::vector<std::unique_ptr<Lattice<R>>> lattices;
  const bool good = !problem.ctc || labels_are_good(problem, b);
  const bool align = problem.ctc && good;
  if (align)
    for (int64_t p = 0; p < passes; ++p)
      lattices.push_back(std::make_unique<Lattice<R>>(frames, targets, problem.target_lengths[b], problem.blank));
  const Buffer<double> kd(passes);
  const Buffer<bool> poisoned(passes);  // by NaN, +inf, or a frame without any possible class
  fill(kd.get(), passes, 0.0);
  fill(poisoned.get(), passes, false);
  double consistency = 0;

  for (int64_t t = 0; t < frames; ++t) {
    for (int64_t p = 0; p < passes; ++p) {
      Row<R>& row = frame.student[p];
      row.z = frame.student_logits(p, b, t);
      row.e = compare ? frame.student_exponentials(p) : nullptr;
      row.largest = largest_of(row.z, classes);
      soften(row, classes, R(1));
      poisoned[p] |= !(row.sum >= 0);
      if (align && !poisoned[p]) lattices[p]->set_emissions(t, row.z, row.largest, row.sum);
      if (problem.gradient) kept.largest(p, t) = row.largest, kept.inverse(p, t) = row.inverse;
      Row<R>& soft = frame.tempered[p] = row;
      if (tempered) {
        soft.e = frame.tempered_exponentials(p);
        soften(soft, classes, inverse_temperature);
      }
    }
    for (int64_t q = 0; q < problem.teachers; ++q) {
      Row<R>& row = frame.teacher[q];
      row.z = frame.teacher_logits(q, b, t);
      row.e = frame.teacher_exponentials(q);
      row.largest = largest_of(row.z, classes);
      soften(row, classes, inverse_temperature);
      if (problem.nonblank && first_of(row.z, row.largest, classes) == problem.blank) row.inverse = 0;
      if (problem.gradient) kept.teacher_largest(q, t) = row.largest, kept.teacher_inverse(q, t) = row.inverse;
    }
    for (int64_t p = 0; distil && p < passes; ++p) {
      const Row<R>& teacher = frame.teacher[problem.teachers == 1 ? 0 : p];
      if (teacher.inverse == 0) continue;
      R slope = 0;
      kd[p] += problem.distance == kSquared
                   ? squared_distance(teacher, frame.tempered[p], classes, &slope)
                   : problem.temperature * problem.temperature *
                         kl_divergence(teacher, frame.tempered[p], classes, inverse_temperature);
      if (problem.gradient) kept.slope(p, t) = slope;
    }
    for (int64_t i = 0; consistent && i < passes; ++i)
      for (int64_t j = i + 1; j < passes; ++j) {
        R ij, ji;
        consistency += symmetric_kl(frame.student[i], frame.student[j], classes, &ij, &ji);
        if (problem.gradient) kept.divergence(i, j, t) = ij, kept.divergence(j, i, t) = ji;
      }
  }

  for (int64_t p = 0; p < passes; ++p) {
    if (problem.kd_loss) static_cast<R*>(problem.kd_loss)[p * problem.batch + b] = R(kd[p]);
    if (!problem.ctc) continue;
    double loss = NAN;
    if (align && !poisoned[p]) {
      loss = lattices[p]->forward();
      if (problem.gradient && std::isfinite(loss)) keep_occupancy<R, R>(problem, p, b, *lattices[p]);
      if (sizeof(R) < sizeof(double) && lattices[p]->beyond_range()) loss = align_in_double<R>(problem, p, b);
      if (loss < 0) loss = 0;  // of a probability that rounding took beyond 1
    }
    static_cast<R*>(problem.ctc_loss)[p * problem.batch + b] = R(loss);
    if (problem.gradient) {
      const int64_t kept_frames = std::isfinite(loss) ? frames : 0;
      fill(occupancy_of<R>(problem, p, b) + kept_frames * problem.slots, (problem.frames - kept_frames) * problem.slots,
           R(0));
    }
  }
  const double pairs = double(passes * (passes - 1)) / 2;
  if (consistent) static_cast<R*>(problem.consistency_loss)[b] = R(consistency / pairs);
  return good;
}

template <class R>
void subtract_occupancy(const Problem& problem, int64_t p, int64_t b, int64_t t, R weight, R* out) {
  const R* slots = occupancy_of<const R>(problem, p, b) + t * problem.slots;
  if (problem.dense) {
    for (int64_t c = 0; c < problem.classes; ++c) out[c] -= weight * slots[c];
    return;
  }
  const int64_t* targets = problem.targets + b * problem.labels;
  out[problem.blank] -= weight * slots[0];
  for (int64_t s = 0; s < problem.target_lengths[b]; ++s) out[targets[s]] -= weight * slots[1 + s];
}

// What one utterance's CTC counts for, in the order of torch's own operations: a mean divides by B, then by labels.
template <class R>
R ctc_gradient(const Problem& problem, int64_t p, int64_t b) {
  const R* given = static_cast<const R*>(problem.ctc_grad);
  if (!problem.reduced || problem.reduction == kNone) return given[p * problem.batch + b];
  if (problem.reduction == kSum) return given[0];
  const R each = given[0] / R(problem.batch);
  return problem.reduction == kMean ? each / R(std::max<int64_t>(problem.target_lengths[b], 1)) : each;
}

template <class R>
void backward(const Problem& problem, int64_t b) {
  Arena::mine().begin();
  const int64_t passes = problem.passes, classes = problem.classes, frames = problem.input_lengths[b];
  const R inverse_temperature = R(1 / problem.temperature), temperature = R(problem.temperature);
  const Kept<R> kept{problem, b};
  Frame<R> frame(problem);
  // A coefficient of 0 removes its term, even one that is inf or NaN.
  const Buffer<R> ctc(passes), kd(passes);
  fill(ctc.get(), passes, R(0));
  fill(kd.get(), passes, R(0));
  const R pairs = R(passes * (passes - 1)) / 2;
  const R consistency =
      problem.consistency == kNoConsistency ? 0 : static_cast<const R*>(problem.consistency_grad)[b] / (2 * pairs);
  bool distil = false;
  for (int64_t p = 0; p < passes; ++p) {
    if (problem.ctc) {
      const R loss = static_cast<const R*>(problem.ctc_loss)[p * problem.batch + b];
      ctc[p] = ctc_gradient<R>(problem, p, b);
      if (std::isinf(loss)) ctc[p] = 0;
      if (std::isnan(loss) && ctc[p] != 0) ctc[p] = NAN;
    }
    if (problem.distance != kNoDistance) kd[p] = static_cast<const R*>(problem.kd_grad)[p * problem.batch + b];
    distil |= kd[p] != 0;
  }
  const bool tempered = distil && problem.temperature != 1, compare = distil || consistency != 0;

  for (int64_t t = 0; t < frames; ++t) {
    for (int64_t p = 0; p < passes; ++p) {
      Row<R>& row = frame.student[p];
      row.z = frame.student_logits(p, b, t);
      row.largest = kept.largest(p, t);
      row.inverse = kept.inverse(p, t);
      Row<R>& soft = frame.tempered[p] = row;
      if (!compare) continue;
      row.e = frame.student_exponentials(p);
      soften(row, classes, R(1));
      soft = row;
      if (tempered) {
        soft.e = frame.tempered_exponentials(p);
        soften(soft, classes, inverse_temperature);
      }
    }
    for (int64_t q = 0; distil && q < problem.teachers; ++q) {
      Row<R>& row = frame.teacher[q];
      row.z = frame.teacher_logits(q, b, t);
      row.e = frame.teacher_exponentials(q);
      row.largest = kept.teacher_largest(q, t);
      soften(row, classes, inverse_temperature);
      row.inverse = kept.teacher_inverse(q, t);
    }
    for (int64_t p = 0; p < passes; ++p) {
      const int64_t offset = ((p * problem.batch + b) * problem.frames + t) * classes;
      R* out = place(problem.gradient_out, problem.type, offset, frame.gradient_scratch(p));
      const Row<R>& own = frame.student[p];
      const R weight = ctc[p] * own.inverse;
      if (ctc[p] == 0 || std::isnan(ctc[p])) {
        fill(out, classes, ctc[p]);
      } else if (compare) {
        sweep<R>(classes, [&](int64_t i, auto chunk) { chunk.store(out + i, chunk.load(own.e + i, 0) * weight); });
      } else {
        sweep<R>(classes, [&](int64_t i, auto chunk) {
          chunk.store(out + i, exp_negative<R>(chunk.load(own.z + i, R(-INFINITY)) - own.largest) * weight);
        });
      }
      // After NaN there is no occupancy, and perhaps a label to run out of bounds with.
      if (ctc[p] != 0 && !std::isnan(ctc[p])) subtract_occupancy(problem, p, b, t, ctc[p], out);

      const int64_t q = problem.teachers == 1 ? 0 : p;
      if (kd[p] != 0 && frame.teacher[q].inverse != 0) {
        const Row<R>&soft = frame.tempered[p], &teacher = frame.teacher[q];
        const R slope = kept.slope(p, t);
        if (problem.distance == kKL) {
          const R w = kd[p] * temperature;
          sweep<R>(classes, [&](int64_t i, auto chunk) {
            const Vec<R> d = probability(soft, i, chunk) - probability(teacher, i, chunk);
            chunk.store(out + i, chunk.load(out + i, 0) + d * w);
          });
        } else {
          const R w = 2 * kd[p] * inverse_temperature;
          sweep<R>(classes, [&](int64_t i, auto chunk) {
            const Vec<R> own_p = probability(soft, i, chunk);
            const Vec<R> d = own_p - probability(teacher, i, chunk);
            chunk.store(out + i, chunk.load(out + i, 0) + own_p * (d - slope) * w);
          });
        }
      }

      for (int64_t j = 0; consistency != 0 && j < passes; ++j) {
        if (j == p) continue;
        const Row<R>& other = frame.student[j];
        if (problem.consistency == kDetached) {
          sweep<R>(classes, [&](int64_t i, auto chunk) {
            const Vec<R> d = probability(own, i, chunk) - probability(other, i, chunk);
            chunk.store(out + i, chunk.load(out + i, 0) + d * consistency);
          });
          continue;
        }
        const R divergence = kept.divergence(p, j, t);
        const LogRatio<R> log_ratio(own, other, 1);
        sweep<R>(classes, [&](int64_t i, auto chunk) {
          const Vec<R> mine = probability(own, i, chunk);
          const Vec<R> pull = mine * (log_ratio(i, chunk) - divergence);
          const Vec<R> d = (mine == R(0) ? Vec<R>{} : pull) + mine - probability(other, i, chunk);
          chunk.store(out + i, chunk.load(out + i, 0) + d * consistency);
        });
      }
      deliver(problem.gradient_out, problem.type, offset, classes, out);
    }
  }
  const size_t size = problem.type == kFloat64 ? 8 : problem.type == kFloat32 ? 4 : 2;
  for (int64_t p = 0; p < passes; ++p) {
    const int64_t first = (p * problem.batch + b) * problem.frames + frames;
    memset(static_cast<char*>(problem.gradient_out) + first * classes * size, 0,
           (problem.frames - frames) * classes * size);
  }
}

bool forward_utterance(const Problem& problem, int64_t b) {
  return problem.type == kFloat64 ? forward<double>(problem, b) : forward<float>(problem, b);
}

void backward_utterance(const Problem& problem, int64_t b) {
  problem.type == kFloat64 ? backward<double>(problem, b) : backward<float>(problem, b);
}

}  // namespace
