// What really happened, as running averages that correct the latency model's constants.
#ifndef DECANT_COMMON_POLICY_OBSERVATIONS_H_
#define DECANT_COMMON_POLICY_OBSERVATIONS_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace decant {

// One finished transfer. Values that are not finite or not positive teach nothing.
struct Observation {
  std::string profile;
  std::string prefill;  // the two ends of the link
  std::string decode;
  int32_t prompt_tokens = 0;
  int32_t tokens_computed = 0;
  double compute_ms = 0;
  double encode_ms = 0;
  double wire_ms = 0;
  double ttft_ms = 0;
  int64_t wire_bytes = 0;
  int64_t full_bytes = 0;
};

// Averages weigh a new value 0.3. A measured constant is only ever corrected by a factor of kMostCorrection: one odd
// report must not turn every later decision. Keeps at most kMostLinks links and kMostProfiles profiles; later names
// teach nothing. Not thread-safe.
class Observations {
 public:
  static constexpr double kMostCorrection = 2;
  static constexpr size_t kMostLinks = 1024;
  static constexpr size_t kMostProfiles = 64;

  void Add(const Observation& observation);

  // The constant `stated`, corrected by what was seen. For prefill and link 0 means that nothing was stated: then what
  // was seen counts alone, and 0 comes back when nothing was.
  double PrefillTokensPerS(const std::string& prefill, double stated) const;
  double EncodeBytesPerS(const std::string& profile, double stated) const;
  double WireRatio(const std::string& profile, double stated) const;
  // A stated link rate is believed as it is: what a pipelined transfer reaches is often less than what the link could.
  double LinkBitsPerS(const std::string& profile, const std::string& prefill, const std::string& decode,
                      double stated) const;

 private:
  struct Average {
    double value = 0;  // 0 = nothing seen
    void Add(double seen);
  };
  using Link = std::pair<std::string, std::string>;

  std::map<std::string, Average> prefill_tokens_per_s_;
  std::map<std::string, Average> encode_bytes_per_s_;                // by profile
  std::map<std::string, Average> wire_ratio_;                        // by profile
  std::map<std::pair<std::string, Link>, Average> link_bits_per_s_;  // by profile and link
};

}  // namespace decant

#endif  // DECANT_COMMON_POLICY_OBSERVATIONS_H_
