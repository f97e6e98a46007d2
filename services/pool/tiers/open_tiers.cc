#include "services/pool/tiers/open_tiers.h"

#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/pool/tiers/disk_tier.h"

namespace decant {
namespace {

absl::StatusOr<std::string> FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return absl::UnavailableError(absl::StrCat("can't read a password from ", path));
  return line;
}

absl::StatusOr<std::unique_ptr<RemoteTier>> OpenRemote(const TierOptions& options) {
  RemoteOptions remote;
  remote.address = options.remote;
  if (!options.remote_password_file.empty()) {
    DECANT_ASSIGN_OR_RETURN(remote.password, FirstLine(options.remote_password_file));
  }
  return RemoteTier::Create(std::move(remote));
}

}  // namespace

absl::StatusOr<OpenedTiers> OpenTiers(const TierOptions& options) {
  TieredOptions store;
  DECANT_ASSIGN_OR_RETURN(store.write, WritePolicyFrom(options.write));
  if (options.write_hits < 1) {
    return absl::InvalidArgumentError(absl::StrCat("write_hits is ", options.write_hits, "; it must be at least 1"));
  }
  store.selective_hits = options.write_hits;
  store.frame_memory = options.frame_memory;
  OpenedTiers opened;
  std::vector<std::unique_ptr<ByteTier>> tiers;
  if (!options.disk.empty()) {
    opened.asked.push_back(Tier::kDisk);
    DiskOptions disk_options;
    disk_options.folder = options.disk;
    disk_options.capacity_bytes = options.disk_bytes;
    absl::StatusOr<std::unique_ptr<DiskTier>> disk = DiskTier::Open(disk_options);
    if (absl::IsInvalidArgument(disk.status())) return disk.status();
    absl::Status usable = disk.status();
    if (usable.ok()) usable = (*disk)->ForEach([&](const RecordHead& head) { opened.found.push_back(head); });
    if (usable.ok()) {
      if (!(*disk)->lost().empty()) {
        opened.warnings.push_back(absl::StrCat("what the disk tier held is lost: ", (*disk)->lost()));
      }
      tiers.push_back(*std::move(disk));
    } else {
      opened.found.clear();
      opened.warnings.push_back(absl::StrCat("there is no disk tier: ", usable.message()));
    }
  }
  if (!options.remote.empty()) {
    opened.asked.push_back(Tier::kRemote);
    DECANT_ASSIGN_OR_RETURN(std::unique_ptr<RemoteTier> remote, OpenRemote(options));
    opened.remote = remote.get();
    tiers.push_back(std::move(remote));
  }
  opened.store = std::make_unique<TieredStore>(std::move(store), std::move(tiers));
  for (const RecordHead& head : opened.found) opened.store->Learn(Tier::kDisk, head);
  return opened;
}

}  // namespace decant
