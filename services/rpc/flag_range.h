// What a numeric flag of a command line may be.
#ifndef DECANT_SERVICES_RPC_FLAG_RANGE_H_
#define DECANT_SERVICES_RPC_FLAG_RANGE_H_

#include <CLI/CLI.hpp>

namespace decant {

inline constexpr double kMostCount = 1e6;               // of workers, requests, sequences
inline constexpr double kMostSeconds = 1e9;             // some 30 years
inline constexpr double kMostBytes = 1125899906842624;  // 1 PiB
inline constexpr double kMostBitsPerS = 1e15;
inline constexpr double kMostTokens = 2147483647;
inline constexpr double kMostSeed = 9223372036854775807.0;

// Accepts a number from `least` to `most`. Everything else is an error of parsing that names what is allowed: a sign
// that an unsigned flag would take for a huge number, NaN, infinity, words. For flags of size it stands behind the
// transformation of their units.
CLI::Validator InRange(double least, double most);

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_FLAG_RANGE_H_
