// Vectors of SEQKD_BYTES bytes in the compilers' own vector types, their exponential, and scratch memory.
//
// Included once per instruction set, inside that set's target pragma; everything has internal linkage, so that
// no function compiled for one set is ever called from another.
#pragma once

namespace {

template <class R>
struct Lanes;

template <>
struct Lanes<float> {
  using Int = int32_t;
  typedef float V __attribute__((vector_size(SEQKD_BYTES)));
  typedef int32_t I __attribute__((vector_size(SEQKD_BYTES)));
  static constexpr int kMantissa = 23, kBias = 127;
  static constexpr float kMagic = 12582912.0f;     // 1.5 * 2^23: adding it rounds to an integer in the low bits
  static constexpr float kSmallest = -125.0f;      // 2^x below is taken for 0
  static constexpr float kLn2High = 0.693359375f;  // few bits, so that its products with integers are exact
  static constexpr float kLn2Low = -2.12194440e-4f;
  static constexpr float kLargestGap = 2e6f;  // nats; beyond, rounding by kMagic fails
  static constexpr Int kZero = -(1 << 28);    // exponent of the number 0
  // 2^x for |x| ≤ ½ (relative error 9e-8) and e^x for |x| ≤ ½ ln2 (2e-9): minimax, and 1 for 0. Taylor's in double.
  static constexpr float kExp2[] = {1.0f, 0.693146977f, 0.240222413f, 0.0555073439f, 0.00967156595f, 0.00132646591f};
  static constexpr float kExp[] = {1.0f,           1.0f,           0.499999942f,  0.166664308f,
                                   0.0416680047f,  0.00837419573f, 0.00138436068f};
};

template <>
struct Lanes<double> {
  using Int = int64_t;
  typedef double V __attribute__((vector_size(SEQKD_BYTES)));
  typedef int64_t I __attribute__((vector_size(SEQKD_BYTES)));
  static constexpr int kMantissa = 52, kBias = 1023;
  static constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kSmallest = -1020.0;
  static constexpr double kLn2High = 6.93145751953125e-1;
  static constexpr double kLn2Low = 1.42860682030941723212e-6;
  static constexpr double kLargestGap = 1e15;
  static constexpr Int kZero = -(int64_t(1) << 60);
  static constexpr double kExp2[] = {1.0, 0.6931471805599453, 0.2402265069591007, 0.055504108664821576,
                                     0.009618129107628477, 0.0013333558146428441, 0.00015403530393381606, 1.5252733804059838e-05,
                                     1.3215486790144305e-06, 1.0178086009239696e-07, 7.054911620801121e-09, 4.44553827187081e-10,
                                     2.5678435993488196e-11, 1.3691488853904124e-12};
  static constexpr double kExp[] = {1.0,          1.0,           1.0 / 2,        1.0 / 6,         1.0 / 24,
                                    1.0 / 120,    1.0 / 720,     1.0 / 5040,     1.0 / 40320,     1.0 / 362880,
                                    1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
};

template <class R>
using Vec = typename Lanes<R>::V;
template <class R>
using IntVec = typename Lanes<R>::I;
template <class R>
constexpr int kWidth = SEQKD_BYTES / sizeof(R);

template <class V, class S>
inline V splat(S value) {
  V v;
  for (size_t i = 0; i < sizeof(V) / sizeof(v[0]); ++i) v[i] = value;
  return v;
}

template <class V, class S>
inline V load(const S* p) {
  V v;
  memcpy(&v, p, sizeof v);
  return v;
}

template <class V, class S>
inline void store(S* p, V v) {
  memcpy(p, &v, sizeof v);
}

template <class V>
inline V larger(V a, V b) {
  return a > b ? a : b;
}

// Keeps the compiler from fusing a product with the difference it goes into: rounded on one side only, two equal
// products would differ.
template <class V>
inline V rounded(V v) {
#if defined(__x86_64__) && SEQKD_BYTES == 64
  asm("" : "+v"(v));
#elif defined(__x86_64__)
  asm("" : "+x"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
  return v;
}

// Lanes are added in one fixed order, whatever the compiler thinks of it.
template <class R>
inline R sum_of(Vec<R> v) {
  R lanes[kWidth<R>];
  store(lanes, v);
  for (int n = kWidth<R> / 2; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) lanes[i] += lanes[i + n];
  return lanes[0];
}

template <class R>
inline R max_of(Vec<R> v) {
  R m = v[0];
  for (int i = 1; i < kWidth<R>; ++i) m = v[i] > m ? v[i] : m;
  return m;
}

template <class R, int N>
inline Vec<R> polynomial(Vec<R> x, const R (&c)[N]) {
  Vec<R> y = splat<Vec<R>>(c[N - 1]);
  for (int n = N - 2; n >= 0; --n) y = y * x + c[n];
  return y;
}

// e^x for x ≤ 0; exactly 1 for 0, exactly 0 below e^-86 (float) or e^-707 (double), NaN for NaN.
template <class R>
inline Vec<R> exp_negative(Vec<R> x) {
  using L = Lanes<R>;
  const Vec<R> t = x * R(1.44269504088896340736);
  const Vec<R> magic = splat<Vec<R>>(L::kMagic + L::kBias);
  const Vec<R> shifted = t + magic;
  // The low bits of `shifted` are the rounded t plus the bias: moved up, they are the float 2^round(t). A product,
  // not a sum of bits, so that NaN stays NaN.
  const Vec<R> scale = (Vec<R>)((IntVec<R>)shifted << L::kMantissa);
  const Vec<R> y = polynomial<R>(t - (shifted - magic), L::kExp2) * scale;
  return t < L::kSmallest ? Vec<R>{} : y;
}

// A positive number as mantissa times 2 to an integer, so that no product of probabilities underflows.
template <class R>
struct Wide {
  Vec<R> mantissa;
  IntVec<R> exponent;
};

// e^(a - b) for a ≤ b with the rounding error of a - b made good. kZero's exponent for a = -inf.
template <class R>
inline Wide<R> exp_difference(Vec<R> a, R b) {
  using L = Lanes<R>;
  const Vec<R> d = a - b;
  const Vec<R> back = d - a;
  const Vec<R> lost = (a - (d - back)) - (b + back);  // d + lost = a - b exactly
  const Vec<R> magic = splat<Vec<R>>(L::kMagic);
  const Vec<R> shifted = d * R(1.44269504088896340736) + magic;
  const Vec<R> whole = shifted - magic;
  const Vec<R> rest = ((d - whole * L::kLn2High) - whole * L::kLn2Low) + lost;
  const IntVec<R> tiny = d < -L::kLargestGap;
  const IntVec<R> exponent = (IntVec<R>)shifted - (IntVec<R>)magic;
  return {tiny ? Vec<R>{} : polynomial<R>(rest, L::kExp), tiny ? splat<IntVec<R>>(L::kZero) : exponent};
}

// 2^n for n ≤ 127 (float) or 1023 (double); 0 for n ≤ -127 or -1023.
template <class R>
inline Vec<R> power_of_two(IntVec<R> n) {
  using L = Lanes<R>;
  const IntVec<R> biased = larger<IntVec<R>>(n + typename L::Int(L::kBias), IntVec<R>{});
  return (Vec<R>)(biased << L::kMantissa);
}

// Scratch memory of one thread: handed out from one block, taken back all at once when the next utterance begins, and
// kept between calls (a thread that ends leaves it to the next one), since fresh pages from the system cost as much as
// the arithmetic.
class Arena {
 public:
  static Arena& mine() {
    static thread_local Lease lease;
    return *lease.arena;
  }
  void begin() {
    if (kSeparate || blocks_.size() != 1 || used_ > kMost) {
      size_t size = 0;
      for (Block& block : blocks_) size += block.size, free(block.memory);
      blocks_.clear();
      if (!kSeparate && size <= kMost) add(size);
    }
    used_ = 0;
  }
  void* take(size_t bytes) {
    if (!kSeparate) bytes = (bytes + 63) / 64 * 64;
    if (kSeparate || blocks_.empty() || used_ + bytes > blocks_.back().size) {
      add(kSeparate || bytes > kLeast ? bytes : kLeast);
      used_ = 0;
    }
    void* p = static_cast<char*>(blocks_.back().memory) + used_;
    used_ += bytes;
    return p;
  }

 private:
#ifdef __SANITIZE_ADDRESS__
  static constexpr bool kSeparate = true;  // so that every overrun is seen
#else
  static constexpr bool kSeparate = false;
#endif
  static constexpr size_t kLeast = 1 << 16, kMost = 64 << 20;
  struct Block {
    void* memory;
    size_t size;
  };
  // Those that no thread has now. Never destroyed: threads may end after it would be.
  struct Idle {
    std::mutex mutex;
    std::vector<Arena*> arenas;
    static Idle& all() {
      static Idle* idle = new Idle;
      return *idle;
    }
  };
  struct Lease {
    Arena* arena = nullptr;
    Lease() {
      std::lock_guard<std::mutex> lock(Idle::all().mutex);
      auto& arenas = Idle::all().arenas;
      if (arenas.empty()) {
        arena = new Arena;
      } else {
        arena = arenas.back();
        arenas.pop_back();
      }
    }
    ~Lease() {
      std::lock_guard<std::mutex> lock(Idle::all().mutex);
      Idle::all().arenas.push_back(arena);
    }
  };
  void add(size_t bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, bytes ? bytes : 64)) throw std::bad_alloc();
    blocks_.push_back({memory, bytes});
  }
  std::vector<Block> blocks_;
  size_t used_ = 0;
};

// Uninitialised scratch on a cache line's boundary, for this utterance.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t size) : memory_(static_cast<T*>(Arena::mine().take(size_t(size > 0 ? size : 1) * sizeof(T)))) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* get() const { return memory_; }
  T& operator[](int64_t i) const { return memory_[i]; }

 private:
  T* const memory_;
};

// Not std::fill: an instance of a standard template may be shared with code for another instruction set, unless it
// is of one of our own types.
template <class T>
inline void fill(T* p, int64_t n, T value) {
  for (int64_t i = 0; i < n; ++i) p[i] = value;
}

// Calls body(i, chunk) for i = 0, W, 2W, ... < n; chunk loads and stores W numbers, or what is left at the end.
template <class R>
struct WholeChunk {
  Vec<R> load(const R* p, R) const { return ::load<Vec<R>>(p); }
  void store(R* p, Vec<R> v) const { ::store(p, v); }
};

template <class R>
struct LastChunk {
  int64_t size;
  Vec<R> load(const R* p, R fill) const {
    Vec<R> v = splat<Vec<R>>(fill);
    memcpy(&v, p, size * sizeof(R));
    return v;
  }
  void store(R* p, Vec<R> v) const { memcpy(p, &v, size * sizeof(R)); }
};

template <class R, class Body>
inline void sweep(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + kWidth<R> <= n; i += kWidth<R>) body(i, WholeChunk<R>{});
  if (i < n) body(i, LastChunk<R>{n - i});
}

}  // namespace
