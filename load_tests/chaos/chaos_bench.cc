// What the tiers do when everything goes wrong: a million reads with a fault in each, of which none may serve wrong
// bytes, and 200 writers of the disk tier killed at any moment. A figure that is not as it must be ends with status 1.
//
// The tiers under the faults are real: RocksDB in a folder, and a redis-server on a unix socket.
#include <array>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/random.h"
#include "load_tests/support/report.h"
#include "services/pool/tiers/disk_tier.h"
#include "services/pool/tiers/remote_tier.h"
#include "services/pool/tiers/tiered_store.h"
#include "tests/support/disk_crash.h"
#include "tests/support/faulty_tier.h"
#include "tests/support/record_samples.h"
#include "tests/support/redis_server.h"

namespace decant {
namespace {

using record_samples::IdOfNumber;
using record_samples::IsRecord;
using record_samples::RecordOf;
using record_samples::TemporaryFolder;

constexpr uint64_t kNumbers = 500;
constexpr absl::Duration kLoadLimit = absl::Milliseconds(100);

// Every second read is spoilt; a few are slow or hang.
TierScript ReadScript(uint64_t seed) {
  const TierScript common = SeededScript(
      seed, 2,
      {TierFault::kFlip, TierFault::kTruncate, TierFault::kStale, TierFault::kWrongKey, TierFault::kWrongModel});
  const TierScript rare = SeededScript(seed + 1, 4000, {TierFault::kHung, TierFault::kSlow, TierFault::kSlow});
  return [common, rare](uint64_t n) {
    const TierFault fault = rare(n);
    return fault == TierFault::kNone ? common(n) : fault;
  };
}

// Counts the loads that are on their way.
class Window {
 public:
  void Enter() {
    absl::MutexLock lock(&mutex_);
    const auto free = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return out_ < 32; };
    mutex_.Await(absl::Condition(&free));
    ++out_;
  }
  void Leave() {
    absl::MutexLock lock(&mutex_);
    --out_;
  }
  void AwaitAll() {
    absl::MutexLock lock(&mutex_);
    const auto none = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return out_ == 0; };
    mutex_.Await(absl::Condition(&none));
  }

 private:
  absl::Mutex mutex_;
  int out_ ABSL_GUARDED_BY(mutex_) = 0;
};

struct Faulted {
  int64_t faults = 0;
  std::array<int64_t, kTierFaults> of{};
  int64_t served = 0;
  int64_t missed = 0;
  int64_t wrong = 0;
  TieredStats stats;
};

void AwaitWrites(const TieredStore& store) {
  while (true) {
    const TieredStats stats = store.stats();
    int64_t waiting = 0;
    for (const LaneStats& lane : stats.lanes) waiting += lane.writes_waiting;
    if (waiting == 0) return;
    absl::SleepFor(absl::Microseconds(200));
  }
}

Faulted ReadThroughFaults(int64_t most_faults) {
  const TemporaryFolder folder;
  auto server = RedisServer::Start(folder.path() + "/redis.sock");
  DECANT_CHECK_MSG(server.ok(), "%s", server.status().ToString().c_str());
  DiskOptions disk_options;
  disk_options.folder = folder.path();
  disk_options.capacity_bytes = kLeastDiskBytes;
  auto disk = DiskTier::Open(disk_options);
  DECANT_CHECK_MSG(disk.ok(), "%s", disk.status().ToString().c_str());
  RemoteOptions remote_options;
  remote_options.address = folder.path() + "/redis.sock";
  auto remote = RemoteTier::Create(remote_options);
  DECANT_CHECK_MSG(remote.ok(), "%s", remote.status().ToString().c_str());

  std::vector<FaultyTier*> faulty;
  std::vector<std::unique_ptr<ByteTier>> tiers;
  const auto wrap = [&](std::unique_ptr<ByteTier> tier, uint64_t seed) {
    tiers.push_back(std::make_unique<FaultyTier>(std::move(tier), ReadScript(seed),
                                                 SeededScript(seed + 2, 100, {TierFault::kFull, TierFault::kSlow}),
                                                 [](absl::Duration d) { absl::SleepFor(d); }));
    faulty.push_back(static_cast<FaultyTier*>(tiers.back().get()));
  };
  wrap(*std::move(disk), 100);
  wrap(*std::move(remote), 200);
  TieredStore store({}, std::move(tiers));

  std::vector<uint32_t> versions(kNumbers, 0);
  std::atomic<int64_t> served = 0;
  std::atomic<int64_t> missed = 0;
  std::atomic<int64_t> wrong = 0;
  Faulted result;
  for (uint64_t round = 0; result.faults < most_faults; ++round) {
    for (uint64_t number = 0; number < kNumbers; ++number) {
      if (MixBits(7 + round, number) % 8 == 0) {  // stored anew with other bytes: what was there is stale
        store.Erase(IdOfNumber(number));
        ++versions[number];
      }
      store.Note(HostEvent::kStored, IdOfNumber(number), [&] { return RecordOf(number, versions[number]); });
    }
    AwaitWrites(store);
    Window window;
    for (uint64_t i = 0; i < 2 * kNumbers; ++i) {
      const uint64_t number = MixBits(round, i) % kNumbers;
      LoadWant want;
      want.deadline = absl::Now() + kLoadLimit;
      window.Enter();
      store.Load(IdOfNumber(number), want, [&, number](const Loaded& loaded) {
        if (!loaded.record.ok()) {
          ++missed;
        } else if (IsRecord(*loaded.record, number, versions[number])) {
          ++served;
        } else {
          ++wrong;
        }
        window.Leave();
      });
    }
    window.AwaitAll();
    result.faults = 0;
    result.of = {};
    for (const FaultyTier* tier : faulty) {
      const auto faults = tier->faults();
      for (size_t i = 0; i < faults.size(); ++i) {
        result.of[i] += faults[i];
        if (i != static_cast<size_t>(TierFault::kFull)) result.faults += faults[i];
      }
    }
  }
  result.served = served;
  result.missed = missed;
  result.wrong = wrong;
  result.stats = store.stats();
  return result;
}

bool ReportFaults(Report& report, int64_t most_faults) {
  const double start = WallSeconds();
  const Faulted faulted = ReadThroughFaults(most_faults);
  report.Add("chaos.faulted_reads", static_cast<double>(faulted.faults), "reads");
  constexpr std::array<const char*, kTierFaults> kNames = {"none",        "flip", "truncate", "stale", "wrong_key",
                                                           "wrong_model", "full", "slow",     "hung"};
  for (size_t i = 1; i < kNames.size(); ++i) {
    report.Add(absl::StrCat("chaos.faults.", kNames[i]), static_cast<double>(faulted.of[i]), "faults");
  }
  report.Add("chaos.served", static_cast<double>(faulted.served), "records");
  report.Add("chaos.missed", static_cast<double>(faulted.missed), "records");
  int64_t quarantined = 0;
  int64_t found = 0;
  for (const LaneStats& lane : faulted.stats.lanes) quarantined += lane.quarantined;
  for (const int64_t tier : faulted.stats.found) found += tier;
  report.Add("chaos.quarantined", static_cast<double>(quarantined), "records");
  report.Add("chaos.asked_less_found_and_missed",
             static_cast<double>(faulted.stats.asked - found - faulted.stats.missed), "records");
  report.Add("chaos.wrong_bytes_served", static_cast<double>(faulted.wrong), "records");
  report.Add("chaos.faulted_seconds", WallSeconds() - start, "s");
  return faulted.wrong == 0 && faulted.stats.asked == found + faulted.stats.missed;
}

// In turns with room for few records, so that volumes are dropped on the way, and with room for all of them.
bool ReportCrashes(Report& report, uint64_t kills) {
  const double start = WallSeconds();
  std::string writer = std::filesystem::read_symlink("/proc/self/exe").parent_path().string() + "/chaos_disk_writer";
  DiskCrashOutcome sum;
  int64_t last_lost = 0;
  int64_t not_opened = 0;
  for (uint64_t kill = 0; kill < kills;) {
    const TemporaryFolder folder;
    DiskCrash crash;
    crash.writer = writer;
    crash.folder = folder.path();
    crash.shape = {3, 40000};
    const bool bounded = kill % 20 == 0;
    crash.capacity_bytes = bounded ? kLeastDiskBytes : 32 * kLeastDiskBytes;
    for (int i = 0; i < 10 && kill < kills; ++i, ++kill) {
      crash.records = 1 + MixBits(3, kill) % 120;
      crash.then = absl::Microseconds(static_cast<int64_t>(MixBits(4, kill) % 4000));
      const absl::StatusOr<DiskCrashOutcome> outcome = CrashAndLook(crash);
      if (!outcome.ok()) {
        std::fprintf(stderr, "kill %llu: %s\n", static_cast<unsigned long long>(kill),
                     outcome.status().ToString().c_str());
        ++not_opened;
        ++kill;
        break;
      }
      sum.committed += outcome->committed;
      sum.wrong += outcome->wrong;
      if (!bounded) sum.absent += outcome->absent;
      last_lost += outcome->last_found ? 0 : 1;
      crash.first = outcome->next;
    }
  }
  report.Add("chaos.kills", static_cast<double>(kills), "kills");
  report.Add("chaos.kill_committed", static_cast<double>(sum.committed), "records");
  report.Add("chaos.kill_not_reopened", static_cast<double>(not_opened), "times");
  report.Add("chaos.kill_committed_but_absent", static_cast<double>(sum.absent + last_lost), "records");
  report.Add("chaos.kill_served_but_not_committed", static_cast<double>(sum.wrong), "records");
  report.Add("chaos.kill_seconds", WallSeconds() - start, "s");
  return sum.wrong == 0 && sum.absent == 0 && last_lost == 0 && not_opened == 0;
}

int Main(int argc, char** argv) {
  const LoadTestFlags flags = ParseLoadTestFlags(argc, argv);
  Report report(flags);
  bool good = ReportFaults(report, flags.quick ? 20000 : 1000000);
  good = ReportCrashes(report, flags.quick ? 10 : 200) && good;
  const int written = report.Finish();
  return good ? written : 1;
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Main(argc, argv); }
