// Invariants: a record stands whole under "r" + name and its head alone under "h" + name, both in one volume and from
// one write; the index names the newest volume that holds it. The sum of the volumes never exceeds budget_bytes_ while
// no Put is at work, nor the capacity at any time.
#include "services/pool/tiers/disk_volumes.h"

#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

constexpr int64_t kMostBufferBytes = int64_t{64} << 20;
constexpr int64_t kMostVolumeBytes = int64_t{4} << 30;
// What RocksDB adds to a record: keys in tables and log, blob headers, its share of an index block.
constexpr int64_t kRecordOverheadBytes = 512;
constexpr int64_t kTombstoneBytes = 192;
constexpr size_t kMostForgotten = size_t{1} << 20;
constexpr absl::string_view kVolumePrefix = "v";

rocksdb::Slice SliceOf(absl::string_view bytes) { return {bytes.data(), bytes.size()}; }
absl::string_view ViewOf(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }
std::string HeadKey(const RecordName& name) { return "h" + name.ToBytes(); }
std::string RecordKey(const RecordName& name) { return "r" + name.ToBytes(); }

}  // namespace

absl::Status FromRocks(const rocksdb::Status& status, absl::string_view what) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = absl::StrCat(what, ": ", status.ToString());
  if (status.IsNotFound()) return absl::NotFoundError(message);
  if (status.IsCorruption()) return absl::DataLossError(message);
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(message);
  return absl::UnavailableError(message);
}

DiskTier::Volumes::Volumes(const DiskOptions& options, std::string path)
    : path_(std::move(path)),
      capacity_bytes_(options.capacity_bytes),
      volume_bytes_(std::min(options.capacity_bytes / kDiskVolumes, kMostVolumeBytes)),
      buffer_bytes_(std::min(volume_bytes_ / 2, kMostBufferBytes)),
      budget_bytes_(capacity_bytes_ - volume_bytes_ / 2 - 2 * buffer_bytes_),
      sync_(options.sync),
      env_(options.env == nullptr ? rocksdb::Env::Default() : options.env) {}

DiskTier::Volumes::~Volumes() {
  absl::MutexLock lock(&mutex_);
  volumes_.clear();
  if (default_family_ != nullptr) (void)db_->DestroyColumnFamilyHandle(default_family_.release());
}

rocksdb::ColumnFamilyOptions DiskTier::Volumes::FamilyOptions() const {
  rocksdb::ColumnFamilyOptions family;
  family.write_buffer_size = static_cast<size_t>(buffer_bytes_);
  family.max_write_buffer_number = 2;
  family.disable_auto_compactions = true;        // volumes are dropped, never compacted
  family.compression = rocksdb::kNoCompression;  // frames are compressed already
  family.enable_blob_files = true;
  family.min_blob_size = 4096;
  family.blob_file_size = uint64_t{1} << 30;
  rocksdb::BlockBasedTableOptions table;
  table.checksum = rocksdb::kCRC32c;
  table.no_block_cache = true;  // a head is read once, and the host tier is the cache of the rest
  family.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return family;
}

rocksdb::Status DiskTier::Volumes::Open() {
  rocksdb::DBOptions options;
  options.env = env_;
  options.create_if_missing = true;
  options.paranoid_checks = true;
  options.max_open_files = 512;
  options.max_background_jobs = 2;
  options.max_total_wal_size = static_cast<uint64_t>(buffer_bytes_);
  options.max_manifest_file_size = uint64_t{1} << 20;
  options.bytes_per_sync = uint64_t{1} << 20;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.max_log_file_size = uint64_t{256} << 10;
  options.keep_log_file_num = 2;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  std::vector<std::string> names;
  // Fails for a folder that is new.
  if (!rocksdb::DB::ListColumnFamilies(options, path_, &names).ok()) names = {rocksdb::kDefaultColumnFamilyName};
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  families.reserve(names.size());
  for (const std::string& name : names) families.emplace_back(name, FamilyOptions());
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(options, path_, families, &handles, &db);
  if (!opened.ok()) return opened;
  db_.reset(db);
  absl::MutexLock lock(&mutex_);
  for (rocksdb::ColumnFamilyHandle* handle : handles) {
    uint32_t id = 0;
    if (handle->GetName() == rocksdb::kDefaultColumnFamilyName) {
      default_family_.reset(handle);
    } else if (absl::SimpleAtoi(handle->GetName().substr(kVolumePrefix.size()), &id)) {
      auto volume = std::make_shared<Volume>();
      volume->db = db;
      volume->handle = handle;
      volumes_.emplace(id, std::move(volume));
    } else {
      (void)db->DestroyColumnFamilyHandle(handle);
    }
  }
  return opened;
}

absl::Status DiskTier::Volumes::Learn() {
  absl::MutexLock writing(&write_mutex_);
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, volume] : volumes_) {
      volume->bytes = Measure(*volume);
      const uint32_t volume_id = id;
      const rocksdb::Status read = Heads(*volume, [&](const RecordName& name, absl::string_view bytes) {
        mutex_.AssertHeld();
        const absl::StatusOr<RecordHead> head = DecodeHead(bytes);
        if (head.ok()) index_[name] = Place{volume_id, head->tag, false};
      });
      if (!read.ok()) return FromRocks(read, "reading a volume");
    }
  }
  return MakeRoom(0);
}

// ---- Volumes.

int64_t DiskTier::Volumes::Measure(const Volume& volume) const {
  uint64_t tables = 0;
  uint64_t blobs = 0;
  (void)db_->GetIntProperty(volume.handle, "rocksdb.total-sst-files-size", &tables);
  (void)db_->GetIntProperty(volume.handle, "rocksdb.total-blob-file-size", &blobs);
  return static_cast<int64_t>(tables + blobs);
}

int64_t DiskTier::Volumes::Sum() const {
  int64_t sum = 0;
  for (const auto& [id, volume] : volumes_) sum += volume->bytes;
  return sum;
}

rocksdb::Status DiskTier::Volumes::Heads(const Volume& volume,
                                         absl::FunctionRef<void(const RecordName&, absl::string_view)> visit) const {
  rocksdb::ReadOptions options;
  const rocksdb::Slice end("i");
  options.iterate_upper_bound = &end;
  options.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options, volume.handle));
  for (it->Seek("h"); it->Valid(); it->Next()) {
    const std::optional<RecordName> name = RecordName::FromBytes(ViewOf(it->key()).substr(1));
    if (name.has_value()) visit(*name, ViewOf(it->value()));
  }
  return it->status();
}

// The one before is flushed, so that its log can go and its size is known.
absl::Status DiskTier::Volumes::AddVolume() {
  std::shared_ptr<Volume> full;
  {
    absl::MutexLock lock(&mutex_);
    if (!volumes_.empty()) {
      full = volumes_.rbegin()->second;
      last_volume_ = std::max(last_volume_, volumes_.rbegin()->first);
    }
  }
  const uint32_t id = ++last_volume_;
  if (full != nullptr) {
    DECANT_RETURN_IF_ERROR(FromRocks(db_->Flush(rocksdb::FlushOptions(), full->handle), "flushing a volume"));
  }
  auto volume = std::make_shared<Volume>();
  volume->db = db_.get();
  DECANT_RETURN_IF_ERROR(FromRocks(
      db_->CreateColumnFamily(FamilyOptions(), absl::StrFormat("%s%010u", kVolumePrefix, id), &volume->handle),
      "making a volume"));
  absl::MutexLock lock(&mutex_);
  if (full != nullptr) full->bytes = Measure(*full);
  volumes_.emplace(id, std::move(volume));
  return absl::OkStatus();
}

absl::Status DiskTier::Volumes::MakeRoom(int64_t bytes) {
  while (true) {
    bool over = false;
    {
      absl::MutexLock lock(&mutex_);
      over = !volumes_.empty() && Sum() + bytes > budget_bytes_;
    }
    if (!over) return absl::OkStatus();
    DECANT_RETURN_IF_ERROR(DropOldest());
  }
}

absl::Status DiskTier::Volumes::DropOldest() {
  uint32_t id = 0;
  std::shared_ptr<Volume> oldest;
  {
    absl::MutexLock lock(&mutex_);
    std::tie(id, oldest) = *volumes_.begin();
  }
  std::vector<RecordName> names;
  const rocksdb::Status read =
      Heads(*oldest, [&](const RecordName& name, absl::string_view) { names.push_back(name); });
  Rescue(id, *oldest, names);
  DECANT_RETURN_IF_ERROR(FromRocks(db_->DropColumnFamily(oldest->handle), "dropping a volume"));
  absl::MutexLock lock(&mutex_);
  volumes_.erase(id);
  if (!read.ok()) {  // its list can't be read: look at every record instead
    names.clear();
    for (const auto& [name, place] : index_) names.push_back(name);
  }
  for (const RecordName& name : names) {
    const auto found = index_.find(name);
    if (found == index_.end() || found->second.volume != id) continue;
    index_.erase(found);
    ++evicted_;
    // Nobody has to take them: then those that come now are not told.
    if (forgotten_.size() < kMostForgotten) forgotten_.push_back(name);
  }
  return absl::OkStatus();
}

// A record that can't be read or written is not rescued.
void DiskTier::Volumes::Rescue(uint32_t id, const Volume& volume, absl::Span<const RecordName> names) {
  std::vector<std::pair<RecordName, uint32_t>> used;
  {
    absl::MutexLock lock(&mutex_);
    if (volumes_.size() < 2) return;
    for (const RecordName& name : names) {
      const auto found = index_.find(name);
      if (found != index_.end() && found->second.volume == id && found->second.used) {
        used.emplace_back(name, found->second.tag);
      }
    }
  }
  int64_t rescued = 0;
  for (const auto& [name, tag] : used) {
    std::string record;
    if (!db_->Get(rocksdb::ReadOptions(), volume.handle, RecordKey(name), &record).ok()) continue;
    const absl::string_view head = HeadBytes(record);
    rescued += static_cast<int64_t>(record.size() + head.size()) + kRecordOverheadBytes;
    if (head.empty() || rescued > volume_bytes_ / 2) return;
    if (!Append(name, head, record, tag).ok()) return;
  }
}

// ---- Records.

absl::Status DiskTier::Volumes::Write(rocksdb::WriteBatch& batch) {
  rocksdb::WriteOptions options;
  options.sync = sync_;
  rocksdb::Status written = db_->Write(options, &batch);
  // After an error RocksDB refuses writes until it is asked to go on; after one for lack of room it goes on by itself.
  if (!written.ok() && db_->Resume().ok()) written = db_->Write(options, &batch);
  return FromRocks(written, "writing a record");
}

absl::Status DiskTier::Volumes::Append(const RecordName& name, absl::string_view head, absl::string_view record,
                                       uint32_t tag) {
  const int64_t charge = static_cast<int64_t>(record.size() + head.size()) + kRecordOverheadBytes;
  bool full = false;
  {
    absl::MutexLock lock(&mutex_);
    full = volumes_.empty() || volumes_.rbegin()->second->bytes + charge > volume_bytes_;
  }
  if (full) DECANT_RETURN_IF_ERROR(AddVolume());
  std::shared_ptr<Volume> newest;
  std::shared_ptr<Volume> former;
  uint32_t id = 0;
  {
    absl::MutexLock lock(&mutex_);
    std::tie(id, newest) = *volumes_.rbegin();
    if (const auto found = index_.find(name); found != index_.end() && found->second.volume != id) {
      if (const auto place = volumes_.find(found->second.volume); place != volumes_.end()) former = place->second;
    }
  }
  rocksdb::WriteBatch batch;
  if (former != nullptr) {
    (void)batch.Delete(former->handle, HeadKey(name));
    (void)batch.Delete(former->handle, RecordKey(name));
  }
  (void)batch.Put(newest->handle, HeadKey(name), SliceOf(head));
  (void)batch.Put(newest->handle, RecordKey(name), SliceOf(record));
  DECANT_RETURN_IF_ERROR(Write(batch));
  absl::MutexLock lock(&mutex_);
  newest->bytes += charge;
  if (former != nullptr) former->bytes += kTombstoneBytes;
  index_[name] = Place{id, tag, false};
  return absl::OkStatus();
}

absl::Status DiskTier::Volumes::Put(const RecordId& id, absl::string_view record) {
  const RecordName name = NameOf(id);
  DECANT_ASSIGN_OR_RETURN(const RecordHead head, DecodeHead(record));
  const int64_t charge = static_cast<int64_t>(record.size()) + head.head_bytes + kRecordOverheadBytes;
  if (charge > volume_bytes_) {
    return absl::ResourceExhaustedError(absl::StrCat("a record of ", record.size(), " bytes; the disk tier takes ",
                                                     volume_bytes_, " (its capacity / ", kDiskVolumes, ")"));
  }
  absl::MutexLock writing(&write_mutex_);
  {
    absl::MutexLock lock(&mutex_);
    const auto found = index_.find(name);
    if (found != index_.end() && found->second.tag == head.tag) {
      found->second.used = true;
      return absl::OkStatus();
    }
  }
  DECANT_RETURN_IF_ERROR(MakeRoom(charge));
  return Append(name, record.substr(0, static_cast<size_t>(head.head_bytes)), record, head.tag);
}

absl::StatusOr<std::string> DiskTier::Volumes::Get(const RecordId& id) {
  const RecordName name = NameOf(id);
  std::shared_ptr<Volume> volume;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = index_.find(name);
    if (found == index_.end()) return absl::NotFoundError("not on disk");
    const auto place = volumes_.find(found->second.volume);
    if (place == volumes_.end()) return absl::NotFoundError("no longer on disk");
    found->second.used = true;
    volume = place->second;
  }
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  std::string record;
  DECANT_RETURN_IF_ERROR(FromRocks(db_->Get(options, volume->handle, RecordKey(name), &record), "reading a record"));
  return record;
}

absl::Status DiskTier::Volumes::Erase(const RecordId& id) {
  const RecordName name = NameOf(id);
  absl::MutexLock writing(&write_mutex_);
  std::shared_ptr<Volume> volume;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = index_.find(name);
    if (found == index_.end()) return absl::OkStatus();
    if (const auto place = volumes_.find(found->second.volume); place != volumes_.end()) volume = place->second;
    index_.erase(found);
  }
  if (volume == nullptr) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  (void)batch.Delete(volume->handle, HeadKey(name));
  (void)batch.Delete(volume->handle, RecordKey(name));
  DECANT_RETURN_IF_ERROR(Write(batch));
  absl::MutexLock lock(&mutex_);
  volume->bytes += kTombstoneBytes;
  return absl::OkStatus();
}

bool DiskTier::Volumes::Contains(const RecordId& id) const {
  absl::MutexLock lock(&mutex_);
  return index_.contains(NameOf(id));
}

std::vector<RecordName> DiskTier::Volumes::TakeForgotten() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(forgotten_, {});
}

TierUse DiskTier::Volumes::use() const {
  absl::MutexLock lock(&mutex_);
  TierUse use;
  // What the newest volume holds may stand in the log too.
  use.bytes = Sum() + (volumes_.empty() ? 0 : std::min(volumes_.rbegin()->second->bytes, 2 * buffer_bytes_));
  use.capacity_bytes = capacity_bytes_;
  use.records = static_cast<int64_t>(index_.size());
  use.evicted = evicted_;
  return use;
}

absl::Status DiskTier::Volumes::ForEach(absl::FunctionRef<void(const RecordHead&)> visit) const {
  std::map<uint32_t, std::shared_ptr<Volume>> volumes;
  {
    absl::MutexLock lock(&mutex_);
    volumes = volumes_;
  }
  for (const auto& [id, volume] : volumes) {
    const uint32_t volume_id = id;
    const rocksdb::Status read = Heads(*volume, [&](const RecordName& name, absl::string_view bytes) {
      {
        absl::MutexLock lock(&mutex_);
        const auto found = index_.find(name);
        if (found == index_.end() || found->second.volume != volume_id) return;
      }
      const absl::StatusOr<RecordHead> head = DecodeHead(bytes);
      if (head.ok()) visit(*head);
    });
    DECANT_RETURN_IF_ERROR(FromRocks(read, "reading a volume"));
  }
  return absl::OkStatus();
}

}  // namespace decant
