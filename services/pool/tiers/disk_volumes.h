// The volumes of a disk tier: what DiskTier is made of; only disk_tier.cc includes it.
#ifndef DECANT_SERVICES_POOL_TIERS_DISK_VOLUMES_H_
#define DECANT_SERVICES_POOL_TIERS_DISK_VOLUMES_H_

#include <rocksdb/db.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "services/pool/tiers/disk_tier.h"

namespace decant {

absl::Status FromRocks(const rocksdb::Status& status, absl::string_view what);

// Thread-safe. One writer at a time; readers wait for nothing but the index.
class DiskTier::Volumes {
 public:
  Volumes(const DiskOptions& options, std::string path);
  ~Volumes();

  rocksdb::Status Open();
  absl::Status Learn();  // fills the index

  absl::Status Put(const RecordId& id, absl::string_view record);
  absl::StatusOr<std::string> Get(const RecordId& id);
  absl::Status Erase(const RecordId& id);
  bool Contains(const RecordId& id) const;
  std::vector<RecordName> TakeForgotten();
  TierUse use() const;
  absl::Status ForEach(absl::FunctionRef<void(const RecordHead&)> visit) const;
  int64_t volume_bytes() const { return volume_bytes_; }

 private:
  // Its column family lives until the last reader lets go, though it was dropped.
  struct Volume {
    ~Volume() {
      if (handle != nullptr) (void)db->DestroyColumnFamilyHandle(handle);
    }
    rocksdb::DB* db = nullptr;
    rocksdb::ColumnFamilyHandle* handle = nullptr;
    int64_t bytes = 0;  // measured once it is full, added up until then
  };
  struct Place {
    uint32_t volume = 0;
    uint32_t tag = 0;
    bool used = false;  // since it was appended
  };

  rocksdb::ColumnFamilyOptions FamilyOptions() const;
  int64_t Measure(const Volume& volume) const;
  int64_t Sum() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::Status AddVolume() ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::Status Append(const RecordName& name, absl::string_view head, absl::string_view record, uint32_t tag)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::Status MakeRoom(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::Status DropOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  void Rescue(uint32_t id, const Volume& volume, absl::Span<const RecordName> names)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::Status Write(rocksdb::WriteBatch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  // Calls visit(name, head bytes) for each head of a volume.
  rocksdb::Status Heads(const Volume& volume,
                        absl::FunctionRef<void(const RecordName&, absl::string_view)> visit) const;

  const std::string path_;
  const int64_t capacity_bytes_;
  const int64_t volume_bytes_;
  const int64_t buffer_bytes_;
  const int64_t budget_bytes_;  // of the volumes: the capacity less the log and what is rescued on the way
  const bool sync_;
  rocksdb::Env* const env_;
  std::unique_ptr<rocksdb::DB> db_;
  std::unique_ptr<rocksdb::ColumnFamilyHandle> default_family_;

  absl::Mutex write_mutex_;  // taken first
  uint32_t last_volume_ ABSL_GUARDED_BY(write_mutex_) = 0;
  mutable absl::Mutex mutex_;
  // Ascending age; the last one is written to.
  std::map<uint32_t, std::shared_ptr<Volume>> volumes_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<RecordName, Place> index_ ABSL_GUARDED_BY(mutex_);
  std::vector<RecordName> forgotten_ ABSL_GUARDED_BY(mutex_);
  int64_t evicted_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_TIERS_DISK_VOLUMES_H_
