// The words of CUDA C++ for a kernel that is compiled as host C++; gpu/device/cuda_kernel.h includes this for
// decant_kernels_on_launcher and nothing else does. What is not here is not to be used by a kernel that the launcher
// runs: no toolkit header, no CUB, no cooperative groups, no inline PTX.
#ifndef DECANT_TESTS_SUPPORT_LAUNCHER_CUDA_ON_HOST_H_
#define DECANT_TESTS_SUPPORT_LAUNCHER_CUDA_ON_HOST_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>

#include "tests/support/launcher/block_runner.h"
#include "tests/support/launcher/cuda_types.h"
#include "tests/support/launcher/launcher_device.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// One launch runs at a time, one block after another.
#define __shared__ static

#define threadIdx (::decant::launcher::place.thread)
#define blockIdx (::decant::launcher::place.block)
#define blockDim (::decant::launcher::place.block_size)
#define gridDim (::decant::launcher::place.grid_size)
#define warpSize 32

#define DECANT_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  ::decant::launcher::Launch(#kernel, kernel, (grid), (block), (shared_bytes), (stream), __VA_ARGS__)
#define DECANT_DYN_SHARED(T, name) T* const name = static_cast<T*>(::decant::launcher::DynamicShared())
#define DECANT_RECORD_READ(address, bytes) \
  ::decant::launcher::RecordAccess((address), (bytes), 1, false, __FILE__, __LINE__)
#define DECANT_RECORD_WRITE(address, bytes) \
  ::decant::launcher::RecordAccess((address), (bytes), 1, true, __FILE__, __LINE__)

namespace decant {

template <typename T>
T Load(const T* p, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  launcher::RecordAccess(p, sizeof(T), alignof(T), false, file, line);
  return *p;
}
template <typename T>
void Store(T* p, T value, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  launcher::RecordAccess(p, sizeof(T), alignof(T), true, file, line);
  *p = value;
}

namespace launcher {

template <typename... Params, typename... Args>
void Launch(const char* name, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, Stream& stream,
            const Args&... args) {
  const std::tuple<Params...> values(static_cast<Params>(args)...);
  RunOnDevice(stream, name, grid, block, shared_bytes, [&] { std::apply(kernel, values); });
}

template <typename T>
uint64_t ToBits(T value) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <typename T>
T FromBits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// What lane `source` shows; of a lane that takes no part the hardware promises nothing, and gets bytes 0xff here.
template <typename T>
T Shuffle(uint32_t mask, T value, int source, const char* operation) {
  const Gathered gathered = GatherOverWarp(mask, ToBits(value), operation);
  if ((gathered.lanes >> source & 1u) == 0) return FromBits<T>(~uint64_t{0});
  return FromBits<T>(gathered.values[source]);
}

// f(so far, next) over the lanes that take part, in their order.
template <typename T, typename F>
T ReduceOverWarp(uint32_t mask, T value, const char* operation, const F& f) {
  const Gathered gathered = GatherOverWarp(mask, ToBits(value), operation);
  bool first = true;
  T result = value;
  for (int lane = 0; lane < 32; ++lane) {
    if ((gathered.lanes >> lane & 1u) == 0) continue;
    const T next = FromBits<T>(gathered.values[lane]);
    result = first ? next : f(result, next);
    first = false;
  }
  return result;
}

inline uint32_t Ballot(uint32_t mask, bool predicate, const char* operation) {
  const Gathered gathered = GatherOverWarp(mask, predicate ? 1 : 0, operation);
  uint32_t votes = 0;
  for (int lane = 0; lane < 32; ++lane) {
    if ((gathered.lanes >> lane & 1u) != 0 && gathered.values[lane] != 0) votes |= 1u << lane;
  }
  return votes;
}

template <typename T, typename F>
T Atomic(T* p, const F& f) {
  const T old = *p;
  *p = f(old);
  return old;
}

}  // namespace launcher
}  // namespace decant

inline void __syncthreads() { decant::launcher::SyncBlock("__syncthreads"); }
inline int __syncthreads_count(int predicate) {
  return decant::launcher::SumOverBlock(predicate != 0 ? 1 : 0, "__syncthreads_count");
}
inline int __syncthreads_or(int predicate) {
  return decant::launcher::SumOverBlock(predicate != 0 ? 1 : 0, "__syncthreads_or") > 0;
}
inline int __syncthreads_and(int predicate) {
  return decant::launcher::SumOverBlock(predicate != 0 ? 0 : 1, "__syncthreads_and") == 0;
}
inline void __syncwarp(uint32_t mask = 0xffffffffu) { decant::launcher::SyncWarp(mask); }

template <typename T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32) {
  const int lane = decant::launcher::place.lane;
  return decant::launcher::Shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), "__shfl_sync");
}
template <typename T>
T __shfl_xor_sync(uint32_t mask, T value, int with, int width = 32) {
  const int lane = decant::launcher::place.lane;
  const int source = lane ^ with;
  const bool outside = (source & ~(width - 1)) > (lane & ~(width - 1));
  return decant::launcher::Shuffle(mask, value, outside ? lane : source, "__shfl_xor_sync");
}
template <typename T>
T __shfl_down_sync(uint32_t mask, T value, unsigned by, int width = 32) {
  const int lane = decant::launcher::place.lane;
  const bool outside = (lane & (width - 1)) + static_cast<int>(by) >= width;
  return decant::launcher::Shuffle(mask, value, outside ? lane : lane + static_cast<int>(by), "__shfl_down_sync");
}
template <typename T>
T __shfl_up_sync(uint32_t mask, T value, unsigned by, int width = 32) {
  const int lane = decant::launcher::place.lane;
  const bool outside = (lane & (width - 1)) < static_cast<int>(by);
  return decant::launcher::Shuffle(mask, value, outside ? lane : lane - static_cast<int>(by), "__shfl_up_sync");
}

inline uint32_t __ballot_sync(uint32_t mask, int predicate) {
  return decant::launcher::Ballot(mask, predicate != 0, "__ballot_sync");
}
inline int __any_sync(uint32_t mask, int predicate) {
  return decant::launcher::Ballot(mask, predicate != 0, "__any_sync") != 0;
}
inline int __all_sync(uint32_t mask, int predicate) {
  return decant::launcher::Ballot(mask, predicate == 0, "__all_sync") == 0;
}
inline uint32_t __activemask() { return decant::launcher::LiveLanes(); }
template <typename T>
uint32_t __match_any_sync(uint32_t mask, T value) {
  const auto bits = decant::launcher::ToBits(value);
  const auto gathered = decant::launcher::GatherOverWarp(mask, bits, "__match_any_sync");
  uint32_t equal = 0;
  for (int lane = 0; lane < 32; ++lane) {
    if ((gathered.lanes >> lane & 1u) != 0 && gathered.values[lane] == bits) equal |= 1u << lane;
  }
  return equal;
}

// As on the device: add, min and max of 32-bit integers, and, or, xor of unsigned ones.
#define DECANT_WARP_REDUCE(T, name, expression)                                        \
  inline T __reduce_##name##_sync(uint32_t mask, T value) {                            \
    return decant::launcher::ReduceOverWarp(mask, value, "__reduce_" #name "_sync",    \
                                            [](T a, T b) -> T { return expression; }); \
  }
DECANT_WARP_REDUCE(int, add, a + b)
DECANT_WARP_REDUCE(int, min, b < a ? b : a)
DECANT_WARP_REDUCE(int, max, b > a ? b : a)
DECANT_WARP_REDUCE(unsigned, add, a + b)
DECANT_WARP_REDUCE(unsigned, min, b < a ? b : a)
DECANT_WARP_REDUCE(unsigned, max, b > a ? b : a)
DECANT_WARP_REDUCE(unsigned, and, a& b)
DECANT_WARP_REDUCE(unsigned, or, a | b)
DECANT_WARP_REDUCE(unsigned, xor, a ^ b)
#undef DECANT_WARP_REDUCE

// The overloads of the device, no others: what compiles here compiles there.
#define DECANT_ATOMIC(T, name, expression)                                                       \
  inline T atomic##name(T* p, T v) {                                                             \
    return decant::launcher::Atomic(p, [v]([[maybe_unused]] T old) -> T { return expression; }); \
  }
#define DECANT_INTEGER_ATOMICS(T)                                                                      \
  DECANT_ATOMIC(T, Add, old + v)                                                                       \
  DECANT_ATOMIC(T, Max, v > old ? v : old)                                                             \
  DECANT_ATOMIC(T, Min, v < old ? v : old)                                                             \
  DECANT_ATOMIC(T, And, old& v)                                                                        \
  DECANT_ATOMIC(T, Or, old | v)                                                                        \
  DECANT_ATOMIC(T, Xor, old ^ v)                                                                       \
  DECANT_ATOMIC(T, Exch, v)                                                                            \
  inline T atomicCAS(T* p, T compare, T v) {                                                           \
    return decant::launcher::Atomic(p, [compare, v](T old) -> T { return old == compare ? v : old; }); \
  }
DECANT_INTEGER_ATOMICS(int)
DECANT_INTEGER_ATOMICS(unsigned)
DECANT_INTEGER_ATOMICS(unsigned long long)
DECANT_ATOMIC(int, Sub, old - v)
DECANT_ATOMIC(unsigned, Sub, old - v)
DECANT_ATOMIC(float, Add, old + v)
DECANT_ATOMIC(float, Exch, v)
DECANT_ATOMIC(double, Add, old + v)
#undef DECANT_INTEGER_ATOMICS
#undef DECANT_ATOMIC

// Blocks and threads run in turn, so that everything written is seen.
inline void __threadfence() {}
inline void __threadfence_block() {}
template <typename T>
T __ldg(const T* p, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return decant::Load(p, file, line);
}

inline int __popc(uint32_t x) { return std::popcount(x); }
inline int __popcll(uint64_t x) { return std::popcount(x); }
inline int __ffs(uint32_t x) { return x == 0 ? 0 : std::countr_zero(x) + 1; }
inline int __ffsll(uint64_t x) { return x == 0 ? 0 : std::countr_zero(x) + 1; }
inline int __clz(uint32_t x) { return std::countl_zero(x); }
inline int __clzll(uint64_t x) { return std::countl_zero(x); }
inline unsigned __brev(uint32_t x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1u) << (31 - i);
  return reversed;
}
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
// Exact here, approximate on the device: what uses them is compared with a tolerance.
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

template <typename T>
constexpr T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
constexpr T max(T a, T b) {
  return a < b ? b : a;
}

#endif  // DECANT_TESTS_SUPPORT_LAUNCHER_CUDA_ON_HOST_H_
