// What lies behind the host tier, as the owner of the host tier sees it.
#ifndef DECANT_SERVICES_POOL_TIERS_LOWER_TIERS_H_
#define DECANT_SERVICES_POOL_TIERS_LOWER_TIERS_H_

#include <cstdint>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "common/store/record.h"
#include "common/store/tier.h"

namespace decant {

// What befell a chunk in the host tier.
enum class HostEvent : uint8_t { kStored = 0, kHit = 1, kEvicted = 2 };

// What became of a load.
struct Loaded {
  absl::StatusOr<Record> record = absl::UnknownError("not loaded");
  Tier tier = Tier::kHost;            // that it came from; of a miss the last one asked, kHost when none was
  TierMiss miss = TierMiss::kAbsent;  // the reason of that one; of a good record meaningless
};

// Thread-safe; no call blocks.
class LowerTiers {
 public:
  virtual ~LowerTiers() = default;

  // Whether Note of such an event may have something written; of others it need not be told.
  virtual bool Heeds(HostEvent event) const = 0;
  // `record` is called, before Note returns, only when it is to be written.
  virtual void Note(HostEvent event, const RecordId& id, absl::FunctionRef<Record()> record) = 0;
  // A tier that has it, or is about to, as far as is known without asking. Nothing for "no", which a remote tier that
  // others write to may contradict.
  virtual std::optional<Tier> Where(const RecordId& id) const = 0;
  // Forgets it in every tier, in the background.
  virtual void Erase(const RecordId& id) = 0;
  // `chunks` were asked for and the host tier had them (which is not yet a kHit), or no tier could serve them.
  virtual void CountHost(int64_t chunks) = 0;
  virtual void CountUnknown(int64_t chunks) = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_TIERS_LOWER_TIERS_H_
