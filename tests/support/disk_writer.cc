// Writes records into a disk tier until it is killed and says each one that is committed: `decant_disk_writer FOLDER
// CAPACITY FIRST LAYERS FRAME_BYTES`. Ends by itself after a minute.
#include <cstdio>
#include <cstdlib>

#include "absl/time/clock.h"
#include "services/pool/tiers/disk_tier.h"
#include "tests/support/record_samples.h"

int main(int argc, char** argv) {
  using namespace decant;  // NOLINT
  if (argc != 6) return 2;
  DiskOptions options;
  options.folder = argv[1];
  options.capacity_bytes = std::atoll(argv[2]);
  const record_samples::Shape shape{std::atoi(argv[4]), std::atoll(argv[5])};
  auto disk = DiskTier::Open(options);
  if (!disk.ok()) {
    std::printf("failed %s\n", disk.status().ToString().c_str());
    return 1;
  }
  std::printf("open\n");
  std::fflush(stdout);
  const absl::Time end = absl::Now() + absl::Minutes(1);
  for (auto number = static_cast<uint64_t>(std::atoll(argv[3])); absl::Now() < end; ++number) {
    const Record record = record_samples::RecordOf(number, 0, shape);
    const absl::Status put = (*disk)->Put(IdOf(record.variant), EncodeRecord(record), absl::InfiniteFuture());
    if (!put.ok()) {
      std::printf("failed %s\n", put.ToString().c_str());
      return 1;
    }
    std::printf("%llu\n", static_cast<unsigned long long>(number));
    std::fflush(stdout);
  }
  return 0;
}
