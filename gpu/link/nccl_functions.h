// The part of NCCL that decant uses, as a table: the library is loaded when a process first wants it, and a test puts
// its own functions in its place.
#ifndef DECANT_GPU_LINK_NCCL_FUNCTIONS_H_
#define DECANT_GPU_LINK_NCCL_FUNCTIONS_H_

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "gpu/device/device.h"

namespace decant {

using NcclCommunicator = void*;
using NcclUniqueId = std::array<char, 128>;

// NCCL's own codes; others exist and are errors too.
enum class NcclResult : int { kSuccess = 0, kSystemError = 2, kInvalidArgument = 4, kRemoteError = 6, kInProgress = 7 };

// Communicators are non-blocking: every call may answer kInProgress, and then async_error says when and how it ended.
// Calls on one communicator come from one thread at a time.
struct NcclFunctions {
  std::function<NcclResult(NcclUniqueId* id)> get_unique_id;
  // Joins `ranks` ranks into a communicator on the calling thread's device.
  std::function<NcclResult(NcclCommunicator* communicator, int ranks, const NcclUniqueId& id, int rank)> init;
  std::function<NcclResult(NcclCommunicator communicator, NcclResult* state)> async_error;
  // Enqueue on `stream`, as an operation; memory is of the stream's device.
  std::function<NcclResult(const void* from, int64_t bytes, int peer, NcclCommunicator communicator, Stream& stream)>
      send;
  std::function<NcclResult(void* to, int64_t bytes, int peer, NcclCommunicator communicator, Stream& stream)> receive;
  // Ends the communicator and whatever it is doing; it is gone when this returns.
  std::function<NcclResult(NcclCommunicator communicator)> abort;
  std::function<std::string(NcclResult result)> error_text;
};

// From the NCCL library of this machine, found by the loader as `library`. NOT_FOUND with the loader's words when there
// is none, FAILED_PRECONDITION for one that lacks a function, UNIMPLEMENTED in a build without CUDA. `device_ordinal`
// is the GPU that communicators belong to.
absl::StatusOr<NcclFunctions> LoadNccl(int device_ordinal, const std::string& library = "libnccl.so.2");

}  // namespace decant

#endif  // DECANT_GPU_LINK_NCCL_FUNCTIONS_H_
