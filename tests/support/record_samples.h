// Records whose bytes are a function of their number and version, so that a reader can tell wrong ones.
#ifndef DECANT_TESTS_SUPPORT_RECORD_SAMPLES_H_
#define DECANT_TESTS_SUPPORT_RECORD_SAMPLES_H_

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "common/store/record.h"

namespace decant::record_samples {

struct Shape {
  int32_t layers = 3;
  int64_t frame_bytes = 100;
};

// Record `number`; those of one number and different versions have one id and other frames. Every frame begins with the
// key and the version it belongs to.
Record RecordOf(uint64_t number, uint32_t version = 0, const Shape& shape = {});
RecordId IdOfNumber(uint64_t number);

// Exactly RecordOf(number, version, shape): receipt and every byte.
bool IsRecord(const Record& record, uint64_t number, uint32_t version = 0, const Shape& shape = {});

// A folder that is removed with it.
class TemporaryFolder {
 public:
  // In memory where it can be: what is tested is killed processes, not power cuts.
  TemporaryFolder() {
    const std::filesystem::path memory = "/dev/shm";
    const std::filesystem::path parent =
        access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path();
    std::string pattern = (parent / "decant_tier_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  // What its files take up, as far as they can be listed while others write there.
  int64_t Bytes() const;

 private:
  std::string path_;
};

}  // namespace decant::record_samples

#endif  // DECANT_TESTS_SUPPORT_RECORD_SAMPLES_H_
