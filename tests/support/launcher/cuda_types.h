// The plain types of CUDA C++, under their own names: no header of the toolkit is needed.
#ifndef DECANT_TESTS_SUPPORT_LAUNCHER_CUDA_TYPES_H_
#define DECANT_TESTS_SUPPORT_LAUNCHER_CUDA_TYPES_H_

#include <cstdint>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

#define DECANT_VECTOR_TYPES(T, name)                                           \
  struct alignas(2 * sizeof(T)) name##2 {                                      \
    T x, y;                                                                    \
  };                                                                           \
  struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) name##4 {            \
    T x, y, z, w;                                                              \
  };                                                                           \
  inline constexpr name##2 make_##name##2(T x, T y) { return name##2 {x, y}; } \
  inline constexpr name##4 make_##name##4(T x, T y, T z, T w) { return name##4 {x, y, z, w}; }

DECANT_VECTOR_TYPES(float, float)
DECANT_VECTOR_TYPES(int, int)
DECANT_VECTOR_TYPES(unsigned, uint)
DECANT_VECTOR_TYPES(unsigned short, ushort)
DECANT_VECTOR_TYPES(unsigned char, uchar)
#undef DECANT_VECTOR_TYPES

#endif  // DECANT_TESTS_SUPPORT_LAUNCHER_CUDA_TYPES_H_
