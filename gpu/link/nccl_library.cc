// Only types and the config's initialiser come from nccl.h; every function is looked up in the library at run time.
#include <dlfcn.h>
#include <nccl.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "gpu/device/cuda_stream.h"
#include "gpu/link/nccl_functions.h"

namespace decant {
namespace {

static_assert(sizeof(NcclUniqueId) == sizeof(ncclUniqueId));
static_assert(static_cast<int>(NcclResult::kInProgress) == ncclInProgress);
static_assert(static_cast<int>(NcclResult::kRemoteError) == ncclRemoteError);
static_assert(static_cast<int>(NcclResult::kInvalidArgument) == ncclInvalidArgument);
static_assert(static_cast<int>(NcclResult::kSystemError) == ncclSystemError);

struct Symbols {
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) init = nullptr;
  decltype(&ncclCommGetAsyncError) async_error = nullptr;
  decltype(&ncclSend) send = nullptr;
  decltype(&ncclRecv) receive = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclGetErrorString) error_text = nullptr;
};

template <typename Function>
bool Find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr;
}

NcclResult Result(ncclResult_t result) { return static_cast<NcclResult>(result); }
ncclComm_t Comm(NcclCommunicator communicator) { return static_cast<ncclComm_t>(communicator); }

NcclFunctions Table(const Symbols& nccl, int ordinal) {
  NcclFunctions table;
  table.get_unique_id = [nccl](NcclUniqueId* id) {
    ncclUniqueId made;
    const ncclResult_t result = nccl.get_unique_id(&made);
    std::memcpy(id->data(), &made, sizeof(made));
    return Result(result);
  };
  table.init = [nccl, ordinal](NcclCommunicator* communicator, int ranks, const NcclUniqueId& id, int rank) {
    RequireCuda(cudaSetDevice(ordinal), "cudaSetDevice");
    ncclUniqueId name;
    std::memcpy(&name, id.data(), sizeof(name));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t made = nullptr;
    const ncclResult_t result = nccl.init(&made, ranks, name, rank, &config);
    *communicator = made;
    return Result(result);
  };
  table.async_error = [nccl](NcclCommunicator communicator, NcclResult* state) {
    ncclResult_t now = ncclSuccess;
    const ncclResult_t result = nccl.async_error(Comm(communicator), &now);
    *state = Result(now);
    return Result(result);
  };
  table.send = [nccl](const void* from, int64_t bytes, int peer, NcclCommunicator communicator, Stream& stream) {
    return Result(
        nccl.send(from, static_cast<size_t>(bytes), ncclUint8, peer, Comm(communicator), CudaStreamOf(stream)));
  };
  table.receive = [nccl](void* to, int64_t bytes, int peer, NcclCommunicator communicator, Stream& stream) {
    return Result(
        nccl.receive(to, static_cast<size_t>(bytes), ncclUint8, peer, Comm(communicator), CudaStreamOf(stream)));
  };
  table.abort = [nccl](NcclCommunicator communicator) { return Result(nccl.abort(Comm(communicator))); };
  table.error_text = [nccl](NcclResult result) -> std::string {
    return nccl.error_text(static_cast<ncclResult_t>(result));
  };
  return table;
}

}  // namespace

absl::StatusOr<NcclFunctions> LoadNccl(int device_ordinal, const std::string& library) {
  // Never closed: NCCL has threads of its own, and a process has one NCCL.
  void* const opened = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) {
    return absl::NotFoundError(absl::StrCat("no NCCL: ", dlerror(), "; install it, or frames go over gRPC"));
  }
  Symbols nccl;
  if (!Find(opened, "ncclGetUniqueId", nccl.get_unique_id) || !Find(opened, "ncclCommInitRankConfig", nccl.init) ||
      !Find(opened, "ncclCommGetAsyncError", nccl.async_error) || !Find(opened, "ncclSend", nccl.send) ||
      !Find(opened, "ncclRecv", nccl.receive) || !Find(opened, "ncclCommAbort", nccl.abort) ||
      !Find(opened, "ncclGetErrorString", nccl.error_text)) {
    return absl::FailedPreconditionError(
        absl::StrCat(library, " lacks a function: ", dlerror(), "; NCCL 2.14 or later is needed"));
  }
  return Table(nccl, device_ordinal);
}

}  // namespace decant
