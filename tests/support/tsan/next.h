#ifndef DECANT_TESTS_SUPPORT_TSAN_NEXT_H_
#define DECANT_TESTS_SUPPORT_TSAN_NEXT_H_

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

namespace decant {

// The definition that one of ours stands in front of, by its mangled name in Debian 12's package.
template <typename Function>
Function Next(const char* symbol) {
  void* found = dlsym(RTLD_NEXT, symbol);
  if (found == nullptr) {
    std::fprintf(stderr, "tsan: no library has %s: tests/support/tsan names functions of other packages\n", symbol);
    std::abort();
  }
  return reinterpret_cast<Function>(found);
}

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_TSAN_NEXT_H_
