#include "load_tests/kernels/kernel_resources.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <regex>

namespace decant {
namespace {

constexpr int32_t kWarpLanes = 32;
constexpr int32_t kMaxWarps = 64;
constexpr int32_t kMaxBlocks = 32;
constexpr int32_t kRegisters = 65536;
constexpr int32_t kRegisterUnit = 256;
constexpr int64_t kSharedBytes = int64_t{227} << 10;
constexpr int64_t kSharedOfEveryBlock = 1024;

// "void decant::(anonymous namespace)::F<32>(Args)" is "F".
std::string BareName(const std::string& mangled) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> plain(abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status),
                                                     std::free);
  if (status != 0) return mangled;
  std::string name = plain.get();
  const std::string anonymous = "(anonymous namespace)::";
  for (size_t at = name.find(anonymous); at != std::string::npos; at = name.find(anonymous)) {
    name.erase(at, anonymous.size());
  }
  name = name.substr(0, name.find_first_of("<("));
  return name.substr(name.find_last_of(": ") + 1);
}

void ReadReport(const std::filesystem::path& file, std::map<std::string, KernelResources>& kernels) {
  static const std::regex entry("Compiling entry function '(\\w+)'");
  static const std::regex used("Used (\\d+) registers");
  static const std::regex shared("(\\d+) bytes smem");
  std::ifstream in(file);
  KernelResources* kernel = nullptr;
  for (std::string line; std::getline(in, line);) {
    std::smatch match;
    if (std::regex_search(line, match, entry)) kernel = &kernels[BareName(match[1])];
    if (kernel == nullptr || !std::regex_search(line, match, used)) continue;
    kernel->registers = std::max(kernel->registers, std::atoi(match[1].str().c_str()));
    if (!std::regex_search(line, match, shared)) continue;
    kernel->shared_bytes = std::max(kernel->shared_bytes, int64_t{std::atoll(match[1].str().c_str())});
  }
}

}  // namespace

std::map<std::string, KernelResources> ReadKernelResources(const std::string& build_folder) {
  std::map<std::string, KernelResources> kernels;
  const std::filesystem::path rooms = std::filesystem::path(build_folder) / "gpu" / "kernels";
  if (!std::filesystem::is_directory(rooms)) return kernels;
  for (const auto& file : std::filesystem::recursive_directory_iterator(rooms)) {
    if (file.path().extension() == ".ptxas") ReadReport(file.path(), kernels);
  }
  return kernels;
}

std::string KernelNameOf(const std::string& launch) {
  const size_t begin = launch.find_first_not_of("( ");
  return launch.substr(begin, launch.find_first_of("<)", begin) - begin);
}

double Occupancy(const KernelResources& kernel, int32_t block_threads, int64_t dynamic_shared_bytes) {
  const int32_t warps = (block_threads + kWarpLanes - 1) / kWarpLanes;
  const int32_t of_warp =
      (std::max(kernel.registers, 1) * kWarpLanes + kRegisterUnit - 1) / kRegisterUnit * kRegisterUnit;
  const int64_t shared = kernel.shared_bytes + dynamic_shared_bytes + kSharedOfEveryBlock;
  const int64_t blocks =
      std::min({int64_t{kMaxBlocks}, int64_t{kMaxWarps / warps}, int64_t{kRegisters / of_warp / warps},
                (kSharedBytes + kSharedOfEveryBlock) / shared});
  return static_cast<double>(blocks * warps) / kMaxWarps;
}

}  // namespace decant
