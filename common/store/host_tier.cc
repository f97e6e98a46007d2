// Invariants: bytes_ is the sum of charges and <= capacity_bytes_; free_ holds exactly the entries with holds == 0.
#include "common/store/host_tier.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace decant {

// Either makes the room or changes nothing: a newcomer that does not fit displaces nobody.
absl::Status HostTier::MakeRoom(int64_t bytes, uint64_t use, int32_t depth) {
  int64_t missing = bytes_ + bytes - capacity_bytes_;
  auto last = free_.begin();
  for (; missing > 0 && last != free_.end(); ++last) {
    const auto& [victim_use, minus_depth, id] = *last;
    if (victim_use > use || (victim_use == use && -minus_depth <= depth)) break;
    missing -= entries_.find(id)->second.charge;
  }
  if (missing > 0) {
    return absl::ResourceExhaustedError(absl::StrCat("no room for ", bytes, " bytes: ", bytes_, " of ", capacity_bytes_,
                                                     " are used, ", held_bytes_,
                                                     " of them leased; raise --pool-bytes or wait for leases to end"));
  }
  std::vector<uint64_t> victims;
  for (auto it = free_.begin(); it != last; ++it) victims.push_back(std::get<2>(*it));
  for (const uint64_t id : victims) {
    Forget(id);
    forgotten_.push_back(id);
  }
  return absl::OkStatus();
}

void HostTier::Forget(uint64_t id) {
  const auto found = entries_.find(id);
  free_.erase(OrderOf(id, found->second));
  if (found->second.holds > 0) held_bytes_ -= found->second.charge;
  bytes_ -= found->second.charge;
  entries_.erase(found);
}

absl::StatusOr<uint64_t> HostTier::Stage(int32_t layers, int32_t depth, uint64_t use) {
  if (layers <= 0) return absl::InvalidArgumentError(absl::StrCat("a chunk of ", layers, " layers cannot be stored"));
  DECANT_RETURN_IF_ERROR(MakeRoom(kEntryOverheadBytes, use, depth));
  const uint64_t id = ++last_id_;
  Entry entry;
  entry.layers = layers;
  entry.depth = depth;
  entry.use = use;
  entry.charge = kEntryOverheadBytes;
  entry.frames.reserve(static_cast<size_t>(layers));
  free_.insert(OrderOf(id, entry));
  bytes_ += entry.charge;
  entries_.emplace(id, std::move(entry));
  return id;
}

absl::Status HostTier::Add(uint64_t id, LayerBlob frame) {
  auto found = entries_.find(id);
  if (found == entries_.end()) return absl::NotFoundError(absl::StrCat("entry ", id, " is gone: its room was needed"));
  if (found->second.committed) return absl::FailedPreconditionError(absl::StrCat("entry ", id, " is complete"));
  if (frame.first_layer < 0 || frame.layers <= 0 || frame.first_layer > found->second.layers - frame.layers) {
    return absl::InvalidArgumentError(absl::StrCat("layers ", frame.first_layer, "+", frame.layers, " of a chunk with ",
                                                   found->second.layers, " layers"));
  }
  const auto overlaps = [&](const LayerBlob& other) {
    return frame.first_layer < other.first_layer + other.layers && other.first_layer < frame.first_layer + frame.layers;
  };
  if (std::any_of(found->second.frames.begin(), found->second.frames.end(), overlaps)) {
    return absl::AlreadyExistsError(
        absl::StrCat("a frame of layers ", frame.first_layer, "+", frame.layers, " came twice"));
  }
  const int64_t charge = frame.blob.bytes() + kBlobOverheadBytes;
  DECANT_RETURN_IF_ERROR(MakeRoom(charge, found->second.use, found->second.depth));
  found = entries_.find(id);  // never a victim: it is not deeper than itself
  Entry& entry = found->second;
  entry.charge += charge;
  bytes_ += charge;
  if (entry.holds > 0) held_bytes_ += charge;
  entry.covered += frame.layers;
  const auto place = std::upper_bound(entry.frames.begin(), entry.frames.end(), frame.first_layer,
                                      [](int32_t layer, const LayerBlob& other) { return layer < other.first_layer; });
  entry.frames.insert(place, std::move(frame));
  return absl::OkStatus();
}

bool HostTier::Complete(uint64_t id) const {
  const auto found = entries_.find(id);
  return found != entries_.end() && found->second.covered == found->second.layers;
}

absl::Status HostTier::Commit(uint64_t id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return absl::NotFoundError(absl::StrCat("entry ", id, " is gone: its room was needed"));
  if (found->second.covered != found->second.layers) {
    return absl::FailedPreconditionError(
        absl::StrCat(found->second.covered, " of ", found->second.layers, " layers have arrived"));
  }
  found->second.committed = true;
  return absl::OkStatus();
}

absl::Span<const LayerBlob> HostTier::Frames(uint64_t id) const {
  const auto found = entries_.find(id);
  if (found == entries_.end() || !found->second.committed) return {};
  return found->second.frames;
}

int64_t HostTier::FrameBytes(uint64_t id) const {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return 0;
  int64_t bytes = 0;
  for (const LayerBlob& frame : found->second.frames) bytes += frame.blob.bytes();
  return bytes;
}

void HostTier::Use(uint64_t id, uint64_t use) {
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.use >= use) return;
  Entry& entry = found->second;
  if (entry.holds == 0) free_.erase(OrderOf(id, entry));
  entry.use = use;
  if (entry.holds == 0) free_.insert(OrderOf(id, entry));
}

void HostTier::Hold(uint64_t id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  if (found->second.holds++ > 0) return;
  free_.erase(OrderOf(id, found->second));
  held_bytes_ += found->second.charge;
}

void HostTier::LetGo(uint64_t id) {
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.holds == 0) return;
  if (--found->second.holds > 0) return;
  free_.insert(OrderOf(id, found->second));
  held_bytes_ -= found->second.charge;
}

void HostTier::Drop(uint64_t id) {
  if (entries_.contains(id)) Forget(id);
}

std::vector<uint64_t> HostTier::TakeForgotten() { return std::exchange(forgotten_, {}); }

int64_t HostTier::SumBytes() const {
  int64_t sum = 0;
  for (const auto& [id, entry] : entries_) {
    sum += kEntryOverheadBytes;
    for (const LayerBlob& frame : entry.frames) sum += frame.blob.bytes() + kBlobOverheadBytes;
  }
  return sum;
}

}  // namespace decant
