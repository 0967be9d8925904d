// One frame: rows of logits in any type, their softmax, and the distances between several rows.
#pragma once

namespace {

using namespace seqkd;

// Largest logit, e^(z - largest) (unnormalised softmax) and its sum, of one row at one temperature.
template <class R>
struct Row {
  const R* z = nullptr;
  R* e = nullptr;
  R largest = 0;
  double sum = 0;
  R inverse = 0;
};

inline float widen_bfloat16(uint16_t x) {
  const uint32_t bits = uint32_t(x) << 16;
  float y;
  memcpy(&y, &bits, sizeof y);
  return y;
}

inline uint16_t narrow_bfloat16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if (x != x) return 0x7fc0;
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Frames whose classes do not lie side by side, (T, C) with strides, as rows of `width` numbers: small squares at a time,
// so that a cache line which holds one class of several frames is read once.
template <class R, class In, class Convert>
inline void turn(const In* p, int64_t frame_stride, int64_t class_stride, int64_t frames, int64_t classes, R* rows,
                 int64_t width, Convert convert) {
  constexpr int64_t kSide = 16;
  for (int64_t c = 0; c < classes; c += kSide) {
    const int64_t end = std::min(classes, c + kSide);
    // The processor sees no pattern in steps from page to page.
    for (int64_t i = c + 2 * kSide; i < std::min(classes, c + 3 * kSide); ++i)
      for (int64_t t = 0; t < frames; t += 64 / int64_t(sizeof(In)))
        __builtin_prefetch(p + t * frame_stride + i * class_stride);
    for (int64_t t = 0; t < frames; ++t)
      for (int64_t i = c; i < end; ++i) rows[t * width + i] = convert(p[t * frame_stride + i * class_stride]);
  }
}

template <class R>
inline void turn(const void* data, int32_t type, int64_t offset, int64_t frame_stride, int64_t class_stride,
                 int64_t frames, int64_t classes, R* rows, int64_t width) {
  const auto go = [&](const auto* p, auto convert) {
    turn(p + offset, frame_stride, class_stride, frames, classes, rows, width, convert);
  };
  switch (type) {
    case kFloat32:
      return go(static_cast<const float*>(data), [](float x) { return R(x); });
    case kFloat64:
      return go(static_cast<const double*>(data), [](double x) { return R(x); });
    case kBFloat16:
      return go(static_cast<const uint16_t*>(data), [](uint16_t x) { return R(widen_bfloat16(x)); });
    default:
#ifdef __FLT16_MAX__
      return go(static_cast<const _Float16*>(data), [](_Float16 x) { return R(x); });
#endif
      return;
  }
}

// The row at `offset`, converted into `scratch` unless it is of the right type where it lies.
template <class R>
inline const R* fetch(const void* data, int32_t type, int64_t offset, int64_t n, R* scratch) {
  switch (type) {
    case kFloat32: {
      const float* p = static_cast<const float*>(data) + offset;
      if constexpr (sizeof(R) == sizeof(float)) return p;
      for (int64_t i = 0; i < n; ++i) scratch[i] = p[i];
      return scratch;
    }
    case kFloat64: {
      const double* p = static_cast<const double*>(data) + offset;
      if constexpr (sizeof(R) == sizeof(double)) return p;
      for (int64_t i = 0; i < n; ++i) scratch[i] = R(p[i]);
      return scratch;
    }
    case kBFloat16: {
      const uint16_t* p = static_cast<const uint16_t*>(data) + offset;
      for (int64_t i = 0; i < n; ++i) scratch[i] = widen_bfloat16(p[i]);
      return scratch;
    }
    default: {
#ifdef __FLT16_MAX__
      const _Float16* p = static_cast<const _Float16*>(data) + offset;
      for (int64_t i = 0; i < n; ++i) scratch[i] = R(p[i]);
#endif
      return scratch;
    }
  }
}

// log(p/q)² below which the Taylor series of degree 5 is exact to float32's last digits. In double it is not needed.
template <class R>
constexpr R kClose = sizeof(R) == sizeof(float) ? R(1e-3) : R(0);

// Where the gradient row at `offset` may be written as R: in place, or in `scratch`, for deliver() to convert.
template <class R>
inline R* place(void* data, int32_t type, int64_t offset, R* scratch) {
  const bool same = type == (sizeof(R) == sizeof(float) ? kFloat32 : kFloat64);
  return same ? static_cast<R*>(data) + offset : scratch;
}

template <class R>
inline void deliver(void* data, int32_t type, int64_t offset, int64_t n, const R* scratch) {
  if (type == kBFloat16) {
    uint16_t* p = static_cast<uint16_t*>(data) + offset;
    for (int64_t i = 0; i < n; ++i) p[i] = narrow_bfloat16(float(scratch[i]));
  } else if (type == kFloat16) {
#ifdef __FLT16_MAX__
    _Float16* p = static_cast<_Float16*>(data) + offset;
    for (int64_t i = 0; i < n; ++i) p[i] = _Float16(float(scratch[i]));
#endif
  }
}

// The next chunk of a row's softmax.
template <class R, class Chunk>
inline Vec<R> probability(const Row<R>& row, int64_t i, Chunk chunk) {
  return rounded(chunk.load(row.e + i, 0) * row.inverse);
}

template <class R>
inline R largest_of(const R* z, int64_t n) {
  constexpr int W = kWidth<R>;
  Vec<R> m[4];
  for (auto& v : m) v = splat<Vec<R>>(R(-INFINITY));
  int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W)
    for (int j = 0; j < 4; ++j) m[j] = larger<Vec<R>>(load<Vec<R>>(z + i + j * W), m[j]);
  for (; i + W <= n; i += W) m[0] = larger<Vec<R>>(load<Vec<R>>(z + i), m[0]);
  R last = max_of<R>(larger<Vec<R>>(larger<Vec<R>>(m[0], m[1]), larger<Vec<R>>(m[2], m[3])));
  for (; i < n; ++i) last = z[i] > last ? z[i] : last;
  return last;
}

// Class of the first of equal largest logits, as argmax has it; `largest` is in z, unless z holds NaN.
template <class R>
inline int64_t first_of(const R* z, R largest, int64_t n) {
  int64_t c = 0;
  while (c < n && z[c] != largest) ++c;
  return c;
}

// Softmax of z / τ. Keeps the exponentials in row.e if there is room for them. NaN in z makes the sum NaN.
template <class R>
inline void soften(Row<R>& row, int64_t n, R inverse_temperature) {
  Vec<R> sum{};
  const R largest = row.largest;
  if (row.e) {
    sweep<R>(n, [&](int64_t i, auto chunk) {
      const Vec<R> e = exp_negative<R>((chunk.load(row.z + i, R(-INFINITY)) - largest) * inverse_temperature);
      chunk.store(row.e + i, e);
      sum += e;
    });
  } else {
    sweep<R>(n, [&](int64_t i, auto chunk) {
      sum += exp_negative<R>(chunk.load(row.z + i, R(-INFINITY)) - largest);
    });
  }
  row.sum = sum_of<R>(sum);
  row.inverse = R(1 / row.sum);
}

// Σ_c (T - p)², and Σ_c p (p - T), which its gradient needs.
template <class R>
inline R squared_distance(const Row<R>& teacher, const Row<R>& student, int64_t n, R* slope) {
  Vec<R> squares{}, products{};
  sweep<R>(n, [&](int64_t i, auto chunk) {
    const Vec<R> p = probability(student, i, chunk);
    const Vec<R> d = p - probability(teacher, i, chunk);
    squares += d * d;
    products += p * d;
  });
  *slope = sum_of<R>(products);
  return sum_of<R>(squares);
}

// log(p / q) of two softmaxes whose exponentials are e^(inverse_temperature (z - largest)).
template <class R>
struct LogRatio {
  const R *a, *b;
  R largest_a, largest_b, inverse_temperature, offset;
  LogRatio(const Row<R>& p, const Row<R>& q, R inverse_temperature)
      : a(p.z),
        b(q.z),
        largest_a(p.largest),
        largest_b(q.largest),
        inverse_temperature(inverse_temperature),
        offset(R(log(double(p.inverse) / double(q.inverse)))) {}
  template <class Chunk>
  Vec<R> operator()(int64_t i, Chunk chunk) const {
    return ((chunk.load(a + i, 0) - largest_a) - (chunk.load(b + i, 0) - largest_b)) * inverse_temperature + offset;
  }
};

// KL(p ‖ q). Summed as p log(p/q) - p + q, where no summand is negative, and where p is close to q as that one's
// Taylor series in r = log(p/q): small distances keep their digits.
template <class R>
inline R kl_divergence(const Row<R>& p_row, const Row<R>& q_row, int64_t n, R inverse_temperature) {
  const LogRatio<R> log_ratio(p_row, q_row, inverse_temperature);
  Vec<R> sum{};
  sweep<R>(n, [&](int64_t i, auto chunk) {
    const Vec<R> p = probability(p_row, i, chunk), q = probability(q_row, i, chunk);
    const Vec<R> r = log_ratio(i, chunk), r2 = r * r;
    const Vec<R> near = p * r2 * ((R(1) / 2 - r * (R(1) / 6)) + r2 * (R(1) / 24 - r * (R(1) / 120)));
    const Vec<R> far = (p == R(0) ? Vec<R>{} : p * r) - p + q;
    sum += r2 < kClose<R> ? near : far;
  });
  return sum_of<R>(sum);
}

// ½ [KL(p ‖ q) + KL(q ‖ p)] = ½ Σ (p - q) log(p/q), and both divergences, which its gradient needs.
template <class R>
inline R symmetric_kl(const Row<R>& p_row, const Row<R>& q_row, int64_t n, R* pq, R* qp) {
  const LogRatio<R> log_ratio(p_row, q_row, 1);
  Vec<R> sum{}, p_sum{}, q_sum{};
  sweep<R>(n, [&](int64_t i, auto chunk) {
    const Vec<R> p = probability(p_row, i, chunk), q = probability(q_row, i, chunk);
    const IntVec<R> both_zero = (p == R(0)) & (q == R(0));
    const Vec<R> ratio = both_zero ? Vec<R>{} : log_ratio(i, chunk);
    sum += (p - q) * ratio;
    p_sum += p == R(0) ? Vec<R>{} : p * ratio;
    q_sum -= q == R(0) ? Vec<R>{} : q * ratio;
  });
  *pq = sum_of<R>(p_sum);
  *qp = sum_of<R>(q_sum);
  return sum_of<R>(sum) / 2;
}

}  // namespace
