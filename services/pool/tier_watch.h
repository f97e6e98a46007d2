// Tells the operator when a lower tier fails and when it is back. The pool goes on without it meanwhile.
#ifndef DECANT_SERVICES_POOL_TIER_WATCH_H_
#define DECANT_SERVICES_POOL_TIER_WATCH_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/pool/tiers/tiered_stats.h"

namespace decant {

// Not thread-safe.
class TierWatch {
 public:
  // `good`: what got better.
  using Say = std::function<void(bool good, const std::string& line)>;
  explicit TierWatch(Say say) : say_(std::move(say)) {}

  // A line for everything that has changed since the last call.
  void Look(const TieredStats& stats) {
    seen_.resize(stats.lanes.size());
    for (size_t i = 0; i < stats.lanes.size(); ++i) {
      const LaneStats& now = stats.lanes[i];
      const LaneStats before = std::exchange(seen_[i], now);
      const std::string tier = absl::StrCat("the ", TierName(now.tier), " tier");
      if (before.use.answers && !now.use.answers) {
        say_(false, absl::StrCat(tier, " does not answer, the pool goes on without it: ", now.failure));
      } else if (!before.use.answers && now.use.answers) {
        say_(true, absl::StrCat(tier, " answers again"));
      } else if (now.write_failed > before.write_failed && now.use.answers) {
        say_(false, absl::StrCat(tier, " did not take ", now.write_failed - before.write_failed, " of ",
                                 now.write_failed - before.write_failed + now.written - before.written,
                                 " records, they are in host memory only: ", now.failure));
      }
      if (now.quarantined > before.quarantined) {
        say_(false, absl::StrCat(tier, " gave ", now.quarantined - before.quarantined,
                                 " records that are not what was stored; they are erased: ", now.failure));
      }
    }
  }

 private:
  const Say say_;
  std::vector<LaneStats> seen_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_TIER_WATCH_H_
