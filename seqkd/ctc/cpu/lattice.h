// CTC's lattice of one utterance: probabilities of all alignments, forwards and backwards.
//
// States are kept in two arrays, blanks b[0..L] and labels l[0..L-1], so that the inner loops are vectors:
//   b[s] is reached from b[s] and l[s-1];  l[s] from l[s], b[s] and, unless the labels are the same, l[s-1].
// Of a frame, only the states are touched that can be reached from the start and from which the end can be reached.
// Every state is a mantissa and an exponent of its own: nothing underflows, however unlikely. Mantissas are brought
// back to [1, 2) every eighth frame only; until then they cannot leave [0.05, 2^25].
#pragma once

namespace {

template <class R>
class Lattice {
  using L = Lanes<R>;
  using V = Vec<R>;
  using I = IntVec<R>;
  using Int = typename L::Int;
  static constexpr int W = kWidth<R>;

  // One frame's states. Beyond those in use, the next vector on either side is zero.
  struct States {
    R *blank, *label;
    Int *blank_exponent, *label_exponent;
  };

 public:
  Lattice(int64_t frames, const int64_t* targets, int64_t labels, int64_t blank)
      : frames_(frames),
        labels_(labels),
        padded_((labels + W) / W * W),  // room for labels + 1
        stride_(padded_ + 2 * W),
        block_(block_length(frames, stride_)),
        targets_(targets),
        blank_(blank),
        emission_(frames * padded_),
        emission_exponent_(frames * padded_),
        blank_emission_(frames),
        blank_emission_exponent_(frames),
        skip_(padded_ + W),
        history_(2 * stride_ * block_),
        history_exponent_(2 * stride_ * block_),
        starts_(2 * stride_ * (frames / block_ + 2)),
        starts_exponent_(2 * stride_ * (frames / block_ + 2)),
        gathered_(padded_),
        lost_(W),
        frames_needed_(labels) {
    for (int64_t s = 0; s < padded_ + W; ++s) skip_[s] = s > 0 && s < labels && targets[s] != targets[s - 1] ? -1 : 0;
    fill(lost_.get(), W, Int(0));
    for (int64_t s = 1; s < labels; ++s) frames_needed_ += targets[s] == targets[s - 1];
  }

  // Probabilities of the frame's labels and blank: softmax of `logits`, given its largest and Σ e^(logit - largest).
  void set_emissions(int64_t t, const R* logits, R largest, double sum) {
    for (int64_t s = 0; s < labels_; ++s) gathered_[s] = logits[targets_[s]];
    gathered_[labels_] = logits[blank_];
    for (int64_t s = labels_ + 1; s < padded_; ++s) gathered_[s] = R(-INFINITY);
    int sum_exponent;
    const R inverse = R(1 / frexp(sum, &sum_exponent));
    R* mantissa = &emission_[t * padded_];
    Int* exponent = &emission_exponent_[t * padded_];
    for (int64_t s = 0; s < padded_; s += W) {
      const V z = load<V>(&gathered_[s]);
      const Wide<R> e = exp_difference<R>(z, largest);
      store(mantissa + s, e.mantissa * inverse);
      store(exponent + s, e.exponent - Int(sum_exponent));
      store(lost_.get(), load<I>(lost_.get()) | ((e.mantissa == R(0)) & (z > R(-INFINITY))));
    }
    blank_emission_[t] = mantissa[labels_];
    blank_emission_exponent_[t] = exponent[labels_];
    mantissa[labels_] = 0;
    exponent[labels_] = L::kZero;
  }

  // -log p(target), inf if it cannot be aligned.
  double forward() {
    if (frames_ < frames_needed_) return INFINITY;
    States now = saved_start(0);
    clear(now);
    now.blank[0] = 1;
    now.blank_exponent[0] = 0;
    for (int64_t t = 0; t < frames_; ++t) {
      States next = history(t);
      step(t, now, next);
      now = next;
      if ((t + 1) % block_ == 0) copy(now, saved_start((t + 1) / block_));
    }
    int shift;
    Int ends = now.blank_exponent[labels_];
    if (labels_ > 0) ends = std::max(ends, now.label_exponent[labels_ - 1]);
    double total = scalbn(double(now.blank[labels_]), int(std::max<Int>(now.blank_exponent[labels_] - ends, -2000)));
    if (labels_ > 0)
      total += scalbn(double(now.label[labels_ - 1]), int(std::max<Int>(now.label_exponent[labels_ - 1] - ends, -2000)));
    if (total == 0) return INFINITY;
    total_ = frexp(total, &shift);
    total_exponent_ = ends + shift;
    return -(log(total_) + double(total_exponent_) * 0.69314718055994530942);
  }

  // Calls use(t, blank's occupancy, labels' occupancies, first label, end) for every frame, last to first; labels
  // outside [first, end) are not occupied. After forward(), for a target that can be aligned.
  template <class Use>
  void backward(Use use) {
    Buffer<R> memory(2 * stride_);
    Buffer<Int> exponents(2 * stride_);
    const States later = states(memory.get(), exponents.get());
    clear(later);
    // As if the blank at the end were emitted once more, after the last frame.
    later.blank[labels_] = 1;
    later.blank_exponent[labels_] = 0;
    Buffer<R> occupancy(padded_);
    for (int64_t t = frames_ - 1; t >= 0; --t) {
      if ((t + 1) % block_ == 0 && t + 1 < frames_) recompute_block(t);
      const double blanks = step_back(t, history(t), later, occupancy.get());
      use(t, R(blanks), occupancy.get(), first(t), std::min(last(t), labels_));
    }
  }

  // Whether a probability or a sum was too far from the others for this type: ask again in double.
  bool beyond_range() const {
    bool lost = beyond_range_;
    for (int i = 0; i < W; ++i) lost |= lost_[i] != 0;
    return lost;
  }

 private:
  // All frames' states are kept while they fit a cache; else those of every block's start, and a block at a time.
  static int64_t block_length(int64_t frames, int64_t stride) {
    const int64_t bytes = frames * stride * 2 * (sizeof(R) + sizeof(Int));
    if (bytes <= 16 << 20) return std::max<int64_t>(frames, 1);
    return int64_t(sqrt(double(frames))) / 8 * 8 + 8;
  }

  // The states in use at frame t: s ≤ t, and as many frames left as labels. In whole vectors.
  int64_t first(int64_t t) const { return std::max<int64_t>(0, labels_ - frames_ + t) / W * W; }
  int64_t last(int64_t t) const { return (std::min(t, labels_) + W) / W * W; }

  static void clear_vector(R* mantissa, Int* exponent) {
    store(mantissa, V{});
    store(exponent, splat<I>(L::kZero));
  }
  // Zeros around the states in use at frame t.
  void clear_around(int64_t t, const States& a) const {
    const int64_t before = first(t) - W, after = last(t);
    clear_vector(a.blank + before, a.blank_exponent + before);
    clear_vector(a.label + before, a.label_exponent + before);
    clear_vector(a.blank + after, a.blank_exponent + after);
    clear_vector(a.label + after, a.label_exponent + after);
  }

  States states(R* memory, Int* exponents) const {
    return {memory + W, memory + stride_ + W, exponents + W, exponents + stride_ + W};
  }
  States history(int64_t t) const {
    return states(&history_[t % block_ * 2 * stride_], &history_exponent_[t % block_ * 2 * stride_]);
  }
  // The states before frame `block` * block_.
  States saved_start(int64_t block) const {
    return states(&starts_[block * 2 * stride_], &starts_exponent_[block * 2 * stride_]);
  }

  void clear(const States& a) const {
    for (int64_t s = -W; s < padded_ + W; ++s) {
      a.blank[s] = a.label[s] = 0;
      a.blank_exponent[s] = a.label_exponent[s] = L::kZero;
    }
  }

  void copy(const States& from, const States& to) const {
    memcpy(to.blank - W, from.blank - W, 2 * stride_ * sizeof(R));
    memcpy(to.blank_exponent - W, from.blank_exponent - W, 2 * stride_ * sizeof(Int));
  }

  void recompute_block(int64_t last) {
    const int64_t first = last / block_ * block_;
    States now = saved_start(first / block_);
    for (int64_t t = first; t <= last; ++t) {
      States next = history(t);
      step(t, now, next);
      now = next;
    }
  }

  static void normalise(V& mantissa, I& exponent) {
    const I bits = (I)mantissa;
    const I none = mantissa == R(0);
    const I own = (bits >> L::kMantissa) - L::kBias;
    const I one = (bits & ((Int(1) << L::kMantissa) - 1)) | (Int(L::kBias) << L::kMantissa);
    mantissa = none ? V{} : (V)one;
    exponent = none ? splat<I>(L::kZero) : exponent + own;
  }

  void put(R* mantissa, Int* exponent, V m, I e, bool normal) const {
    if (normal) normalise(m, e);
    store(mantissa, m);
    store(exponent, larger<I>(e, splat<I>(L::kZero)));
  }

  void step(int64_t t, const States& a, const States& next) const {
    const bool normal = t % 8 == 7;
    const R blank_emission = blank_emission_[t];
    const Int blank_exponent = blank_emission_exponent_[t];
    const R* emission = &emission_[t * padded_];
    const Int* emission_exponent = &emission_exponent_[t * padded_];
    clear_around(t, next);
    for (int64_t s = first(t), end = last(t); s < end; s += W) {
      const V b = load<V>(a.blank + s), l = load<V>(a.label + s), before = load<V>(a.label + s - 1);
      const I be = load<I>(a.blank_exponent + s), le = load<I>(a.label_exponent + s);
      const I beforee = load<I>(a.label_exponent + s - 1), may_skip = load<I>(&skip_[s]);

      I e = larger<I>(be, beforee);
      V m = b * power_of_two<R>(be - e) + before * power_of_two<R>(beforee - e);
      put(next.blank + s, next.blank_exponent + s, m * blank_emission, e + blank_exponent, normal);

      const V skipped = (V)((I)before & may_skip);
      const I skippede = may_skip ? beforee : splat<I>(L::kZero);
      e = larger<I>(larger<I>(be, le), skippede);
      m = b * power_of_two<R>(be - e) + l * power_of_two<R>(le - e) + skipped * power_of_two<R>(skippede - e);
      put(next.label + s, next.label_exponent + s, m * load<V>(emission + s), e + load<I>(emission_exponent + s), normal);
    }
  }

  // `later` holds, of the frame after, the probability of emitting it in a state and all that follows; afterwards, that
  // of this frame. Gives the probability of each label's state at this frame and, returned, of all blanks together.
  double step_back(int64_t t, const States& alpha, const States& later, R* occupancy) {
    const bool normal = t % 8 == 7;
    const R blank_emission = blank_emission_[t];
    const Int blank_exponent = blank_emission_exponent_[t], total = total_exponent_;
    const R* emission = &emission_[t * padded_];
    const Int* emission_exponent = &emission_exponent_[t * padded_];
    const int64_t begin = first(t), end = last(t);
    V blanks{}, labels{};
    // Far below the total, all powers are 0 alike: the bound only keeps the shift in range.
    const auto weight = [total](const Int* a, I b) {
      const I e = load<I>(a) + b - total;
      return power_of_two<R>(e < Int(L::kBias) ? e : splat<I>(L::kBias));
    };
    for (int64_t s = begin; s < end; s += W) {
      const V b = load<V>(later.blank + s), l = load<V>(later.label + s);
      const V after_b = load<V>(later.blank + s + 1), after_l = load<V>(later.label + s + 1);
      const I be = load<I>(later.blank_exponent + s), le = load<I>(later.label_exponent + s);
      const I after_be = load<I>(later.blank_exponent + s + 1), after_le = load<I>(later.label_exponent + s + 1);
      const I may_skip = load<I>(&skip_[s + 1]);

      I e = larger<I>(be, le);
      V m = b * power_of_two<R>(be - e) + l * power_of_two<R>(le - e);
      blanks += load<V>(alpha.blank + s) * m * weight(alpha.blank_exponent + s, e);
      put(later.blank + s, later.blank_exponent + s, m * blank_emission, e + blank_exponent, normal);

      const V skipped = (V)((I)after_l & may_skip);
      const I skippede = may_skip ? after_le : splat<I>(L::kZero);
      e = larger<I>(larger<I>(le, after_be), skippede);
      m = l * power_of_two<R>(le - e) + after_b * power_of_two<R>(after_be - e) + skipped * power_of_two<R>(skippede - e);
      const V label = load<V>(alpha.label + s) * m * weight(alpha.label_exponent + s, e);
      labels += label;
      store(occupancy + s, label);
      put(later.label + s, later.label_exponent + s, m * load<V>(emission + s), e + load<I>(emission_exponent + s),
          normal);
    }
    clear_around(t, later);
    const double blank_sum = sum_of<R>(blanks), sum = blank_sum + sum_of<R>(labels);
    // Every path stands somewhere: the sum is the total again, unless something was lost on the way.
    beyond_range_ |= !(fabs(sum - total_) < 0.01 * total_);
    const R inverse = R(1 / sum);
    for (int64_t s = begin; s < end; s += W) store(occupancy + s, load<V>(occupancy + s) * inverse);
    return blank_sum / sum;
  }

  const int64_t frames_, labels_, padded_, stride_, block_;
  const int64_t* targets_;
  const int64_t blank_;
  Buffer<R> emission_;
  Buffer<Int> emission_exponent_;
  Buffer<R> blank_emission_;
  Buffer<Int> blank_emission_exponent_;
  Buffer<Int> skip_;
  Buffer<R> history_;
  Buffer<Int> history_exponent_;
  Buffer<R> starts_;
  Buffer<Int> starts_exponent_;
  Buffer<R> gathered_;
  Buffer<Int> lost_;  // lanes that ever lost a probability which was not 0
  int64_t frames_needed_;  // a blank must stand between two labels that are the same
  double total_ = 0;
  int64_t total_exponent_ = 0;
  bool beyond_range_ = false;
};

}  // namespace
