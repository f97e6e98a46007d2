// The disk tier: records in RocksDB, in a folder of its own.
//
// Records are appended to volumes, each a column family of a thirty-second of the capacity. Room is made by dropping
// the oldest volume, files and all, so that the bound holds for the bytes on disk and nothing is ever compacted; what
// was read or written again since it was appended moves to the newest volume first, up to half a volume of it. So
// records leave in the order they came, but for those in use.
//
// A record is one atomic write through RocksDB's log: a killed process loses what Put had not returned for and no more;
// after a power cut the tail of the log may be lost too, unless `sync`. RocksDB's checksums and ours are both verified.
//
// A disk without room refuses records and gives what it has; RocksDB looks every five seconds whether there is room
// again.
//
// In memory it holds two write buffers of up to 64 MiB and some 80 bytes for each record.
#ifndef DECANT_SERVICES_POOL_TIERS_DISK_TIER_H_
#define DECANT_SERVICES_POOL_TIERS_DISK_TIER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "common/store/tier.h"

namespace rocksdb {
class Env;
}

namespace decant {

struct DiskOptions {
  std::string folder;           // made when missing; one process at a time
  int64_t capacity_bytes = 0;   // of everything in the folder; from kLeastDiskBytes
  bool sync = false;            // a record is on the medium, not with the operating system, before Put returns
  rocksdb::Env* env = nullptr;  // the file system, which outlives the tier; null: the operating system's
};

inline constexpr int64_t kDiskVolumes = 32;
inline constexpr int64_t kLeastDiskBytes = int64_t{32} << 20;

class DiskTier final : public ByteTier {
 public:
  // Opens or makes the folder and learns what it holds, which reads a few hundred bytes for each record. A database
  // that RocksDB calls corrupt is a cache that is lost: it is made anew and `lost()` says why. INVALID_ARGUMENT for a
  // capacity that is too small, UNAVAILABLE when another process has the folder or it can't be used.
  static absl::StatusOr<std::unique_ptr<DiskTier>> Open(const DiskOptions& options);
  ~DiskTier() override;

  Tier tier() const override { return Tier::kDisk; }
  // The deadline is not looked at: a disk can't be asked to hurry.
  absl::Status Put(const RecordId& id, absl::string_view record, absl::Time deadline) override;
  absl::StatusOr<std::string> Get(const RecordId& id, absl::Time deadline) override;
  absl::Status Erase(const RecordId& id, absl::Time deadline) override;
  absl::StatusOr<bool> Contains(const RecordId& id, absl::Time deadline) override;  // answered from memory
  std::vector<RecordName> TakeForgotten() override;
  TierUse use() const override;

  // Every record's head, in no order: what a pool that starts again needs to know of.
  absl::Status ForEach(absl::FunctionRef<void(const RecordHead&)> visit) const;
  // The largest record it takes.
  int64_t most_record_bytes() const;
  // Why what the folder held is gone; empty as a rule.
  const std::string& lost() const { return lost_; }

 private:
  class Volumes;
  DiskTier(std::unique_ptr<Volumes> volumes, std::string lost);

  const std::unique_ptr<Volumes> volumes_;
  const std::string lost_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_TIERS_DISK_TIER_H_
