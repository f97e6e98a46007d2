#include "tests/support/fake_ipc.h"

#include <sys/mman.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace decant {
namespace {

// A mapping of as many zeros.
IpcMapping Strange(const IpcMapping& mapping) {
  const auto bytes = static_cast<size_t>(mapping.bytes);
  munmap(const_cast<void*>(mapping.base), bytes);
  void* const base = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  DECANT_CHECK(base != MAP_FAILED);
  return IpcMapping{base, mapping.bytes};
}

}  // namespace

IpcFunctions FakeIpc::functions() {
  const IpcFunctions shared = SharedMemoryIpc(memory_);
  IpcFunctions table;
  table.allocate = [this, shared](int64_t bytes) {
    ++allocated_;
    return shared.allocate(bytes);
  };
  table.export_region = [this, shared](const void* address) {
    auto region = shared.export_region(address);
    if (region.ok()) ++exports_;
    return region;
  };
  table.open = [this, shared](const std::string& handle) -> absl::StatusOr<IpcMapping> {
    if (open_fails) return absl::FailedPreconditionError("the handle is of another host");
    auto mapping = shared.open(handle);
    if (!mapping.ok()) return mapping;
    ++opened_;
    return other_host ? Strange(*mapping) : *mapping;
  };
  table.close = [this, shared](const IpcMapping& mapping) {
    shared.close(mapping);
    --opened_;
  };
  return table;
}

}  // namespace decant
