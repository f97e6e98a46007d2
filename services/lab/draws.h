#ifndef DECANT_SERVICES_LAB_DRAWS_H_
#define DECANT_SERVICES_LAB_DRAWS_H_

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/random.h"

namespace decant {

// A sequence of draws that is a pure function of its seed, the same on every machine and with every library.
class Draws {
 public:
  explicit Draws(uint64_t seed) : seed_(seed) {}

  // Uniform in [0, count), count > 0; the bias of the remainder is below 2^-50 for the counts of a text.
  size_t Below(size_t count) { return static_cast<size_t>(MixBits(seed_, position_++) % count); }
  // Uniform in [least, most].
  int32_t Between(int32_t least, int32_t most) {
    return least + static_cast<int32_t>(Below(static_cast<size_t>(most - least + 1)));
  }
  absl::string_view Of(absl::Span<const absl::string_view> words) { return words[Below(words.size())]; }

  template <typename T>
  void Shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[Below(i)]);
  }
  // `count` different ones in random order; at most as many as there are.
  std::vector<absl::string_view> Sample(absl::Span<const absl::string_view> words, size_t count) {
    std::vector<absl::string_view> drawn(words.begin(), words.end());
    Shuffle(drawn);
    if (count < drawn.size()) drawn.resize(count);
    return drawn;
  }

 private:
  const uint64_t seed_;
  uint64_t position_ = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_DRAWS_H_
