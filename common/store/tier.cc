#include "common/store/tier.h"

#include <array>

namespace decant {

absl::string_view TierName(Tier tier) {
  static constexpr std::array<absl::string_view, kTiers> kNames = {"device", "host", "disk", "remote"};
  return kNames[static_cast<size_t>(tier)];
}

absl::string_view TierMissName(TierMiss miss) {
  static constexpr std::array<absl::string_view, kTierMisses> kNames = {"absent", "damaged",     "foreign", "version",
                                                                        "stale",  "unavailable", "late",    "overload"};
  return kNames[static_cast<size_t>(miss)];
}

TierMiss MissOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return TierMiss::kAbsent;
    case absl::StatusCode::kDataLoss:
      return TierMiss::kDamaged;
    case absl::StatusCode::kFailedPrecondition:
      return TierMiss::kForeign;
    case absl::StatusCode::kUnimplemented:
      return TierMiss::kVersion;
    case absl::StatusCode::kAborted:
      return TierMiss::kStale;
    case absl::StatusCode::kDeadlineExceeded:
      return TierMiss::kLate;
    case absl::StatusCode::kResourceExhausted:
      return TierMiss::kOverload;
    default:
      return TierMiss::kUnavailable;
  }
}

}  // namespace decant
