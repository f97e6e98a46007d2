#include "tests/support/launcher/access_recorder.h"

#include <algorithm>

#include "common/base/check.h"

namespace decant::launcher {
namespace {

// Keeps the list of touched sectors from growing with every access of a long launch.
constexpr size_t kCompactAt = size_t{1} << 20;

void Add(DirectionCounts& to, const DirectionCounts& from) {
  to.requests += from.requests;
  to.bytes += from.bytes;
  to.sectors += from.sectors;
  to.ideal_sectors += from.ideal_sectors;
  to.footprint += from.footprint;
}

void MakeUnique(std::vector<uintptr_t>& sectors) {
  std::sort(sectors.begin(), sectors.end());
  sectors.erase(std::unique(sectors.begin(), sectors.end()), sectors.end());
}

}  // namespace

AccessCounts& AccessCounts::operator+=(const AccessCounts& other) {
  launches += other.launches;
  launcher::Add(reads, other.reads);
  launcher::Add(writes, other.writes);
  return *this;
}

AccessCounts AccessRecorder::Total() const {
  AccessCounts total;
  for (const auto& [kernel, counts] : counts_) total += counts;
  return total;
}

void AccessRecorder::BeginLaunch(const std::string& kernel, int32_t block_threads, int64_t shared_bytes) {
  DECANT_CHECK(current_ == nullptr);
  current_ = &counts_[kernel];
  ++current_->launches;
  current_->block_threads = block_threads;
  current_->shared_bytes = shared_bytes;
}

void AccessRecorder::Add(int32_t warp, int32_t lane, const char* file, int line, bool write, uintptr_t address,
                         int64_t bytes) {
  Warp& state = warps_[warp];
  const Site site{file, line, write};
  const int32_t pass = state.passes[{site, lane}]++;
  state.open[{site, pass}].push_back(Access{address, bytes});
}

void AccessRecorder::Count(bool write, std::vector<Access>& accesses) {
  DirectionCounts& counts = write ? current_->writes : current_->reads;
  std::vector<uintptr_t>& touched = touched_[write ? 1 : 0];
  std::sort(accesses.begin(), accesses.end(), [](const Access& a, const Access& b) { return a.address < b.address; });
  uintptr_t next = 0;         // bytes before it are counted
  uintptr_t next_sector = 0;  // and so are these sectors
  int64_t bytes = 0;
  int64_t sectors = 0;
  for (const Access& access : accesses) {
    const uintptr_t end = access.address + static_cast<uintptr_t>(access.bytes);
    if (end > next) bytes += static_cast<int64_t>(end - std::max(next, access.address));
    next = std::max(next, end);
    for (uintptr_t sector = std::max(next_sector, access.address / kSectorBytes); sector * kSectorBytes < end;
         ++sector) {
      ++sectors;
      touched.push_back(sector);
      next_sector = sector + 1;
    }
  }
  ++counts.requests;
  counts.bytes += bytes;
  counts.sectors += sectors;
  counts.ideal_sectors += (bytes + kSectorBytes - 1) / kSectorBytes;
  if (touched.size() > kCompactAt) MakeUnique(touched);
}

void AccessRecorder::Converge(int32_t warp) {
  Warp& state = warps_[warp];
  for (auto& [key, accesses] : state.open) Count(std::get<bool>(key.first), accesses);
  state.open.clear();
  state.passes.clear();
}

void AccessRecorder::EndBlock() {
  for (const auto& [warp, state] : warps_) Converge(warp);
  warps_.clear();
}

void AccessRecorder::EndLaunch() {
  for (const bool write : {false, true}) {
    std::vector<uintptr_t>& touched = touched_[write ? 1 : 0];
    MakeUnique(touched);
    (write ? current_->writes : current_->reads).footprint += static_cast<int64_t>(touched.size()) * kSectorBytes;
    touched.clear();
  }
  current_ = nullptr;
}

}  // namespace decant::launcher
