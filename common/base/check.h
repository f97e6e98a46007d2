#ifndef DECANT_COMMON_BASE_CHECK_H_
#define DECANT_COMMON_BASE_CHECK_H_

#include <cstdio>
#include <cstdlib>

// Ends the process when `condition` is false: our own mistake, never reachable by bytes from outside (those get an
// absl::Status).
#define DECANT_CHECK(condition)                                                          \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)

// The same with printf-style values, which are what makes a crash worth reading.
#define DECANT_CHECK_MSG(condition, ...)                                                 \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: check failed: %s: ", __FILE__, __LINE__, #condition); \
      std::fprintf(stderr, __VA_ARGS__);                                                 \
      std::fprintf(stderr, "\n");                                                        \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)

#endif  // DECANT_COMMON_BASE_CHECK_H_
