// The ways that frames move between two processes, and which of them two workers use.
#ifndef DECANT_COMMON_BASE_LINK_KIND_H_
#define DECANT_COMMON_BASE_LINK_KIND_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace decant {

// The numbers are those of the protocol.
enum class LinkKind : uint8_t {
  kUnspecified = 0,
  kLoopback = 1,
  kGrpc = 2,
  kNccl = 3,
  kCudaIpc = 4,
  kSharedMemory = 5
};

inline constexpr std::array<absl::string_view, 6> kLinkNames = {"unspecified", "loopback", "grpc",
                                                                "nccl",        "cuda_ipc", "shared_memory"};

inline constexpr absl::string_view NameOf(LinkKind kind) { return kLinkNames[static_cast<size_t>(kind)]; }

// kUnspecified for a name of none.
inline LinkKind LinkKindOf(absl::string_view name) {
  const auto found = std::find(kLinkNames.begin(), kLinkNames.end(), name);
  return found == kLinkNames.end() ? LinkKind::kUnspecified : static_cast<LinkKind>(found - kLinkNames.begin());
}

// What a worker says of its place.
struct LinkEnd {
  std::string host;
  std::vector<LinkKind> kinds;
};

// The best kind that both ends speak: on one host CUDA IPC or shared memory, else NCCL; gRPC always works.
inline LinkKind BestLink(const LinkEnd& a, const LinkEnd& b) {
  const auto both = [&](LinkKind kind) {
    return std::find(a.kinds.begin(), a.kinds.end(), kind) != a.kinds.end() &&
           std::find(b.kinds.begin(), b.kinds.end(), kind) != b.kinds.end();
  };
  if (a.host == b.host && both(LinkKind::kCudaIpc)) return LinkKind::kCudaIpc;
  if (a.host == b.host && both(LinkKind::kSharedMemory)) return LinkKind::kSharedMemory;
  if (both(LinkKind::kNccl)) return LinkKind::kNccl;
  return LinkKind::kGrpc;
}

}  // namespace decant

#endif  // DECANT_COMMON_BASE_LINK_KIND_H_
