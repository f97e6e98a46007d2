// What a kernel's warps ask of global memory, as the hardware counts it: the accesses of one instruction by the lanes
// of a warp are one request, and a request moves whole sectors of 32 bytes.
#ifndef DECANT_TESTS_SUPPORT_LAUNCHER_ACCESS_RECORDER_H_
#define DECANT_TESTS_SUPPORT_LAUNCHER_ACCESS_RECORDER_H_

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace decant::launcher {

inline constexpr int64_t kSectorBytes = 32;

struct DirectionCounts {
  int64_t requests = 0;
  int64_t bytes = 0;          // different bytes of each request, summed over requests
  int64_t sectors = 0;        // sectors that each request touches, summed
  int64_t ideal_sectors = 0;  // sectors that the bytes of each request would fill, summed
  int64_t footprint = 0;      // bytes of the sectors touched at all: what a launch moves with a perfect cache

  int64_t moved_bytes() const { return sectors * kSectorBytes; }
};

struct AccessCounts {
  int64_t launches = 0;
  int32_t block_threads = 0;  // of the last launch, and what it had of dynamic shared memory
  int64_t shared_bytes = 0;
  DirectionCounts reads;
  DirectionCounts writes;

  AccessCounts& operator+=(const AccessCounts& other);
};

// Records the accesses of one launch at a time. Lanes run one after another, so which of their accesses belong together
// is worked out: the n-th pass of a lane over a place in the source, counted since its warp last came together at a
// barrier, belongs with the n-th of every other lane.
class AccessRecorder {
 public:
  void BeginLaunch(const std::string& kernel, int32_t block_threads, int64_t shared_bytes);
  void Add(int32_t warp, int32_t lane, const char* file, int line, bool write, uintptr_t address, int64_t bytes);
  // All lanes of the warp have come to one place.
  void Converge(int32_t warp);
  void EndBlock();
  void EndLaunch();

  // By kernel, in the words of the launch.
  const std::map<std::string, AccessCounts>& counts() const { return counts_; }
  AccessCounts Total() const;
  void Clear() { counts_.clear(); }

 private:
  struct Access {
    uintptr_t address;
    int64_t bytes;
  };
  using Site = std::tuple<const char*, int, bool>;  // file, line, write
  struct Warp {
    std::map<std::pair<Site, int32_t>, int32_t> passes;            // by lane
    std::map<std::pair<Site, int32_t>, std::vector<Access>> open;  // by pass
  };

  void Count(bool write, std::vector<Access>& accesses);

  std::map<std::string, AccessCounts> counts_;
  AccessCounts* current_ = nullptr;
  std::map<int32_t, Warp> warps_;
  std::vector<uintptr_t> touched_[2];  // sectors read and written in this launch
};

}  // namespace decant::launcher

#endif  // DECANT_TESTS_SUPPORT_LAUNCHER_ACCESS_RECORDER_H_
