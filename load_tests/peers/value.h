// What is put and got: the frames of one chunk in `full`, the same bytes for every contestant.
#ifndef DECANT_LOAD_TESTS_PEERS_VALUE_H_
#define DECANT_LOAD_TESTS_PEERS_VALUE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/digest.h"
#include "common/kv/geometry.h"

namespace decant {

inline constexpr int32_t kValueTokens = 64;

// Of about 64 KiB, or of a multiple of 128 KiB: frames of bf16 keys and values of 64 tokens and 4 or 8 heads of 64.
Geometry GeometryOfValue(int64_t bytes);
Digest ModelOfValue(const Geometry& geometry);

struct Value {
  Digest key;
  Digest parent;  // zeros for the first of a chain
  int32_t first_token = 0;
  std::string bytes;                // frames by layer, back to back
  std::vector<size_t> frame_sizes;  // one a layer
};

// The values of one chain: keys, places and bytes are functions of `seed`. Every frame states its key, and its payload
// repeats it every 4 KiB between pseudo-random bytes.
std::vector<Value> ChainOf(uint64_t seed, int count, int64_t bytes);

}  // namespace decant

#endif  // DECANT_LOAD_TESTS_PEERS_VALUE_H_
