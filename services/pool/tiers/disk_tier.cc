#include "services/pool/tiers/disk_tier.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/pool/tiers/disk_volumes.h"

namespace decant {
namespace {

// Below the folder that was named, so that a database made anew removes nothing else.
constexpr char kSubfolder[] = "decant-records-v1";

}  // namespace

DiskTier::DiskTier(std::unique_ptr<Volumes> volumes, std::string lost)
    : volumes_(std::move(volumes)), lost_(std::move(lost)) {}
DiskTier::~DiskTier() = default;

absl::StatusOr<std::unique_ptr<DiskTier>> DiskTier::Open(const DiskOptions& options) {
  if (options.capacity_bytes < kLeastDiskBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a disk tier of ", options.capacity_bytes, " bytes; from ", kLeastDiskBytes));
  }
  const std::filesystem::path path = std::filesystem::path(options.folder) / kSubfolder;
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return absl::UnavailableError(absl::StrCat("can't make ", path.string(), ": ", error.message()));
  }
  std::string lost;
  for (bool anew : {false, true}) {
    if (anew) {
      std::filesystem::remove_all(path, error);
      if (error) return absl::UnavailableError(absl::StrCat("can't clear ", path.string(), ": ", error.message()));
    }
    auto volumes = std::make_unique<Volumes>(options, path.string());
    const rocksdb::Status opened = volumes->Open();
    const absl::Status learned = opened.ok() ? volumes->Learn() : FromRocks(opened, path.string());
    if (learned.ok()) return std::unique_ptr<DiskTier>(new DiskTier(std::move(volumes), std::move(lost)));
    if (anew || !absl::IsDataLoss(learned)) return learned;
    lost = std::string(learned.message());
  }
  return absl::InternalError("unreachable");
}

absl::Status DiskTier::Put(const RecordId& id, absl::string_view record, absl::Time) {
  return volumes_->Put(id, record);
}
absl::StatusOr<std::string> DiskTier::Get(const RecordId& id, absl::Time) { return volumes_->Get(id); }
absl::Status DiskTier::Erase(const RecordId& id, absl::Time) { return volumes_->Erase(id); }
absl::StatusOr<bool> DiskTier::Contains(const RecordId& id, absl::Time) { return volumes_->Contains(id); }
std::vector<RecordName> DiskTier::TakeForgotten() { return volumes_->TakeForgotten(); }
TierUse DiskTier::use() const { return volumes_->use(); }
absl::Status DiskTier::ForEach(absl::FunctionRef<void(const RecordHead&)> visit) const {
  return volumes_->ForEach(visit);
}
int64_t DiskTier::most_record_bytes() const { return volumes_->volume_bytes(); }

}  // namespace decant
