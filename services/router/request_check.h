// A client's request, checked once on entry and tokenised.
#ifndef DECANT_SERVICES_ROUTER_REQUEST_CHECK_H_
#define DECANT_SERVICES_ROUTER_REQUEST_CHECK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/kv/geometry.h"
#include "common/model/tokenizer.h"
#include "services/router/messages.h"

namespace decant {

// What the router must know of its model; `tokenizer` is lent and outlives every user.
struct RouterModel {
  std::string name;
  Digest fingerprint;
  Geometry geometry;
  int32_t max_positions = 0;
  int32_t vocabulary = 0;
  std::vector<int32_t> end_tokens;
  const Tokenizer* tokenizer = nullptr;
  std::vector<std::string> profiles;  // names a request may ask for; `full` is one of them
};

inline constexpr int32_t kDefaultMaxTokens = 256;
inline constexpr size_t kMostStops = 16;
inline constexpr size_t kLongestStopBytes = 256;
inline constexpr size_t kLongestRequestIdBytes = 128;

// Checks every field and turns text into ids. Pure and thread-safe; tokenising is the expensive part and so is kept
// off the thread of the core. INVALID_ARGUMENT with the value and what is allowed; NOT_FOUND for an unknown profile,
// with the names there are. tokenise_time is left zero.
absl::StatusOr<PreparedRequest> PrepareRequest(const RouterModel& model, GenerateInput input);

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_REQUEST_CHECK_H_
