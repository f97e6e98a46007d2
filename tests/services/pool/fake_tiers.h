// Lower tiers in memory, for tests of the pool's core: what is to be written is there at once.
#ifndef DECANT_TESTS_SERVICES_POOL_FAKE_TIERS_H_
#define DECANT_TESTS_SERVICES_POOL_FAKE_TIERS_H_

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "services/pool/pool.h"

namespace decant {

class FakeTiers final : public LowerTiers {
 public:
  // Of these events it writes; none: it takes nothing.
  explicit FakeTiers(std::set<HostEvent> writes_at = {HostEvent::kStored}) : writes_at_(std::move(writes_at)) {}

  bool Heeds(HostEvent event) const override { return writes_at_.count(event) > 0; }
  void Note(HostEvent, const RecordId& id, absl::FunctionRef<Record()> record) override {
    if (!records.contains(id)) records.emplace(id, record());
  }
  std::optional<Tier> Where(const RecordId& id) const override {
    if (!records.contains(id)) return std::nullopt;
    return Tier::kDisk;
  }
  void Erase(const RecordId& id) override { records.erase(id); }
  void CountHost(int64_t chunks) override { host += chunks; }
  void CountUnknown(int64_t chunks) override { unknown += chunks; }

  // What a store's threads do with a job: the record, or a miss of the reason given.
  Loaded Load(const LoadJob& job, TierMiss otherwise = TierMiss::kAbsent) {
    Loaded loaded;
    loaded.tier = Tier::kDisk;
    loaded.miss = otherwise;
    const auto found = records.find(job.id);
    if (found != records.end()) {
      loaded.record = found->second;
      ++(job.is_prefetch() ? prefetched : below);
    } else {
      loaded.record = absl::DataLossError("its bytes are wrong");
      ++missed;
    }
    return loaded;
  }
  void LoadAll(Pool& pool, absl::Time now) {
    for (const LoadJob& job : pool.TakeLoads()) pool.FinishLoad(now, job, Load(job));
  }

  absl::flat_hash_map<RecordId, Record> records;
  int64_t host = 0;
  int64_t unknown = 0;
  int64_t below = 0;
  int64_t missed = 0;
  int64_t prefetched = 0;

 private:
  const std::set<HostEvent> writes_at_;
};

}  // namespace decant

#endif  // DECANT_TESTS_SERVICES_POOL_FAKE_TIERS_H_
