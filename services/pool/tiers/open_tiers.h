// From what an operator asks for to a store with its tiers open.
#ifndef DECANT_SERVICES_POOL_TIERS_OPEN_TIERS_H_
#define DECANT_SERVICES_POOL_TIERS_OPEN_TIERS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/store/record.h"
#include "services/pool/tiers/remote_tier.h"
#include "services/pool/tiers/tiered_store.h"

namespace decant {

struct TierOptions {
  std::string disk;  // a folder; empty: no disk tier
  int64_t disk_bytes = int64_t{16} << 30;
  std::string remote;                // HOST:PORT or the path of a socket; empty: no remote tier
  std::string remote_password_file;  // its first line; empty: no password
  std::string write = "through";     // WritePolicyFrom
  int32_t write_hits = 2;            // of "selective"
  std::shared_ptr<BlobMemory> frame_memory;  // where loaded frames lie; null: anywhere
};

struct OpenedTiers {
  std::unique_ptr<TieredStore> store;
  RemoteTier* remote = nullptr;  // the store's; null without one
  // What the disk holds from before, for the index of a pool that starts again; the store knows of it already.
  std::vector<RecordHead> found;
  std::vector<Tier> asked;  // there or not
  // Why a tier that was asked for is not there, or what the disk held is gone; empty as a rule.
  std::vector<std::string> warnings;
};

// A folder that can't be used costs the tier and no more: see `warnings`. INVALID_ARGUMENT for options that make no
// sense, UNAVAILABLE when the password's file can't be read. A remote server need not be up.
absl::StatusOr<OpenedTiers> OpenTiers(const TierOptions& options);

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_TIERS_OPEN_TIERS_H_
