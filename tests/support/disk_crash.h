// A process that writes to a disk tier is killed; then what the disk holds is compared with what it said.
#ifndef DECANT_TESTS_SUPPORT_DISK_CRASH_H_
#define DECANT_TESTS_SUPPORT_DISK_CRASH_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/support/record_samples.h"

namespace decant {

struct DiskCrash {
  std::string writer;  // path of decant_disk_writer
  std::string folder;
  int64_t capacity_bytes = 0;
  record_samples::Shape shape;
  uint64_t first = 0;    // the number of its first record; all before it were written by earlier ones
  uint64_t records = 0;  // it is killed once it has said so many
  absl::Duration then = absl::ZeroDuration();  // and this long after
};

struct DiskCrashOutcome {
  uint64_t next = 0;      // the first number that was not committed
  int64_t committed = 0;  // by this writer, as it said
  int64_t found = 0;      // whole and right, of all numbers so far
  int64_t absent = 0;     // of those that were said to be committed, by any writer
  int64_t wrong = 0;      // bytes of a record that differ, or that nobody wrote
  bool last_found = false;
};

// An error when the writer or the disk tier does not open, which is a failure of the disk tier too.
absl::StatusOr<DiskCrashOutcome> CrashAndLook(const DiskCrash& crash);

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_DISK_CRASH_H_
