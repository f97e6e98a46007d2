#include "tests/support/disk_crash.h"

#include <algorithm>
#include <csignal>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "services/pool/tiers/disk_tier.h"
#include "tests/e2e/process.h"

namespace decant {
namespace {

// The number of the last record that the writer said was committed.
absl::StatusOr<uint64_t> WriteUntilKilled(const DiskCrash& crash) {
  const absl::Time soon = absl::Now() + absl::Seconds(60);
  DECANT_ASSIGN_OR_RETURN(
      const std::unique_ptr<Process> writer,
      Process::Start({crash.writer, crash.folder, absl::StrCat(crash.capacity_bytes), absl::StrCat(crash.first),
                      absl::StrCat(crash.shape.layers), absl::StrCat(crash.shape.frame_bytes)}));
  DECANT_RETURN_IF_ERROR(writer->WaitLine("open", soon).status());
  uint64_t last = crash.first + crash.records - 1;
  DECANT_RETURN_IF_ERROR(writer->WaitLine(absl::StrCat(last), soon).status());
  absl::SleepFor(crash.then);
  writer->Signal(SIGKILL);
  DECANT_ASSIGN_OR_RETURN(const std::string rest, writer->ReadAll(soon));
  // A line that was cut says nothing.
  const std::vector<std::string> lines = absl::StrSplit(rest, '\n');
  for (size_t i = 0; i + 1 < lines.size(); ++i) {
    uint64_t number = 0;
    if (absl::SimpleAtoi(lines[i], &number)) last = std::max(last, number);
  }
  return last;
}

}  // namespace

absl::StatusOr<DiskCrashOutcome> CrashAndLook(const DiskCrash& crash) {
  DECANT_ASSIGN_OR_RETURN(const uint64_t last, WriteUntilKilled(crash));
  DiskOptions options;
  options.folder = crash.folder;
  options.capacity_bytes = crash.capacity_bytes;
  DECANT_ASSIGN_OR_RETURN(const std::unique_ptr<DiskTier> disk, DiskTier::Open(options));
  if (!disk->lost().empty()) return absl::DataLossError(disk->lost());
  DiskCrashOutcome outcome;
  outcome.committed = static_cast<int64_t>(last - crash.first) + 1;
  outcome.next = last + 1;
  // The one that was being written may have been committed too, or not.
  for (uint64_t number = 0; number <= last + 1; ++number) {
    const RecordId id = record_samples::IdOfNumber(number);
    const absl::StatusOr<std::string> bytes = disk->Get(id, absl::InfiniteFuture());
    if (absl::IsNotFound(bytes.status())) {
      outcome.absent += number <= last ? 1 : 0;
      continue;
    }
    const absl::StatusOr<Record> record = bytes.ok() ? DecodeRecord(*bytes, id) : bytes.status();
    if (!record.ok() || !record_samples::IsRecord(*record, number, 0, crash.shape)) {
      ++outcome.wrong;
      continue;
    }
    ++outcome.found;
    if (number == last) outcome.last_found = true;
    if (number > last) outcome.next = number + 1;
  }
  outcome.wrong += disk->use().records - outcome.found;  // what nobody wrote
  return outcome;
}

}  // namespace decant
